"""Two quantities of every checkpoint against each other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lit_xai.reporting.plots.placing import Box, place_labels
from lit_xai.reporting.plots.style import (
    INK,
    LEFT,
    RIGHT,
    SMALL,
    WIDTH,
    axes_at,
    blank,
    frame,
    short_tick,
    write,
    write_below,
)

_HEIGHT, _TOP = 250.0, 34.0
_WIDE = WIDTH - LEFT - RIGHT
Floats = np.ndarray[Any, np.dtype[np.float64]]


def scatter_panel(across: Floats, up: Floats, *, heading: str, below: str, note: str) -> tuple[Figure, Axes]:
    """Return a panel that has room for values and for the labels beside them.

    Args:
        across: All values on the horizontal axis, finite.
        up: Those on the vertical axis.
        heading: What the vertical axis shows.
        below: What the horizontal axis shows.
        note: What else is seen.
    """
    figure = blank(_TOP + _HEIGHT + 44)
    write(figure, 2, 11, heading, size=SMALL)
    write_below(figure, _TOP + _HEIGHT + 33, note, below)
    panel = axes_at(figure, LEFT, _TOP, _WIDE, _HEIGHT)
    frame([panel], float(up.min()), float(up.max()))
    low, high = float(across.min()), float(across.max())
    margin = 0.12 * ((high - low) or 0.1)
    panel.set_xlim(low - margin, high + margin)
    panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    panel.xaxis.set_major_formatter(FuncFormatter(short_tick))
    panel.grid(visible=True, axis="both")
    return figure, panel


def draw_front(panel: Axes, across: Sequence[float], up: Sequence[float], direction: int) -> None:
    """Draw the edge of what the points of a Pareto front beat.

    Args:
        panel: With its limits set.
        across: Of the points of the front, rising.
        up: Of the same points.
        direction: 1 if higher is better, -1 if lower is.
    """
    end = panel.get_ylim()[0 if direction > 0 else 1]
    corners_across = [panel.get_xlim()[0], *np.repeat(across, 2)]
    corners_up = [*np.repeat(up, 2), end]
    panel.plot(corners_across, corners_up, color=INK, alpha=0.6, linewidth=1.0, zorder=1.5)


def name_points(
    panel: Axes,
    points: dict[str, tuple[float, float]],
    bars: Sequence[tuple[tuple[float, ...], tuple[float, ...]]] = (),
) -> None:
    """Write each name beside its point.

    Args:
        panel: With its limits set.
        points: Of the names, in the units of the data.
        bars: Value, low and high, across and up, of intervals that the names should not lie on.
    """
    (left, right), (bottom, top) = panel.get_xlim(), panel.get_ylim()

    def pixels(x: float, y: float) -> tuple[float, float]:
        return _WIDE * (x - left) / (right - left), _HEIGHT * (y - bottom) / (top - bottom)

    ends = [
        pair
        for (x, *wide), (y, *high) in bars
        for pair in (((x, high[0]), (x, high[1])), ((wide[0], y), (wide[1], y)))
    ]
    boxes = [_around(pixels(*low), pixels(*high)) for low, high in ends if np.isfinite((low, high)).all()]
    places = [pixels(*point) for point in points.values()]
    labels = place_labels(places, list(points), SMALL, Box(0, 0, _WIDE + RIGHT, _HEIGHT), boxes)
    for (name, point), label in zip(points.items(), labels, strict=True):
        panel.annotate(
            name, point, (label.across, label.up), textcoords="offset points", size=SMALL, ha=label.align,
            va="center_baseline", annotation_clip=False,
        )  # fmt: skip


def _around(low: tuple[float, float], high: tuple[float, float]) -> Box:
    return Box(low[0] - 1, low[1] - 1, high[0] + 1, high[1] + 1)
