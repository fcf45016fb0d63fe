"""Which checkpoint, and which regime, is better, and how surely."""

from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lit_xai.reporting.moments import Integers, Numbers, column_moments
from lit_xai.reporting.pairing import CELL, by_checkpoint, cells_of, compare
from lit_xai.reporting.reading import Results
from lit_xai.reporting.repetitions import checkpoints_by_regime, labels
from lit_xai.reporting.statistics import holm, mean_interval, welch_difference
from lit_xai.reporting.summary import FLAGS

LEVEL = 0.05
PRIMARY, EXPLORATORY = "primary", "exploratory"
_TESTED = ["difference", "low", "high", "effect", "p"]
_JUDGED = [*_TESTED, "p_holm", "family"]


def compare_checkpoints(results: Results) -> pd.DataFrame:
    """Compare all pairs of checkpoints by the samples that are scored on both (paired t-test).

    Returns:
        A row for each pair and each attribution, attack and metric of either, accuracies among them.
        Columns `attribution`, `attack`, `metric`, `first`, `second`; `difference` (second minus first) with
        its 95 % interval `low`, `high`, which is not corrected for the number of rows, and `effect` (Cohen's
        d_z); `p`, and `p_holm`, corrected within the row's `family`: `primary` for the accuracies and the
        headline metric under every attack but `unattacked`, `exploratory` for all others, empty where nothing
        was tested: without a p-value, or without any difference in any sample, where both are 1; `n` samples
        compared, `only_first` and `only_second` scored on one only; `better`: the checkpoint that the
        metric's direction prefers where `p_holm` is below 0.05, else empty.
    """
    columns = [*CELL, "first", "second", *_JUDGED, "n", "only_first", "only_second", "better"]
    samples = results.samples[~results.samples["metric"].isin(FLAGS).to_numpy()]
    cell, cells = cells_of(samples, results)
    scores = by_checkpoint(samples, cell, len(cells))
    frames = []
    for first, second in combinations([name for name in results.checkpoints if name in scores], 2):
        one, other = scores[first], scores[second]
        rows = np.flatnonzero(one.present | other.present)
        found, only_first, only_second = compare(one, other)
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
        mean of. Columns and families as those of `compare_checkpoints`, but `first` and `second` are labels
        of regimes, as in `regime_groups`, `effect` is Hedges' g, and `first_seeds` and `second_seeds` count
        the seeds.
    """
    columns = [*CELL, "first", "second", *_JUDGED, "first_seeds", "second_seeds", "better"]
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
        Columns `group`, the label of the regime, `attribution`, `attack`, `metric`; `value`, the mean over
        `seeds` seeds, with its 95 % interval `low`, `high` (Student's t), which is NaN for one seed. A
        checkpoint of unknown group or seed stands on its own, under its name.
    """
    cells, regimes = _seed_means(results)
    frames = []
    for name, means in regimes:
        parts = column_moments(means)
        low, high = mean_interval(parts)
        numbers = {"value": parts.mean, "low": low, "high": high, "seeds": parts.count}
        frame = pd.concat([cells, pd.DataFrame(numbers)], axis=1).assign(group=name)
        frames.append(frame[frame["seeds"] > 0])
    columns = ["group", *CELL, "value", "low", "high", "seeds"]
    return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)


def regime_groups(results: Results) -> dict[str, list[str]]:
    """Return the checkpoints of every regime with at least two seeds, by the label of the regime.

    A regime is called as the card calls it, or by its group where two groups are called the same.
    """
    found = labels(results)
    return {
        found[key]: [name for names in seeds.values() for name in names]
        for key, seeds in checkpoints_by_regime(results).items()
        if len(seeds) > 1
    }


def _seed_means(results: Results) -> tuple[pd.DataFrame, list[tuple[str, Numbers]]]:
    """Return the cells, and for every regime its label and the means of its seeds, (seeds, cells)."""
    table = results.table
    cell, cells = cells_of(table, results)

    def means(checkpoint: str) -> Numbers:
        rows = np.flatnonzero((table["checkpoint"] == checkpoint).to_numpy())
        found = np.full(len(cells), np.nan)
        found[cell[rows]] = table["value"].to_numpy(dtype=np.float64)[rows]
        return found

    found = labels(results)
    # Checkpoints of one seed are no repetitions: they count once.
    return cells, [
        (
            found[key],
            np.stack([column_moments(np.stack([*map(means, names)])).mean for names in seeds.values()]),
        )
        for key, seeds in checkpoints_by_regime(results).items()
    ]


def _count(means: Numbers) -> Integers:
    return np.asarray((~np.isnan(means)).sum(axis=0))


def _judged(frames: list[pd.DataFrame], results: Results, columns: list[str]) -> pd.DataFrame:
    """Join tables, correct the p-values of each family and name the better one of each row."""
    if not frames:
        return pd.DataFrame(columns=columns)
    table = pd.concat(frames, ignore_index=True)
    table["family"] = _family(table, results)
    table["p_holm"] = table["p"]
    for name in (PRIMARY, EXPLORATORY):
        rows = table["family"] == name
        table.loc[rows, "p_holm"] = holm(table.loc[rows, "p"])
    preferred = table["difference"] * [results.direction(name) for name in table["metric"]]
    sure = table["p_holm"] < LEVEL
    table["better"] = np.where(
        sure & (preferred > 0), table["second"], np.where(sure & (preferred < 0), table["first"], "")
    )
    return table[columns]


def _family(table: pd.DataFrame, results: Results) -> NDArray[Any]:
    accuracy = (table["attribution"] == "none") & (table["metric"] == "accuracy")
    attacked = (table["attribution"] != "none") & (table["attack"] != "unattacked")
    asked = accuracy | (attacked & (table["metric"] == results.headline))
    # Without any difference there is no interval, or one without width.
    nothing = (table["difference"] == 0) & ~(table["high"] > table["low"])
    tested = table["p"].notna() & ~nothing
    return np.where(tested, np.where(asked, PRIMARY, EXPLORATORY), "")
