"""Which checkpoint, and which regime, is better, and how surely."""

from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lit_xai.reporting.moments import Integers, Numbers, column_moments, moments
from lit_xai.reporting.reading import Results, in_order
from lit_xai.reporting.statistics import (
    Difference,
    differences,
    holm,
    mean_interval,
    paired,
    welch_difference,
)
from lit_xai.reporting.summary import FLAGS

LEVEL = 0.05
_CELL = ["attribution", "attack", "metric"]
_TESTED = ["difference", "low", "high", "effect", "p"]


class _Scores(NamedTuple):
    """The defined scores of one checkpoint.

    Attributes:
        key: Cell and sample as one number, sorted, (N,).
        cell: (N,).
        value: (N,).
        present: Which cells it was scored in, defined or not, (cells,).
    """

    key: Integers
    cell: Integers
    value: Numbers
    present: NDArray[np.bool_]


def compare_checkpoints(results: Results) -> pd.DataFrame:
    """Compare all pairs of checkpoints by the samples that are scored on both (paired t-test).

    Returns:
        A row for each pair and each attribution, attack and metric of either, accuracies among them.
        Columns `attribution`, `attack`, `metric`, `first`, `second`; `difference` (second minus first) with
        its 95 % interval `low`, `high`, and `effect` (Cohen's d_z); `p`, and `p_holm`, corrected over all
        rows; `n` samples compared, `only_first` and `only_second` scored on one alone; `better`: the
        checkpoint that the metric's direction prefers where `p_holm` is below 0.05, else empty.
    """
    columns = [*_CELL, "first", "second", *_TESTED, "p_holm", "n", "only_first", "only_second", "better"]
    samples = results.samples[~results.samples["metric"].isin(FLAGS).to_numpy()]
    cell, cells = _cells(samples, results)
    scores = _by_checkpoint(samples, cell, len(cells))
    frames = []
    for first, second in combinations([name for name in results.checkpoints if name in scores], 2):
        one, other = scores[first], scores[second]
        rows = np.flatnonzero(one.present | other.present)
        found, only_first, only_second = _paired(one, other, len(cells))
        numbers = found._asdict() | {"only_first": only_first, "only_second": only_second}
        tested = pd.DataFrame({name: column[rows] for name, column in numbers.items()})
        frames.append(pd.concat([cells.iloc[rows].reset_index(drop=True), tested], axis=1))
        frames[-1].insert(0, "first", first)
        frames[-1].insert(1, "second", second)
    return _judged(frames, results, columns)


def compare_regimes(results: Results) -> pd.DataFrame:
    """Compare all pairs of regimes with at least two seeds; a seed's mean is the unit (Welch's t-test).

    Returns:
        A row for each pair and each attribution, attack and metric that at least two seeds of both have a
        mean of. Columns as those of `compare_checkpoints`, but `first` and `second` are groups, `effect` is
        Hedges' g, and `first_seeds` and `second_seeds` count the seeds.
    """
    columns = [*_CELL, "first", "second", *_TESTED, "p_holm", "first_seeds", "second_seeds", "better"]
    cells, regimes = _seed_means(results)
    repeated = [(name, means) for name, means in regimes if len(means) > 1]
    frames = []
    for (first, one), (second, other) in combinations(repeated, 2):
        sizes = {"first_seeds": _count(one), "second_seeds": _count(other)}
        rows = np.flatnonzero(np.minimum(*sizes.values()) > 1)
        numbers = welch_difference(one[:, rows], other[:, rows])._asdict()
        counts = {name: size[rows] for name, size in sizes.items()}
        tested = pd.DataFrame({"first": first, "second": second, **numbers, **counts})
        frames.append(pd.concat([cells.iloc[rows].reset_index(drop=True), tested], axis=1))
    return _judged(frames, results, columns)


def regime_means(results: Results) -> pd.DataFrame:
    """Average the means of the seeds of every regime.

    Returns:
        Columns `group`, `attribution`, `attack`, `metric`; `value`, the mean over `seeds` seeds, with its
        95 % interval `low`, `high` (Student's t), which is NaN for one seed. A checkpoint of unknown group or
        seed stands on its own, under its name.
    """
    cells, regimes = _seed_means(results)
    frames = []
    for name, means in regimes:
        parts = column_moments(means)
        low, high = mean_interval(parts)
        numbers = {"value": parts.mean, "low": low, "high": high, "seeds": parts.count}
        frame = pd.concat([cells, pd.DataFrame(numbers)], axis=1).assign(group=name)
        frames.append(frame[frame["seeds"] > 0])
    columns = ["group", *_CELL, "value", "low", "high", "seeds"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def _cells(frame: pd.DataFrame, results: Results) -> tuple[Integers, pd.DataFrame]:
    """Return the (attribution, attack, metric) of every row, counted in the card's order, and their names."""
    known = {"attribution": results.attributions, "attack": results.attacks, "metric": results.metrics}
    columns = {name: in_order(frame[name], known[name]) for name in _CELL}
    sizes = [len(column.categories) for column in columns.values()]
    parts = tuple(column.codes.astype(np.int64) for column in columns.values())
    found, cell = np.unique(np.ravel_multi_index(parts, sizes), return_inverse=True)
    names = zip(columns.items(), np.unravel_index(found, sizes), strict=True)
    return cell, pd.DataFrame(
        {name: column.categories.to_numpy(dtype=object)[code] for (name, column), code in names}, dtype="str"
    )


def _by_checkpoint(samples: pd.DataFrame, cell: Integers, cells: int) -> dict[str, _Scores]:
    names, identities = (pd.factorize(samples[column]) for column in ("checkpoint", "sample_id"))
    width = max(len(identities[1]), 1)
    key, value = cell * width + identities[0], samples["value"].to_numpy(dtype=np.float64)
    found = {}
    for code, name in enumerate(names[1]):
        rows = np.flatnonzero(names[0] == code)
        present = np.bincount(cell[rows], minlength=cells) > 0
        rows = rows[~np.isnan(value[rows])]
        rows = rows[np.argsort(key[rows], kind="stable")]
        found[str(name)] = _Scores(key[rows], cell[rows], value[rows], present)
    return found


def _paired(first: _Scores, second: _Scores, cells: int) -> tuple[Difference, Integers, Integers]:
    """Compare two checkpoints cell by cell; also count the samples of one of them only."""
    _, left, right = np.intersect1d(first.key, second.key, assume_unique=True, return_indices=True)
    parts = moments(differences(first.value[left], second.value[right]), first.cell[left], cells)
    only_first = np.bincount(first.cell, minlength=cells) - parts.count
    only_second = np.bincount(second.cell, minlength=cells) - parts.count
    return paired(parts), only_first, only_second


def _seed_means(results: Results) -> tuple[pd.DataFrame, list[tuple[str, Numbers]]]:
    """Return the cells, and for every regime its name and the means of its seeds, (seeds, cells)."""
    table = results.table
    cell, cells = _cells(table, results)
    regimes: dict[tuple[str, str | None], dict[Any, list[Numbers]]] = {}
    for name in results.checkpoints:
        entry = results.card["checkpoints"][name]
        group, seed = entry.get("group"), entry.get("seed")
        known = group is not None and seed is not None
        rows = np.flatnonzero((table["checkpoint"] == name).to_numpy())
        means = np.full(len(cells), np.nan)
        means[cell[rows]] = table["value"].to_numpy(dtype=np.float64)[rows]
        # A checkpoint may be called as a group is.
        key = (str(group), None) if known else (name, name)
        regimes.setdefault(key, {}).setdefault(seed, []).append(means)
    # Checkpoints of one seed are no repetitions: they count once.
    return cells, [
        (name, np.stack([column_moments(np.stack(means)).mean for means in seeds.values()]))
        for (name, _), seeds in regimes.items()
    ]


def _count(means: Numbers) -> Integers:
    return np.asarray((~np.isnan(means)).sum(axis=0))


def _judged(frames: list[pd.DataFrame], results: Results, columns: list[str]) -> pd.DataFrame:
    """Join tables, correct their p-values together and name the better one of each row."""
    if not frames:
        return pd.DataFrame(columns=columns)
    table = pd.concat(frames, ignore_index=True)
    table["p_holm"] = holm(table["p"])
    preferred = table["difference"] * [results.direction(name) for name in table["metric"]]
    sure = table["p_holm"] < LEVEL
    table["better"] = np.where(
        sure & (preferred > 0), table["second"], np.where(sure & (preferred < 0), table["first"], "")
    )
    return table[columns]
