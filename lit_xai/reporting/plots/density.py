"""How the values of a sample are distributed, in a row of a plot."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from lit_xai.reporting.plots.style import INK, Look
from lit_xai.reporting.plots.telling import drawable

Floats = np.ndarray[Any, np.dtype[np.float64]]
_BINS = 256
_HALF = 7.0
_FEW_VALUES, _FEW_SAMPLES = 5, 20


class Quartiles(NamedTuple):
    """The quartiles of a sample, and its last values within 1.5 times their distance."""

    low: float
    first: float
    median: float
    third: float
    high: float


def quartiles(values: Floats) -> Quartiles:
    """Return what a box plot shows.

    Args:
        values: Finite, at least one.

    Example:
        >>> quartiles(np.array([1.0, 2.0, 3.0, 4.0, 40.0]))
        Quartiles(low=1.0, first=2.0, median=3.0, third=4.0, high=4.0)
    """
    first, median, third = (float(value) for value in np.quantile(values, (0.25, 0.5, 0.75)))
    reach = 1.5 * (third - first)
    inside = values[(values >= first - reach) & (values <= third + reach)]
    return Quartiles(float(inside.min()), first, median, third, float(inside.max()))


def density(values: Floats, points: int = 40) -> tuple[Floats, Floats]:
    """Return places between the lowest and the highest value, and the density there.

    A Gaussian kernel with Scott's width, as in `scipy.stats.gaussian_kde`, after counting in fine bins: the
    time hardly depends on the number of values.

    Args:
        values: Finite, at least two that differ.
        points: How many places.
    """
    width = float(values.std(ddof=1)) * len(values) ** -0.2
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=_BINS, range=(low, high))
    middles = (edges[:-1] + edges[1:]) / 2
    places = np.linspace(low, high, points)
    kernel = np.exp(-0.5 * ((places[:, None] - middles) / width) ** 2)
    return places, kernel @ counts / (len(values) * width * np.sqrt(2 * np.pi))


def draw_scores(panel: Axes, values: Floats, mean: float, middle: float, look: Look) -> None:
    """Draw a sample around a horizontal line: its shape, its middle half, its mean.

    The shape is a violin; below 20 samples there are whiskers instead, and where samples have few values a
    disc for each, as large as its share. Nothing marks a mean that has no place on the axis.

    Args:
        panel: Its vertical unit is a pixel.
        values: Finite, at least one.
        mean: Also of what is not finite.
        middle: Where the line is.
        look: Of the checkpoint.
    """
    different, counts = np.unique(values, return_counts=True)
    box = quartiles(values)
    if len(different) <= _FEW_VALUES:
        areas = 4 * _HALF**2 * counts / len(values)
        panel.scatter(
            different,
            [middle] * len(different),
            s=areas,
            facecolor=f"{look.colour}59",
            edgecolor=look.colour,
            linewidth=0.8,
        )
    elif len(values) < _FEW_SAMPLES:
        panel.plot([box.low, box.high], [middle] * 2, color=look.colour, linewidth=1)
    else:
        places, heights = density(values)
        shape = _HALF * heights / heights.max()
        panel.fill_between(places, middle - shape, middle + shape, color=look.colour, alpha=0.3, linewidth=0)
    if len(different) > _FEW_VALUES:
        bar = Rectangle((box.first, middle - 2), box.third - box.first, 4, color=look.colour, linewidth=0)
        panel.add_artist(bar)
    if not drawable(mean):
        return
    panel.plot(
        [mean], [middle], marker=look.marker, markersize=6.5, color=look.colour,
        markeredgecolor=INK, markeredgewidth=0.8,
    )  # fmt: skip
