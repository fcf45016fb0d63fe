"""Lines of checkpoints over one quantity, in one panel or several."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import offset_copy

from lit_xai.reporting.plots.style import (
    RIGHT,
    SMALL,
    Entry,
    Look,
    frame,
    looks,
    short_tick,
    small_multiples,
)
from lit_xai.reporting.plots.words import capital, number, short_names, text_width
from lit_xai.reporting.reading import Results

_HEIGHT = {1: 215.0, 2: 165.0}
_LONGEST_LABEL = 105.0
_MOST_LABELS = 6
_APART = 14.0
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Line(NamedTuple):
    """What one checkpoint does in one panel."""

    panel: int
    checkpoint: str
    horizontal: Floats
    value: Floats
    low: Floats
    high: Floats
    dashes: Any = None


def line_plot(
    results: Results,
    titles: Sequence[str],
    lines: Sequence[Line],
    *,
    heading: str,
    below: str,
    dashed: Sequence[Entry] = (),
    whole: bool = False,
) -> Figure:
    """Draw lines with their intervals; a single panel names them at their ends where there is room.

    Args:
        results: Their checkpoints give the colours.
        titles: Of the panels.
        lines: At least one.
        heading: What the vertical axis shows.
        below: What the horizontal axis shows.
        dashed: Legend of the lines that are dashed.
        whole: Whether the horizontal axis has whole numbers only.
    """
    shown = [name for name in results.checkpoints if any(line.checkpoint == name for line in lines)]
    names, style = short_names(results.checkpoints), looks(results.checkpoints)
    widest = max(text_width(names[name], SMALL) for name in shown)
    direct = len(titles) == 1 and len(shown) <= _MOST_LABELS and widest <= _LONGEST_LABEL
    entries = [] if direct else [Entry(names[name], *style[name]) for name in shown]
    right = widest + 26 if direct else RIGHT
    height = _HEIGHT[min(2, len(titles))]
    figure, panels = small_multiples(
        titles, [*entries, *dashed], heading=heading, below=below, height=height, right=right
    )
    for line in lines:
        _draw(panels[line.panel], line, style[line.checkpoint])
    ends = np.concatenate([np.concatenate((line.low, line.high, line.value)) for line in lines])
    frame(panels, float(np.nanmin(ends)), float(np.nanmax(ends)))
    for panel in panels:
        ticks = 4 if len(titles) > 1 else 6
        panel.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10], integer=whole))
        panel.xaxis.set_major_formatter(FuncFormatter(short_tick))
    if direct:
        _name_ends(figure, panels[0], [line for line in lines if line.dashes is None], names, style, height)
    return figure


def _draw(panel: Axes, line: Line, style: Look) -> None:
    order = np.argsort(line.horizontal)
    horizontal, value = line.horizontal[order], line.value[order]
    marked: dict[str, Any] = {"marker": style.marker, "clip_on": False} if len(order) <= 12 else {}
    if line.dashes is None:
        panel.fill_between(
            horizontal, line.low[order], line.high[order], color=style.colour, alpha=0.16, linewidth=0
        )
        panel.plot(horizontal, value, color=style.colour, linestyle=style.line, **marked)
    else:
        panel.plot(horizontal, value, color=style.colour, linestyle=line.dashes, linewidth=1.4)


def _name_ends(
    figure: Figure,
    panel: Axes,
    lines: Sequence[Line],
    names: dict[str, str],
    style: dict[str, Look],
    height: float,
) -> None:
    low, high = panel.get_ylim()
    last = {}
    for line in lines:
        finite = np.flatnonzero(np.isfinite(line.value))
        if len(finite):
            end = finite[np.argmax(line.horizontal[finite])]
            last[line.checkpoint] = height * (line.value[end] - low) / (high - low)
    beside, further = (
        offset_copy(panel.transAxes, fig=figure, x=shift, units="points") for shift in (10, 18)
    )
    for name, middle in zip(last, apart(list(last.values()), height), strict=True):
        share, (colour, marker, _) = middle / height, style[name]
        panel.plot([1], [share], color=colour, marker=marker, transform=beside, clip_on=False)
        panel.text(1, share, names[name], transform=further, size=SMALL, va="center_baseline")


def apart(places: Sequence[float], limit: float, distance: float = _APART) -> list[float]:
    """Return places moved as little as needed so that no two are nearer than `distance`.

    Args:
        places: In any order, in pixels.
        limit: None is moved beyond it, where there is room.
        distance: In pixels.

    Example:
        >>> apart([50.0, 45.0, 100.0], limit=100.0, distance=10.0)
        [55.0, 45.0, 100.0]
    """
    order = sorted(range(len(places)), key=lambda place: places[place])
    moved = [places[place] for place in order]
    for place in range(1, len(moved)):
        moved[place] = max(moved[place], moved[place - 1] + distance)
    for place in range(len(moved) - 1, -1, -1):
        above = limit if place == len(moved) - 1 else moved[place + 1] - distance
        moved[place] = min(moved[place], above)
    return [moved[order.index(place)] for place in range(len(places))]


def told(results: Results, titles: Sequence[str], lines: Sequence[Line], where: str) -> str:
    """Return in words where every line begins and ends.

    Args:
        results: Their checkpoints give the names.
        titles: Of the panels.
        lines: At least one.
        where: What stands before a place on the horizontal axis, such as `in epoch`.
    """
    names, sentences = short_names(results.checkpoints), []
    for panel, title in enumerate(titles):
        parts = []
        for line in (line for line in lines if line.panel == panel):
            places = np.flatnonzero(np.isfinite(line.value))
            ends = [places[np.argmin(line.horizontal[places])], places[np.argmax(line.horizontal[places])]]
            numbers = [f"{number(line.value[end])} {where} {line.horizontal[end]:.4g}" for end in ends]
            parts.append(f"{names[line.checkpoint]} {', '.join(dict.fromkeys(numbers))}")
        sentences.append(f"{capital(title)}: {'; '.join(parts)}.")
    return " ".join(sentences)
