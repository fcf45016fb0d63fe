"""Intervals, comparisons and corrections for many columns of scores at once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from lit_xai.reporting.moments import Integers, Moments, Numbers, column_moments

LEVEL = 0.95
RESAMPLES = 4000
_DRAWS_AT_ONCE = 1_000_000
_COLUMNS_AT_ONCE = 2000
_ROUNDING = 8 * float(np.finfo(np.float64).eps)


class Difference(NamedTuple):
    """How far the second of two lies above the first; scalars, or (C,) for columns.

    Attributes:
        difference: Of the means, second minus first.
        low: Of its 95 % interval (Student's t).
        high: Of its 95 % interval.
        statistic: Student's t.
        p: Two-sided.
        effect: Cohen's d_z (paired) or Hedges' g (unpaired).
        n: Numbers compared: pairs, or the units of both.
    """

    difference: Numbers
    low: Numbers
    high: Numbers
    statistic: Numbers
    p: Numbers
    effect: Numbers
    n: Integers


def bootstrap_intervals(
    values: ArrayLike, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[Numbers, Numbers]:
    """Return BCa bootstrap intervals of means (Efron, 1987, doi:10.1080/01621459.1987.10478410).

    Columns with equally many defined scores are resampled alike. An interval depends on the column, level,
    resamples and seed alone, to the last bit: scores are rounded to 2^-30 of the column's range, so that sums
    are exact whatever their order.

    Args:
        values: Scores, (N,) or (N, C). NaN are left out.
        level: Of confidence.
        resamples: Number of bootstrap samples.
        seed: Of the resampling.

    Returns:
        Lower and upper ends, scalars or (C,): the score itself where all of a column are equal, NaN for
        fewer than two scores or an infinite one.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64).T)
    # Defined scores first, in their order.
    rows = np.take_along_axis(rows, np.argsort(np.isnan(rows), axis=1, kind="stable"), axis=1)
    count = (~np.isnan(rows)).sum(axis=1)
    ends = np.full((2, len(rows)), np.nan)
    for n in np.unique(count[count > 1]):
        chosen = np.flatnonzero(count == n)
        for start in range(0, len(chosen), _COLUMNS_AT_ONCE):
            block = chosen[start : start + _COLUMNS_AT_ONCE]
            ends[:, block] = _ends(rows[block, :n], level, resamples, seed)
    low, high = ends if np.ndim(values) > 1 else ends[:, 0]
    return low, high


def _ends(rows: Numbers, level: float, resamples: int, seed: int) -> Numbers:
    count = rows.shape[1]
    with np.errstate(invalid="ignore", over="ignore"):
        lowest, extent = rows.min(axis=1), np.ptp(rows, axis=1)
    ends = np.where(extent == 0, np.stack([lowest, lowest]), np.nan)
    varied = np.isfinite(extent) & (extent > 0)
    if varied.any():
        scale = 2.0 ** min(30, 52 - count.bit_length())
        shift, unit = lowest[varied], extent[varied] / scale
        whole = np.rint((rows[varied] - shift[:, None]) / extent[varied, None] * scale)
        sums = _resampled_sums(whole, resamples, seed)
        ends[:, varied] = shift + unit * _corrected_quantiles(whole, sums, level) / count
    return ends


def _resampled_sums(rows: Numbers, resamples: int, seed: int) -> Numbers:
    """Return the sums of resampled rows (C, N), exact for integers, (C, resamples)."""
    count = rows.shape[1]
    generator = np.random.default_rng((seed, count))
    sums = np.empty((len(rows), resamples))
    step = max(1, _DRAWS_AT_ONCE // count)
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = generator.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        sums[:, start : start + size] = rows @ weights.T.astype(np.float64)
    return sums


def _corrected_quantiles(rows: Numbers, sums: Numbers, level: float) -> Numbers:
    """Return the bias-corrected and accelerated quantiles of sums (C, resamples), (2, C)."""
    total, (count, resamples) = rows.sum(axis=1, keepdims=True), (rows.shape[1], sums.shape[1])
    # Sums of scores that are equal before rounding differ by less than one unit a score.
    below = ((sums < total - count).sum(axis=1) + (sums <= total + count).sum(axis=1)) / (2 * resamples)
    bias = special.ndtri(np.clip(below, 0.5 / resamples, 1 - 0.5 / resamples))
    centred = (rows - total / count) / rows.max(axis=1, keepdims=True)
    # The jackknife's values of a mean are the centred scores, up to a factor that cancels.
    acceleration = (centred**3).sum(axis=1) / (6 * (centred**2).sum(axis=1) ** 1.5)
    normal = bias + special.ndtri(np.array([[(1 - level) / 2], [(1 + level) / 2]]))
    place = special.ndtr(bias + normal / (1 - acceleration * normal)) * (resamples - 1)
    sums.sort(axis=1)
    left = np.clip(np.floor(place).astype(np.int64), 0, resamples - 2)
    column = np.arange(len(sums))
    first, second = sums[column, left], sums[column, left + 1]
    quantiles: Numbers = first + (second - first) * (place - left)
    return quantiles


def wilson_intervals(share: ArrayLike, count: ArrayLike, level: float = LEVEL) -> tuple[Numbers, Numbers]:
    """Return score intervals of shares (Wilson, 1927, doi:10.1080/01621459.1927.10502953).

    They have a width even where all or none are counted.

    Args:
        share: Shares in [0, 1], of any shape.
        count: Their sizes, of the same shape; without any the interval is NaN.
        level: Of confidence.
    """
    mean, size = np.asarray(share, dtype=np.float64), np.asarray(count, dtype=np.float64)
    normal = special.ndtri((1 + level) / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        centre = (mean + normal**2 / (2 * size)) / (1 + normal**2 / size)
        spread = np.sqrt(mean * (1 - mean) / size + normal**2 / (4 * size**2))
        half = normal / (1 + normal**2 / size) * spread
    # Rounding must not cut off the share itself, nor leave [0, 1].
    return np.maximum(np.minimum(centre - half, mean), 0.0), np.minimum(np.maximum(centre + half, mean), 1.0)


def mean_interval(parts: Moments, level: float = LEVEL) -> tuple[Numbers, Numbers]:
    """Return Student's t intervals of means, NaN for fewer than two numbers."""
    with np.errstate(invalid="ignore", divide="ignore"):
        half = half_interval(parts.deviation / np.sqrt(parts.count), parts.count, level)
        return parts.mean - half, parts.mean + half


def half_interval(error: ArrayLike, count: ArrayLike, level: float = LEVEL) -> Numbers:
    """Return half of Student's t intervals of means of so many numbers, from their standard errors."""
    numbers = np.asarray(count, dtype=np.float64)
    half: Numbers = special.stdtrit(numbers - 1, (1 + level) / 2) * np.asarray(error, dtype=np.float64)
    return half


def paired_difference(first: ArrayLike, second: ArrayLike) -> Difference:
    """Compare columns of scores of the same samples (paired t-test).

    At the 5 % level a null of differences of skewness 1.4 (exponential, cut at four times the mean) was
    rejected in 5.4 % of 20,000 simulations of 150 pairs, in 6 % of those of 50 pairs, 8 % of 20 and 11 % of
    5: where differences are skewed, the p-values of few pairs are too small.

    Args:
        first: Scores, (N,) or (N, C).
        second: Scores of the same samples, of the same shape; pairs with a NaN are left out.

    Returns:
        The difference, with Cohen's d_z: the mean difference over the standard deviation of differences.
        Without any difference p is 1 and the effect 0. Where all differences are the same, p is that of the
        sign test, 2^(1 - n), and the effect infinite.
    """
    left, right = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    return _scalars(paired(column_moments(differences(left, right))), np.ndim(left))


def differences(first: Numbers, second: Numbers) -> Numbers:
    """Return second minus first, 0 where they are equal but for the rounding of their last digits."""
    with np.errstate(invalid="ignore"):
        found = second - first
        rounding = np.abs(found) <= _ROUNDING * np.maximum(np.abs(first), np.abs(second))
    return np.where(rounding & np.isfinite(found), 0.0, found)


def paired(parts: Moments) -> Difference:
    """Compare pairs of which the moments of the differences are known, as `paired_difference` does."""
    mean, deviation, count = parts
    with np.errstate(invalid="ignore", divide="ignore"):
        statistic, effect = mean * np.sqrt(count) / deviation, mean / deviation
        p = 2 * special.stdtr(count - 1.0, -np.abs(statistic))
    equal, same = (mean == 0) & ~(deviation > 0), (deviation == 0) & (mean != 0)
    p = np.where(equal, 1.0, np.where(same, 2.0 ** (1 - count), p))
    statistic, effect = np.where(equal, 0.0, statistic), np.where(equal, 0.0, effect)
    return Difference(mean, *mean_interval(parts), statistic, p, effect, count)


def welch_difference(first: ArrayLike, second: ArrayLike) -> Difference:
    """Compare columns of independent numbers, such as the means of seeds (Welch's t-test).

    Args:
        first: Numbers, (N,) or (N, C).
        second: Numbers, (M,) or (M, C); NaN are left out.

    Returns:
        The difference, with Hedges' g: the difference over the pooled standard deviation, freed of its bias.
        Without any difference or spread p is 1 and the effect 0. Where only the spread is missing, p is that
        of the permutation test, and the effect infinite. NaN for fewer than two numbers on a side.
    """
    left, right = column_moments(first), column_moments(second)
    difference = differences(left.mean, right.mean)
    count = left.count + right.count
    degrees = count.astype(np.float64) - 2
    with np.errstate(invalid="ignore", divide="ignore"):
        one, other = (side.deviation**2 / side.count for side in (left, right))
        squared_error = one + other
        freedom = squared_error**2 / (one**2 / (left.count - 1) + other**2 / (right.count - 1))
        freedom = np.where(squared_error == 0, degrees, freedom)
        half = special.stdtrit(freedom, (1 + LEVEL) / 2) * np.sqrt(squared_error)
        statistic = difference / np.sqrt(squared_error)
        p = 2 * special.stdtr(freedom, -np.abs(statistic))
        squares = [side.deviation**2 * (side.count - 1.0) for side in (left, right)]
        pooled = (squares[0] + squares[1]) / degrees
        effect = difference / np.sqrt(pooled) * _unbiased(degrees)
        extreme = np.minimum(1.0, 2 / special.binom(count, left.count))
    equal, same = (difference == 0) & (squared_error == 0), (difference != 0) & (squared_error == 0)
    p = np.where(equal, 1.0, np.where(same, extreme, p))
    statistic, effect = np.where(equal, 0.0, statistic), np.where(equal, 0.0, effect)
    found = Difference(difference, difference - half, difference + half, statistic, p, effect, count)
    return _scalars(found, np.ndim(first))


def _unbiased(degrees: Numbers) -> Numbers:
    """Return the factor of Hedges (1981) that frees Cohen's d of its bias."""
    log_ratio = special.gammaln(degrees / 2) - special.gammaln((degrees - 1) / 2)
    return np.asarray(np.exp(log_ratio) / np.sqrt(degrees / 2))


def holm(p: ArrayLike) -> Numbers:
    """Return p-values corrected for their number (Holm, 1979); NaN stay NaN and are not counted."""
    values = np.asarray(p, dtype=np.float64)
    corrected = np.full(values.shape, np.nan)
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    steps = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected


def _scalars(found: Difference, dimensions: int) -> Difference:
    return found if dimensions > 1 else Difference(*(part[0] for part in found))
