"""What became of the single attacks: excluded images, failures, and tests against random signs."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lit_xai.reporting.comparisons import LEVEL
from lit_xai.reporting.entries import CONTROLS
from lit_xai.reporting.pairing import series
from lit_xai.reporting.plots.words import attack_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.statistics import holm, paired_difference

_CELL = ["checkpoint", "attribution", "attack"]


def counts(results: Results) -> pd.DataFrame:
    """Return how many images every cell has, and how many were excluded, attacked, and failed.

    Returns:
        Columns `images`, `excluded`, `attacked`, `failed`, by checkpoint, attribution and attack.
    """
    samples = results.samples[results.samples["metric"].isin(["excluded", "failed"]).to_numpy()]
    samples = samples[(samples["attribution"] != "none").to_numpy()]
    cells = [samples[name].astype("str") for name in [*_CELL, "metric"]]
    flags = samples["value"].groupby(cells, sort=False).agg(["sum", "count"])
    found = flags.unstack("metric", fill_value=0).astype(np.int64)
    table = pd.DataFrame(index=found.index)
    columns = {"images": ("count", "excluded"), "excluded": ("sum", "excluded")}
    columns |= {"attacked": ("count", "failed"), "failed": ("sum", "failed")}
    return table.assign(**{name: found.get(key, 0) for name, key in columns.items()})


class Excluded(NamedTuple):
    """Of one network: images left out for misclassification, and the further ones by family of attacks."""

    checkpoint: str
    images: int
    misclassified: int
    further: dict[str, int]


def excluded(results: Results, table: pd.DataFrame) -> list[Excluded]:
    """Return the excluded images of every network.

    Args:
        results: What was measured.
        table: Its counts. The attack that excludes the fewest does so for misclassification only.
    """
    names = table.index.get_level_values("checkpoint")
    found = []
    for checkpoint in results.checkpoints:
        rows = table[names == checkpoint]
        if len(rows) and rows["images"].max():
            fewest = int(rows["excluded"].min())
            more = (rows["excluded"] - fewest).groupby(level="attack").max()
            further: dict[str, int] = {}
            for attack in results.attacks:
                family = family_label(results, attack)
                further[family] = max(further.get(family, 0), int(more.get(attack, 0)))
            counts_of = {family: count for family, count in further.items() if count}
            found.append(Excluded(checkpoint, int(rows["images"].max()), fewest, counts_of))
    return found


class Failures(NamedTuple):
    """Of a family of attacks: single attacks on an explanation of an image, and those that failed."""

    family: str
    is_control: bool
    failed: int
    attacked: int


def failures(results: Results, table: pd.DataFrame) -> list[Failures]:
    """Return the failures of every family of attacks but `unattacked`.

    Args:
        results: What was measured.
        table: Its counts.
    """
    sums = table[["failed", "attacked"]].groupby(level="attack").sum()
    found: dict[str, Failures] = {}
    for attack in results.attacks:
        if attack in sums.index and attack_class(results, attack) != "Unattacked":
            family, control = family_label(results, attack), attack_class(results, attack) in CONTROLS
            before = found.get(family, Failures(family, control, 0, 0))
            failed, attacked = (int(sums[name][attack]) for name in ("failed", "attacked"))
            found[family] = before._replace(
                failed=before.failed + failed, attacked=before.attacked + attacked
            )
    return [entry for entry in found.values() if entry.attacked]


class Trial(NamedTuple):
    """An attack against random signs of its radius on the same images of one network.

    Attributes:
        checkpoint: The network.
        attribution: The attacked explanation.
        attack: Its name.
        harm: How much less the attack leaves of the explanation, on the scale of the headline metric.
        p: Corrected over all such tests (Holm); NaN where none is possible.
    """

    checkpoint: str
    attribution: str
    attack: str
    harm: float
    p: float

    @property
    def verdict(self) -> int:
        """1 if the attack harms significantly more, -1 if less, 0 if that cannot be told."""
        return int(np.sign(self.harm)) if self.p < LEVEL else 0


def trials(results: Results) -> list[Trial]:
    """Return the paired t-tests of attacks against random signs of the same radius."""
    sign = results.direction(results.headline)
    samples = results.samples[(results.samples["metric"] == results.headline).to_numpy()]
    found = []
    for checkpoint in results.checkpoints if sign else ():
        own = samples[(samples["checkpoint"] == checkpoint).to_numpy()]
        for attribution in results.attributions:
            rows = own[(own["attribution"] == attribution).to_numpy()]
            for attack, control in _matched(results):
                one, other = (series(rows, {"attack": name}) for name in (attack, control))
                one, other = one.align(other, join="inner")
                if len(one):
                    test = paired_difference(one, other)
                    harm = sign * float(test.difference)
                    found.append(Trial(checkpoint, attribution, attack, harm, float(test.p)))
    corrected = holm([trial.p for trial in found])
    return [trial._replace(p=float(p)) for trial, p in zip(found, corrected, strict=True)]


def _matched(results: Results) -> Iterator[tuple[str, str]]:
    entries: dict[str, dict[str, Any]] = results.card["attacks"]
    signs = [name for name in entries if attack_class(results, name) == "RandomSign"]
    for attack, entry in entries.items():
        radius = entry["radius"]
        if radius is None or attack_class(results, attack) in ("Unattacked", *CONTROLS):
            continue
        same = [name for name in signs if math.isclose(entries[name]["radius"] or 0.0, radius)]
        yield from ((attack, control) for control in same[:1])


def attack_class(results: Results, attack: str) -> str:
    """Return the class of an attack without its module."""
    return str(results.card["attacks"][attack]["class_path"]).rpartition(".")[2]


def family_label(results: Results, attack: str) -> str:
    """Return what a sweep of attacks is called, or a single attack."""
    return attack_words(attack, {**results.card["attacks"][attack], "values": {}})
