"""The look of all plots: colours, fonts, and where things stand."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lit_xai.reporting.plots.words import MINUS, shortened, text_width

# Pages replace it by the colour of their text.
INK = "#16191d"
# Each has a contrast of at least 3 to the grounds of plots, in a light page and in a dark one.
COLOURS = ("#1f6fd0", "#cf520a", "#149a78", "#bb4590", "#b08b0c", "#4593bd", "#5f782e", "#9f7fd2")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = ("-", (0, (7, 1.5, 1.5, 1.5)), (0, (12, 2)))
# Controls: dashes that begin elsewhere leave gaps in which other ones are seen.
DASHES = ((2.5, 2.0), (1.0, 1.6), (6.0, 2.0), (4.0, 1.5, 1.0, 1.5), (1.0, 3.0))
WIDTH = 400.0
SIZE, SMALL = 12.0, 11.0
LEFT, RIGHT, GAP = 40.0, 12.0, 20.0
_PER_INCH = 72.0
_NOT_STYLE = ("backend", "backend_fallback", "interactive", "toolbar", "date.epoch")
_RC = {
    "font.family": "DejaVu Sans",
    "font.size": SIZE,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": INK,
    "axes.facecolor": "none",
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.alpha": 0.13,
    "grid.color": INK,
    "grid.linewidth": 0.8,
    "lines.linewidth": 2.0,
    "lines.markersize": 5.5,
    "lines.markeredgewidth": 0.0,
    "savefig.facecolor": "none",
    "svg.fonttype": "none",
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "xtick.major.pad": 5.0,
    "ytick.major.pad": 5.0,
}


class Look(NamedTuple):
    """How a checkpoint looks in every plot of a report."""

    colour: str
    marker: str
    line: Any


class Entry(NamedTuple):
    """A line of a legend: a text, and a colour, marker and line, each perhaps missing."""

    text: str
    colour: str
    marker: str
    line: Any
    width: float = 2.0


def look(place: int) -> Look:
    """Return the look of the checkpoint at a place in the card, no two of the first 64 the same."""
    turn = place // len(COLOURS)
    marker = MARKERS[(place + turn) % len(MARKERS)]
    return Look(COLOURS[place % len(COLOURS)], marker, LINES[turn % len(LINES)])


@contextmanager
def styled() -> Iterator[None]:
    """Draw in the report's style, whatever the user's settings are, and leave them as they were."""
    settings: dict[Any, Any] = dict(matplotlib.rcParamsDefault)
    for key in _NOT_STYLE:
        settings.pop(key, None)
    with matplotlib.rc_context(settings | _RC):
        yield


def blank(height: float) -> Figure:
    """Return an empty figure as wide as every plot.

    Args:
        height: In the plot's own pixels, as every length here.
    """
    return Figure(figsize=(WIDTH / _PER_INCH, height / _PER_INCH))


def axes_at(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return new axes whose data area begins `left` and `top` pixels from the figure's corner."""
    total = figure.get_figheight() * _PER_INCH
    box = (left / WIDTH, 1 - (top + height) / total, width / WIDTH, height / total)
    return figure.add_axes(box)


def write(figure: Figure, left: float, top: float, text: str, **style: Any) -> None:
    """Write a line of text whose middle is `top` pixels below the figure's upper edge."""
    total = figure.get_figheight() * _PER_INCH
    figure.text(left / WIDTH, 1 - top / total, text, va="center_baseline", **style)


def legend_rows(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Return the entries of a legend, as many in a row as find room."""
    rows: list[list[Entry]] = []
    room = 0.0
    for entry in entries:
        needed = _entry_width(entry)
        if needed > room:
            rows.append([])
            room = WIDTH
        rows[-1].append(entry)
        room -= needed
    return rows


def _entry_width(entry: Entry) -> float:
    return 28 + text_width(entry.text, SMALL) + 14


def draw_legend(figure: Figure, rows: Sequence[Sequence[Entry]], top: float = 0.0) -> None:
    """Draw a legend, each row 18 pixels high."""
    total = figure.get_figheight() * _PER_INCH
    for row, entries in enumerate(rows):
        left, middle = 2.0, top + 18 * row + 9
        for entry in entries:
            line = Line2D(
                [left / WIDTH, (left + 11) / WIDTH, (left + 22) / WIDTH],
                [1 - middle / total] * 3,
                color=entry.colour,
                linestyle=entry.line or "none",
                linewidth=entry.width,
                marker=entry.marker,
                markevery=[1],
            )
            figure.add_artist(line)
            write(figure, left + 28, middle, entry.text, size=SMALL)
            left += _entry_width(entry)


def small_multiples(
    titles: Sequence[str],
    entries: Sequence[Entry],
    *,
    heading: str,
    below: str,
    height: float = 165.0,
    right: float = RIGHT,
    note: str = "",
) -> tuple[Figure, list[Axes]]:
    """Return a figure of one or two columns of panels that share their axes.

    Args:
        titles: Of the panels; a single panel needs none.
        entries: Of the legend above the panels.
        heading: What the vertical axis shows.
        below: What the horizontal axis shows.
        height: Of a panel.
        right: Room beside the last column.
        note: What else is seen, below on the left.
    """
    columns = min(2, len(titles))
    count = -(-len(titles) // columns)
    rows = legend_rows(entries)
    head, first = (24.0 if len(titles) > 1 else 8.0), 18 * len(rows) + 24.0
    pitch = head + height + 24
    figure = blank(first + count * pitch + 18)
    draw_legend(figure, rows)
    write(figure, 2, first - 11, heading, size=SMALL)
    width = (WIDTH - LEFT - right - (columns - 1) * GAP) / columns
    panels: list[Axes] = []
    for place, title in enumerate(titles):
        left, top = LEFT + (place % columns) * (width + GAP), first + (place // columns) * pitch
        panel = axes_at(figure, left, top + head, width, height)
        if len(titles) > 1:
            write(figure, left, top + 11, shortened(title, int(width / 6.6)), size=SMALL, weight="bold")
        panel.tick_params(labelleft=place % columns == 0)
        panels.append(panel)
    write_below(figure, first + count * pitch + 7, note, below)
    return figure, panels


def write_below(figure: Figure, top: float, note: str, below: str) -> None:
    """Write what else is seen, and what the horizontal axis shows, below the axes."""
    write(figure, LEFT, top, note, size=SMALL, alpha=0.75)
    write(figure, WIDTH - RIGHT, top, below, size=SMALL, ha="right", alpha=0.75)


def frame(panels: Sequence[Axes], low: float, high: float) -> None:
    """Give panels one vertical range, a little larger than the data; it ends at 0 or 1 where that is near."""
    low, high = _rounded_range(low, high)
    for panel in panels:
        panel.set_ylim(low, high)
        panel.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        panel.yaxis.set_major_formatter(FuncFormatter(short_tick))
        panel.grid(visible=False, axis="x")


def _rounded_range(low: float, high: float) -> tuple[float, float]:
    span = high - low or abs(high) or 1.0
    bottom, top = low - 0.06 * span, high + 0.06 * span
    if low >= 0 and low < 0.3 * high:
        bottom = 0.0
    if 0.75 < high <= 1 and low >= 0:
        top = 1.0
    return bottom, top


def short_tick(value: float, _: int | None = None) -> str:
    """Return the label of a tick, exact for round numbers.

    Example:
        >>> short_tick(0.30000000000000004), short_tick(12000.0)
        ('0.3', '12k')
    """
    text = f"{value / 1000:.4g}k" if abs(value) >= 10000 else f"{value:.4g}"
    return text.replace("-", MINUS)
