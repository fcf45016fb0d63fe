"""`results.csv` from `samples.parquet`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lit_xai.reporting.moments import Integers, Moments, Numbers, moments
from lit_xai.reporting.statistics import bootstrap_intervals, wilson_intervals

CELL = ["checkpoint", "attribution", "attack"]
FLAGS = ("excluded", "failed")
COLUMNS = [
    *CELL,
    *("metric", "value", "stderr", "count", "failed", "excluded", "kept_value", "kept_count", "low", "high"),
]


def summarize(samples: pd.DataFrame, metrics: Sequence[str] = ()) -> pd.DataFrame:
    """Return the mean of every metric in every cell, with what it is made of.

    Args:
        samples: The columns of `samples.parquet`.
        metrics: Names that a cell gets rows for, without a value, where all its samples are excluded.

    Returns:
        The columns of `results.csv`: cells in order of first appearance, their metrics in the order of
        `metrics`, then of first appearance. `value`, its standard error and its 95 % interval are over the
        samples with a defined score, `count` of them; `kept_value` is over those that did not fail. The
        interval is a BCa bootstrap interval; that of a metric whose scores are 0 or 1 in all cells, such as
        the accuracy, is Wilson's, as a bootstrap of nothing but ones would claim certainty. The order of the
        samples changes none of these numbers.
    """
    cell, cells = _cells(samples)
    codes, found = pd.factorize(samples["metric"])
    names = [name for name in dict.fromkeys([*metrics, *found]) if name not in FLAGS]
    width = max(len(names), 1)
    metric = np.array([names.index(name) if name in names else -1 for name in found], dtype=np.int64)[codes]
    key = cell * width + metric
    silent = np.setdiff1d(np.arange(len(cells)), cell[metric >= 0])
    filled = (silent[:, None] * width + np.arange(len(set(metrics) - set(FLAGS)))).ravel()
    keys = np.union1d(key[metric >= 0], filled)

    value = samples["value"].to_numpy(dtype=np.float64)
    identity = pd.factorize(samples["sample_id"], sort=True)[0]
    flags = {name: (samples["metric"] == name).to_numpy() & (value == 1) for name in FLAGS}
    counts = {name: np.bincount(cell[flag], minlength=len(cells)) for name, flag in flags.items()}
    order = np.lexsort((identity, key))
    order = order[(metric[order] >= 0) & ~np.isnan(value[order])]
    sample = cell * (len(samples) + 1) + identity
    failed = np.isin(sample[order], sample[flags["failed"]])

    table = cells.iloc[keys // width].reset_index(drop=True)
    table["metric"] = [names[place] for place in keys % width]
    for name in FLAGS:
        table[name] = counts[name][keys // width]
    numbers = _numbers(value[order], np.searchsorted(keys, key[order]), failed, keys % width)
    return table.assign(**numbers)[COLUMNS]


def _cells(samples: pd.DataFrame) -> tuple[Integers, pd.DataFrame]:
    """Return the cell of every row, counted in order of first appearance, and the cells' names."""
    code = np.zeros(len(samples), dtype=np.int64)
    for column in CELL:
        codes, names = pd.factorize(samples[column])
        code = code * len(names) + codes
    cell, found = pd.factorize(code)
    first = np.zeros(len(found), dtype=np.int64)
    first[cell[::-1]] = np.arange(len(samples))[::-1]
    return cell, samples[CELL].iloc[first].astype(str).reset_index(drop=True)


def _numbers(
    scores: Numbers, row: Integers, failed: NDArray[np.bool_], metric: Integers
) -> dict[str, NDArray[Any]]:
    """Return the columns of means.

    Args:
        scores: Sorted by their row, then by sample, (N,).
        row: Of each score, (N,).
        failed: Which of them failed, (N,).
        metric: Of each row, (rows,).
    """
    rows = len(metric)
    whole, kept = moments(scores, row, rows), moments(scores[~failed], row[~failed], rows)
    is_share = ~np.isin(metric, metric[row[(scores != 0) & (scores != 1)]])
    low, high = _intervals(scores, whole, is_share)
    with np.errstate(divide="ignore", invalid="ignore"):
        stderr = whole.deviation / np.sqrt(whole.count)
    return {
        "value": whole.mean,
        "stderr": stderr,
        "count": whole.count,
        "kept_value": kept.mean,
        "kept_count": kept.count,
        "low": low,
        "high": high,
    }


def _intervals(scores: Numbers, whole: Moments, is_share: NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Return Wilson's intervals, and the bootstrap's of rows with equally many scores at once."""
    ends = np.full((2, len(whole.count)), np.nan)
    ends[:, is_share] = wilson_intervals(whole.mean[is_share], whole.count[is_share])
    start = np.cumsum(whole.count) - whole.count
    for count in np.unique(whole.count[~is_share]):
        rows = np.flatnonzero((whole.count == count) & ~is_share)
        ends[:, rows] = bootstrap_intervals(scores[start[rows] + np.arange(count)[:, None]])
    return ends[0], ends[1]
