"""Lines over one quantity, in one panel or several."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import offset_copy

from lit_xai.reporting.plots.style import INK, RIGHT, SMALL, Entry, frame, short_tick, small_multiples
from lit_xai.reporting.plots.telling import drawable, not_drawn, sentences
from lit_xai.reporting.plots.units import Floats, Unit
from lit_xai.reporting.plots.words import capital, number, text_width

_HEIGHT = {1: 215.0, 2: 165.0}
_LONGEST_LABEL, _MOST_LABELS, _APART = 105.0, 6, 14.0
_WIDE, _THIN, _BESIDE = 2.0, 0.7, 1.7
_MARK, _MOST_MARKS, _MOST_LAYERS = 5.5, 12, 3
_SEEDS = Entry("single seeds", INK, "", "-", _THIN)
_THINNER: dict[str, Any] = {"linestyle": "-", "linewidth": _THIN}
# Below this share of the height, lines are seen as one.
_TOUCHING = 0.012


class Line(NamedTuple):
    """What a regime or a checkpoint does in one panel.

    Attributes:
        panel: Its place.
        unit: The place of the regime or checkpoint among all: gives the look.
        label: For sentences.
        horizontal: (N,), finite.
        value: (N,), as the others; what has no place on an axis is left out.
        low: Of the interval.
        high: Of the interval.
        dashes: Of a control, as lengths.
        is_seed: Whether it is one of the lines that a regime's line is the mean of.
    """

    panel: int
    unit: int
    label: str
    horizontal: Floats
    value: Floats
    low: Floats
    high: Floats
    dashes: tuple[float, ...] = ()
    is_seed: bool = False

    @property
    def is_main(self) -> bool:
        """Whether it is drawn with marks, and named."""
        return not self.dashes and not self.is_seed


def can_be_drawn(lines: Sequence[Line]) -> bool:
    """Return whether any point of any line has a place on the axes."""
    return any(bool(drawable(line.value).any()) for line in lines)


def line_plot(
    units: Sequence[Unit],
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
        units: All of the report.
        titles: Of the panels.
        lines: At least one that can be drawn.
        heading: Of the vertical axis.
        below: Of the horizontal one.
        dashed: Legend of the lines that are dashed.
        whole: Whether the horizontal axis has whole numbers only.
    """
    lines = [_masked(line) for line in lines if can_be_drawn([line])]
    shown = [units[place] for place in sorted({line.unit for line in lines})]
    widest = max(text_width(unit.label, SMALL) for unit in shown)
    direct = len(titles) == 1 and len(shown) <= _MOST_LABELS and widest <= _LONGEST_LABEL
    named = [] if direct else [Entry(unit.label, *unit.look) for unit in shown]
    low, high = _span(lines)
    layers = _layers(lines, _TOUCHING * (high - low))
    height, right = _HEIGHT[min(2, len(titles))], widest + 26 if direct else RIGHT
    legend = [*named, *dashed, *([_SEEDS] if any(line.is_seed for line in lines) else [])]
    figure, panels = small_multiples(
        titles, legend, heading=heading, below=below, height=height, right=right, note=_note(lines, layers)
    )
    frame(panels, low, high)
    _set_ticks(panels, whole=whole)
    for line, above in sorted(zip(lines, layers, strict=True), key=lambda pair: _order(pair[0])):
        _draw(panels[line.panel], line, above, units)
    if direct:
        _name_ends(figure, panels[0], [line for line in lines if line.is_main], units, height)
    return figure


def _note(lines: Sequence[Line], layers: Sequence[int]) -> str:
    shaded = any(line.is_main and bool((line.low < line.high).any()) for line in lines)
    return "; ".join(["shaded: 95 % interval"] * shaded + ["wider: below another"] * any(layers))


def _span(lines: Sequence[Line]) -> tuple[float, float]:
    # Intervals of seeds and of controls are not drawn.
    seen = [(line.low, line.high, line.value) if line.is_main else (line.value,) for line in lines]
    ends = np.concatenate([np.concatenate(columns) for columns in seen])
    return float(np.nanmin(ends)), float(np.nanmax(ends))


def _set_ticks(panels: Sequence[Axes], *, whole: bool) -> None:
    for panel in panels:
        ticks = 4 if len(panels) > 1 else 6
        panel.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 2.5, 5, 10], integer=whole))
        panel.xaxis.set_major_formatter(FuncFormatter(short_tick))


def _masked(line: Line) -> Line:
    order = np.argsort(line.horizontal, kind="stable")
    value, low, high = (
        np.where(drawable(column), column, np.nan)[order] for column in (line.value, line.low, line.high)
    )
    return line._replace(horizontal=line.horizontal[order], value=value, low=low, high=high)


def _layers(lines: Sequence[Line], distance: float) -> list[int]:
    """Return how many later lines hide each one: it is drawn wider, so that it is seen beside them."""
    found = []
    for place, line in enumerate(lines):
        later = [other for other in lines[place + 1 :] if other.is_main and other.panel == line.panel]
        found.append(min(_MOST_LAYERS, sum(covers(other, line, distance) for other in later)))
    return [above if line.is_main else 0 for above, line in zip(found, lines, strict=True)]


def _order(line: Line) -> tuple[bool, bool]:
    """Seeds are drawn first, then controls, then the lines that matter."""
    return line.is_main, bool(line.dashes)


def covers(upper: Line, lower: Line, distance: float) -> bool:
    """Return whether a line hides a part of another one: two neighbouring points, or all it has.

    Args:
        upper: Drawn later.
        lower: Drawn before.
        distance: At which points are seen as one.
    """
    places = dict(zip(upper.horizontal, upper.value, strict=True))
    near = [
        abs(places.get(place, np.nan) - value) <= distance
        for place, value in zip(lower.horizontal, lower.value, strict=True)
        if np.isfinite(value)
    ]
    return any(map(np.logical_and, near, near[1:])) if len(near) > 1 else any(near)


def _draw(panel: Axes, line: Line, above: int, units: Sequence[Unit]) -> None:
    look, options = units[line.unit].look, _THINNER
    if line.dashes:
        # The dashes of lines on each other take turns.
        phase = sum(line.dashes) * line.unit / len(units)
        options = {"linestyle": (phase, line.dashes), "linewidth": 1.4}
    elif line.is_main:
        options = {"linestyle": look.line, "linewidth": _WIDE + _BESIDE * above}
        panel.fill_between(line.horizontal, line.low, line.high, color=look.colour, alpha=0.16, linewidth=0)
        if len(line.horizontal) <= _MOST_MARKS:
            size = _MARK + 1.5 * _BESIDE * above
            options |= {"marker": look.marker, "clip_on": False, "markersize": size}
    panel.plot(line.horizontal, line.value, color=look.colour, **options)


def _name_ends(
    figure: Figure, panel: Axes, lines: Sequence[Line], units: Sequence[Unit], height: float
) -> None:
    low, high = panel.get_ylim()
    last = {}
    for line in lines:
        end = np.flatnonzero(np.isfinite(line.value))[-1]
        last[line.unit] = height * (line.value[end] - low) / (high - low)
    beside, further = (
        offset_copy(panel.transAxes, fig=figure, x=shift, units="points") for shift in (10, 18)
    )
    for place, middle in zip(last, apart(list(last.values()), height), strict=True):
        share, (colour, marker, _) = middle / height, units[place].look
        panel.plot([1], [share], color=colour, marker=marker, transform=beside, clip_on=False)
        panel.text(1, share, units[place].label, transform=further, size=SMALL, va="center_baseline")


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


def told(titles: Sequence[str], lines: Sequence[Line], where: str, gone: Sequence[Line] = ()) -> str:
    """Return in words where every line begins and ends, and what could not be drawn.

    Args:
        titles: Of the panels.
        lines: Those of seeds and controls are told only where they could not be drawn.
        where: What stands before a place on the horizontal axis, such as `in epoch`.
        gone: Lines that have no panel, as nothing of them can be drawn; their labels say under which attack.
    """
    found = []
    for panel, title in enumerate(titles):
        own = [line for line in lines if line.panel == panel and can_be_drawn([line]) and line.is_main]
        if own:
            found.append(f"{capital(title)}: {'; '.join(_ends(line, where) for line in own)}.")
    missing: dict[str, float] = {}
    for line in (*(_placed(line, titles) for line in lines), *gone):
        for place, value in zip(line.horizontal, line.value, strict=True):
            if not drawable(value):
                missing[f"{line.label} {where} {place:.4g}"] = float(value)
    return sentences(*found, not_drawn(list(missing.items())))


def _placed(line: Line, titles: Sequence[str]) -> Line:
    """Return a line whose label names its panel where there are several; a control stands in all of them."""
    alone = len(titles) == 1 or line.dashes
    return line if alone else line._replace(label=f"{line.label}, {titles[line.panel]},")


def _ends(line: Line, where: str) -> str:
    places = np.flatnonzero(drawable(line.value))
    ends = [places[np.argmin(line.horizontal[places])], places[np.argmax(line.horizontal[places])]]
    numbers = [f"{number(line.value[end])} {where} {line.horizontal[end]:.4g}" for end in ends]
    return f"{line.label} {', '.join(dict.fromkeys(numbers))}"
