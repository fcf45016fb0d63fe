"""What one evaluation says about one checkpoint and one explanation."""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lit_xai.reporting.cards import Evaluation

CONTROLS = ("RandomSign", "GaussianInjection", "MatchedGaussian")


@dataclass(frozen=True, slots=True)
class Mean:
    """The headline metric of one cell, with its 95 % interval."""

    attack: str
    value: float
    low: float = math.nan
    high: float = math.nan
    count: int = 0
    failed: int = 0
    excluded: int = 0

    @property
    def undefined(self) -> bool:
        """Whether there is no value."""
        return not math.isfinite(self.value)


@dataclass(frozen=True, eq=False)
class Entry:
    """One checkpoint under one explanation, as one evaluation measured it.

    Args:
        evaluation: Where it comes from.
        checkpoint: Its name there.
        attribution: Its name there.
        conditions: All that another entry must share to be compared.
        means: The headline metric under every attack, by the attack's settings, in the card's order.
        clean: The headline metric without an attack.
        accuracy: On clean images.
        pgd_accuracy: Under the attack on predictions.
    """

    evaluation: Evaluation
    checkpoint: str
    attribution: str
    conditions: dict[str, Any]
    means: dict[str, Mean]
    clean: Mean | None
    accuracy: Mean | None
    pgd_accuracy: Mean | None

    @property
    def facts(self) -> dict[str, Any]:
        """What the card says about the checkpoint."""
        facts: dict[str, Any] = self.evaluation.card["checkpoints"][self.checkpoint]
        return facts

    @property
    def checksum(self) -> str:
        """The checkpoint's checksum, or nothing if it is not known."""
        found = self.facts.get("sha256")
        return found if isinstance(found, str) else ""

    def attack(self, name: str) -> dict[str, Any]:
        """Return what the card says about an attack."""
        attack: dict[str, Any] = self.evaluation.card["attacks"][name]
        return attack

    def row(self, attribution: str, attack: str, metric: str) -> "pd.Series[Any] | None":
        """Return a row of the checkpoint in the table, or None if it has no such row."""
        table = self.evaluation.table
        cell = [self.checkpoint, attribution, attack, metric]
        found = table[(table[["checkpoint", "attribution", "attack", "metric"]] == cell).all(axis=1)]
        return None if found.empty else found.iloc[0]

    def is_control(self, name: str) -> bool:
        """Return whether an attack is a control."""
        return short_class(self.attack(name)) in CONTROLS


def entries(evaluation: Evaluation) -> Iterator[Entry]:
    """Yield an entry for every checkpoint and explanation of an evaluation, in the card's order."""
    card = evaluation.card
    headline = next(iter(card["metrics"]))
    cells = _cells(evaluation, {headline, "accuracy"})
    for checkpoint in card["checkpoints"]:
        for name, attribution in card["attributions"].items():
            means: dict[str, Mean] = {}
            clean = None
            for attack, settings in card["attacks"].items():
                mean = cells.get((checkpoint, name, attack, headline))
                if is_unattacked(settings):
                    clean = mean
                else:
                    means.setdefault(canonical(_settings(settings)), mean or Mean(attack, math.nan))
            conditions = _conditions(card, attribution, card["metrics"][headline])
            accuracies = (cells.get((checkpoint, "none", kind, "accuracy")) for kind in ("unattacked", "pgd"))
            yield Entry(evaluation, checkpoint, name, conditions, means, clean, *accuracies)


def is_unattacked(settings: Mapping[str, Any]) -> bool:
    """Return whether an attack leaves the image as it is."""
    return short_class(settings) == "Unattacked"


def short_class(settings: Mapping[str, Any]) -> str:
    """Return the name of a class without its module."""
    return str(settings["class_path"]).rpartition(".")[2]


def canonical(settings: Any) -> str:
    """Return settings as text that is the same for equal settings, whatever their order; 1.0 equals 1."""
    return json.dumps(_plain(settings), sort_keys=True)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _settings(component: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_path": component["class_path"], "init_args": component.get("init_args") or {}}


def _conditions(
    card: Mapping[str, Any], attribution: Mapping[str, Any], metric: Mapping[str, Any]
) -> dict[str, Any]:
    attacks = {
        canonical(_settings(attack)): _settings(attack)
        for attack in card["attacks"].values()
        if not is_unattacked(attack)
    }
    return {
        # Donors feed attacks and explanations, so their data belong to the conditions.
        "data": {name: card["data"]["sha256"].get(name) for name in ("test", "donors")},
        "samples": {name: card["samples"].get(name) for name in ("split", "count")},
        "seeds": card["seeds"],
        "attribution": _settings(attribution),
        "attacks": [attacks[key] for key in sorted(attacks)],
        "metric": {**_settings(metric), "higher_is_better": metric.get("higher_is_better")},
    }


def _cells(evaluation: Evaluation, metrics: set[str]) -> dict[tuple[str, ...], Mean]:
    table = evaluation.table
    rows = table[table["metric"].isin(metrics)]
    keys = rows[["checkpoint", "attribution", "attack", "metric"]].itertuples(index=False, name=None)
    numbers = rows[["value", "low", "high", "count", "failed", "excluded"]].itertuples(index=False, name=None)
    return {
        key: Mean(key[2], float(value), float(low), float(high), *(_whole(count) for count in counts))
        for key, (value, low, high, *counts) in zip(keys, numbers, strict=True)
    }


def _whole(count: float) -> int:
    return int(count) if math.isfinite(count) else 0
