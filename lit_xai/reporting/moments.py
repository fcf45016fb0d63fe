"""Means and standard deviations of many groups at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.float64]
Integers = NDArray[np.int64]


class Moments(NamedTuple):
    """Of several groups of numbers: mean, standard deviation (of n - 1) and size, each (G,)."""

    mean: Numbers
    deviation: Numbers
    count: Integers  # type: ignore[assignment]


def moments(values: Numbers, group: Integers, groups: int) -> Moments:
    """Return the moments of grouped numbers, exact for groups of equal numbers.

    Args:
        values: Numbers, none of them NaN, (N,).
        group: The group of each, from 0, (N,).
        groups: Number of groups, G.
    """
    count = np.bincount(group, minlength=groups)
    lowest = np.full(groups, np.inf)
    np.minimum.at(lowest, group, values)
    origin = np.where(np.isfinite(lowest), lowest, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = origin + np.bincount(group, values - origin[group], groups) / count
        squares = np.bincount(group, (values - mean[group]) ** 2, groups)
        variance = np.where(count > 1, squares / (count - 1), np.nan)
    return Moments(mean, np.sqrt(variance), count)


def column_moments(values: ArrayLike) -> Moments:
    """Return the moments of a column (N,) or of columns (N, C), NaN left out, (1,) or (C,)."""
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64).T)
    defined = ~np.isnan(rows)
    return moments(rows[defined], np.nonzero(defined)[0], len(rows))
