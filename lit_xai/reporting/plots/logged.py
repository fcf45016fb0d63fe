"""What was logged while the networks were trained, as series over epochs."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lit_xai.reporting.reading import Results
from lit_xai.reporting.statistics import half_interval

_COMPANIONS = ("_count", "_stderr", "_kept")
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Series(NamedTuple):
    """A logged number over epochs, counted from 1, and half its 95 % interval.

    The interval is Student's over the samples, NaN where their number or standard error was not logged.
    """

    epochs: Floats
    values: Floats
    reach: Floats


class Grid(NamedTuple):
    """What was logged of an explanation.

    Attributes:
        metric: The one that is shown.
        attacks: The series of each, by checkpoint.
        counts: Of samples.
    """

    metric: str
    attacks: dict[str, dict[str, Series]]
    counts: list[int]


def series(results: Results, key: str) -> dict[str, Series]:
    """Return what was logged under a key, by checkpoint in the card's order.

    Args:
        results: Of an evaluation.
        key: Such as `val/accuracy`.
    """
    rows, errors, counts = (_logged(results, f"{key}{ending}") for ending in ("", "_stderr", "_count"))
    found = {}
    for name in results.checkpoints:
        own = rows[rows.index.get_level_values("checkpoint") == name]
        if len(own):
            epochs = own.index.get_level_values("epoch").to_numpy(dtype=np.float64)
            reach = half_interval(errors.reindex(own.index), counts.reindex(own.index))
            found[name] = Series(epochs, np.asarray(own, dtype=np.float64), reach)
    return found


def _logged(results: Results, key: str) -> "pd.Series[float]":
    """Return values by checkpoint and epoch."""
    rows = results.training[results.training["key"] == key]
    rows = rows[np.isfinite(rows["epoch"].to_numpy(dtype=np.float64))]
    # An epoch that was trained again, after a restart, counts as it was the last time.
    rows = rows.drop_duplicates(["checkpoint", "epoch"], keep="last").sort_values("epoch")
    places = pd.MultiIndex.from_frame(rows[["checkpoint", "epoch"]])
    return pd.Series(rows["value"].to_numpy(dtype=np.float64), index=places)


def grids(results: Results) -> dict[str, Grid]:
    """Return what was logged of each explanation: the headline metric, or the first there is.

    Args:
        results: Of an evaluation.
    """
    keys = dict.fromkeys(str(key) for key in results.training["key"])
    cells = [
        tuple(key.split("/")[1:]) for key in keys if key.startswith("robustness/") and key.count("/") == 3
    ]
    found = {}
    for attribution in dict.fromkeys(cell[0] for cell in cells):
        own = [cell[1:] for cell in cells if cell[0] == attribution]
        metric = _metric(results, [name for attack, name in own if not _is_companion(attack, name, own)])
        if metric is None:
            continue
        attacks = {
            attack: series(results, f"robustness/{attribution}/{attack}/{metric}")
            for attack, name in own
            if name == metric
        }
        attacks = {attack: lines for attack, lines in attacks.items() if lines}
        found[attribution] = Grid(metric, attacks, _counts(results, attribution, attacks, metric))
    return {attribution: grid for attribution, grid in found.items() if grid.attacks}


def _counts(results: Results, attribution: str, attacks: Iterable[str], metric: str) -> list[int]:
    names = [f"robustness/{attribution}/{attack}/{metric}_count" for attack in attacks]
    values = results.training["value"][results.training["key"].isin(names)].to_numpy(dtype=np.float64)
    return [int(value) for value in values[np.isfinite(values)]]


def _is_companion(attack: str, name: str, cells: list[tuple[str, ...]]) -> bool:
    stems = [name.removesuffix(ending) for ending in _COMPANIONS if name.endswith(ending)]
    # `prediction_kept` and `diverse_count` are metrics: nothing is logged under what is before the ending.
    return name in ("failed", "excluded") or any((attack, stem) in cells for stem in stems)


def _metric(results: Results, logged: list[str]) -> str | None:
    known = [metric for metric in results.metrics if metric in logged]
    return next(iter([*known, *logged]), None)
