"""The files of an evaluation, read and checked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lit_xai.reporting.results_card import damage, read_card
from lit_xai.reporting.summary import COLUMNS, FLAGS

_CELL = ("checkpoint", "attribution", "attack", "metric")
_NAMES = {
    "results.csv": _CELL,
    "samples.parquet": _CELL,
    "agreement.parquet": ("checkpoint", "first", "second", "metric"),
    "examples.parquet": (*_CELL, "extreme"),
    "training.csv": ("checkpoint", "key"),
}
_NUMBERS = {
    "results.csv": tuple(COLUMNS[4:]),
    "samples.parquet": ("sample_id", "value"),
    "agreement.parquet": ("sample_id", "value"),
    "examples.parquet": ("place", "sample_id", "value", "label", "target", "height", "width", "channels"),
    "training.csv": ("epoch", "value"),
}
_SECTIONS = {
    "checkpoint": "checkpoints",
    "attribution": "attributions",
    "first": "attributions",
    "second": "attributions",
    "attack": "attacks",
    "metric": "metrics",
}
# What is measured beside the grid.
_BESIDES: dict[str, tuple[str, ...]] = {
    "attributions": ("none",),
    "attacks": ("unattacked", "pgd"),
    "metrics": ("accuracy", *FLAGS),
}
_OTHERS = {"examples.parquet": ("kept", "image", "image_adv", "map", "map_adv")}


@dataclass(frozen=True, eq=False)
class Results:
    """All that an evaluation found.

    Attributes:
        card: How it was found.
        samples: The single scores; columns of names are categorical, their categories in the card's order.
        table: The means.
        agreement: How far explanations of an image agree; columns of names are categorical.
        examples: Images with their explanations.
        training: What was logged while the networks were trained.
    """

    card: dict[str, Any]
    samples: pd.DataFrame
    table: pd.DataFrame
    agreement: pd.DataFrame
    examples: pd.DataFrame
    training: pd.DataFrame

    @property
    def headline(self) -> str:
        """The metric that robustness is judged by: the first of the card."""
        return self.metrics[0]

    @property
    def checkpoints(self) -> list[str]:
        """Names, in the card's order."""
        return list(self.card["checkpoints"])

    @property
    def attributions(self) -> list[str]:
        """Names, in the card's order, without `none`."""
        return [name for name in self.card["attributions"] if name != "none"]

    @property
    def attacks(self) -> list[str]:
        """Names, in the card's order."""
        return list(self.card["attacks"])

    @property
    def metrics(self) -> list[str]:
        """Names, in the card's order."""
        return list(self.card["metrics"])

    def cell(self, checkpoint: str, attribution: str, attack: str, metric: str) -> pd.Series | None:
        """Return a row of the table, or None if it has no such row."""
        place = self._places.get((checkpoint, attribution, attack, metric))
        return None if place is None else self.table.iloc[place]

    def strongest(self, checkpoint: str, attribution: str) -> str | None:
        """Return the attack, not `unattacked`, with the worst mean of the headline metric.

        Returns:
            The first in the card's order among equals; None if no attack has a mean, or the metric has no
            direction.
        """
        direction, means = self.direction(self.headline), {}
        for attack in self.attacks:
            place = self._places.get((checkpoint, attribution, attack, self.headline))
            if attack != "unattacked" and place is not None and not np.isnan(self._means[place]):
                means[attack] = direction * self._means[place]
        return min(means, key=lambda attack: means[attack]) if means and direction else None

    def direction(self, metric: str) -> int:
        """Return 1 if higher is more robust, -1 if lower is, and 0 if neither or unknown."""
        if metric not in self.card["metrics"]:
            return int(metric == "accuracy")
        rises = self.card["metrics"][metric].get("higher_is_better")
        return 0 if rises is None else 1 if rises else -1

    @cached_property
    def _places(self) -> dict[tuple[str, ...], int]:
        keys = zip(*(self.table[column] for column in _CELL), strict=True)
        return {key: place for place, key in enumerate(keys)}

    @cached_property
    def _means(self) -> list[float]:
        return [float(value) for value in self.table["value"]]


def read(directory: Path) -> Results:
    """Read the files of an evaluation.

    Args:
        directory: Holds `card.json`, `samples.parquet` and `results.csv`; `agreement.parquet`,
            `examples.parquet` and `training.csv` are empty if they are missing.

    Raises:
        FileNotFoundError: If the directory or a file is missing.
        ValueError: If a file is damaged, the card has another format, a file holds a checkpoint, attribution,
            attack or metric that the card does not name, or a sample comes twice.
    """
    if not directory.is_dir():
        reason = "which is a file" if directory.exists() else "which does not exist"
        raise FileNotFoundError(f"Expected a directory of results, but got {directory}, {reason}.")
    card = read_card(directory / "card.json")
    frames = {file: _frame(directory / file, card) for file in _NAMES}
    for file in ("samples.parquet", "agreement.parquet"):
        named = {name: in_order(frames[file][name], card[_SECTIONS[name]]) for name in _NAMES[file]}
        frames[file] = frames[file].assign(**named)
    _check_once(frames["samples.parquet"], directory / "samples.parquet")
    return Results(
        card,
        frames["samples.parquet"],
        frames["results.csv"],
        frames["agreement.parquet"],
        frames["examples.parquet"],
        frames["training.csv"],
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a table such as `results.csv`; names stay text, whatever they look like.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is damaged.
    """
    names = set().union(*_NAMES.values())
    numbers = {name: ["", "nan", "NaN"] for columns in _NUMBERS.values() for name in columns}
    with damage(path):
        return pd.read_csv(
            path,
            dtype=dict.fromkeys(sorted(names), str),
            keep_default_na=False,
            na_values=numbers,
        )


def _frame(path: Path, card: Mapping[str, Any]) -> pd.DataFrame:
    """Read and check one file; without rows if it is missing and may be."""
    names, numbers, others = _NAMES[path.name], _NUMBERS[path.name], _OTHERS.get(path.name, ())
    optional = path.name not in ("samples.parquet", "results.csv")
    if optional and not path.exists():
        return _empty(names, numbers, others)
    if path.suffix == ".csv":
        frame = read_table(path)
    else:
        with damage(path):
            frame = pd.read_parquet(path)
    if optional and frame.empty:
        return _empty(names, numbers, others)
    if missing := [name for name in (*names, *numbers, *others) if name not in frame]:
        raise ValueError(
            f"Expected columns {', '.join(missing)} in {path}, but got a file without. Evaluate again."
        )
    with damage(path):
        frame = frame.astype(dict.fromkeys(names, "str") | {"value": np.float64})
    if words := [name for name in numbers if not pd.api.types.is_numeric_dtype(frame[name])]:
        raise ValueError(f"Expected numbers in {words[0]} of {path}, but got text. Evaluate again.")
    if unnamed := [name for name in names if frame[name].isna().any()]:
        raise ValueError(f"Expected names in {unnamed[0]} of {path}, but got none in a row. Evaluate again.")
    _check_known(frame[list(names)], card, path)
    return frame


def _check_known(frame: pd.DataFrame, card: Mapping[str, Any], path: Path) -> None:
    """Refuse what the card does not name: it would be in no table, and nobody would miss it."""
    for column in frame:
        section = _SECTIONS.get(str(column))
        known = {*card.get(section, ()), *_BESIDES.get(section, ())} if section else ()
        strangers = [name for name in frame[column].unique() if section and name not in known]
        if strangers:
            raise ValueError(
                f"Expected the {section} of the card, but got {strangers[0]!r} in {path}. Evaluate again."
            )


def _empty(names: Sequence[str], numbers: Sequence[str], others: Sequence[str]) -> pd.DataFrame:
    kinds = dict.fromkeys(names, "str") | dict.fromkeys(numbers, "float64") | dict.fromkeys(others, "object")
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in kinds.items()})


def in_order(column: pd.Series, known: Iterable[str]) -> "pd.Categorical[Any]":
    """Return a column of names as categories: `none` and `accuracy` first, then as known, then the others."""
    place = {name: place for place, name in enumerate(dict.fromkeys(["none", "accuracy", *known]))}
    codes, found = pd.factorize(column)
    names = sorted(found, key=lambda name: place.get(name, len(place)))
    rank = {name: rank for rank, name in enumerate(names)}
    ranks = np.array([rank[name] for name in found], dtype=np.int64)
    return pd.Categorical.from_codes(ranks[codes], dtype=pd.CategoricalDtype(pd.Index(names, dtype="str")))


def _check_once(samples: pd.DataFrame, path: Path) -> None:
    repeated = samples.duplicated([*_CELL, "sample_id"])
    if repeated.any():
        name = samples["sample_id"][repeated].iloc[0]
        raise ValueError(f"Expected each sample once in a cell, but got sample {name} twice in {path}.")
