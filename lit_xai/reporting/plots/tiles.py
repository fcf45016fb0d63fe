"""Matrices of numbers as coloured tiles, one matrix or several side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lit_xai.reporting.plots.style import GAP, INK, RIGHT, SMALL, WIDTH, axes_at, blank, write
from lit_xai.reporting.plots.words import number, shortened, text_width

_HIGH, _LONGEST_ROW = 30.0, 150.0
_NARROWEST, _WIDEST = 34.0, 96.0
# Neither end vanishes in a light or in a dark page.
_TONES = LinearSegmentedColormap.from_list("tones", ["#d5e5f4", "#6da7da", "#164c8f"])
_GAP = 0.04
# Pure black is not written, being the default; a page may have another one.
_WHITE, _BLACK = "#ffffff", "#010101"
Floats = np.ndarray[Any, np.dtype[np.float64]]


class Matrix(NamedTuple):
    """Numbers under a title, (rows, columns); NaN where there is none."""

    title: str
    values: Floats


class Axis(NamedTuple):
    """What the rows or the columns are, and the label of each."""

    name: str
    labels: list[str]


def tile_width(rows: Axis, columns: Axis, panels: int) -> float:
    """Return how wide the tiles of `tile_plot` are.

    Args:
        rows: From above.
        columns: From the left.
        panels: How many matrices.
    """
    room = WIDTH - _left(rows, columns) - RIGHT
    beside = _beside(rows, columns, panels)
    return min((room - (beside - 1) * GAP) / beside / len(columns.labels), _WIDEST)


def _beside(rows: Axis, columns: Axis, panels: int) -> int:
    """Return how many matrices stand side by side: at most three, none too narrow for its numbers."""
    room = WIDTH - _left(rows, columns) - RIGHT
    fits = [count for count in (2, 3) if (room + GAP) / count - GAP >= _NARROWEST * len(columns.labels)]
    # Four are better as two and two.
    fits = [count for count in fits if count <= panels and not (count == 3 and panels == 4)]
    return max(fits, default=1)


def _left(rows: Axis, columns: Axis) -> float:
    widest = max(text_width(label, SMALL) for label in (*rows.labels, rows.name, columns.name))
    return min(widest, _LONGEST_ROW) + 10


def tile_plot(
    matrices: Sequence[Matrix],
    rows: Axis,
    columns: Axis,
    *,
    heading: str,
    diagonal: str | None = None,
    ends: tuple[float, float] | None = None,
) -> Figure:
    """Return a figure in which all matrices have one scale of colour, and every tile its number.

    Args:
        matrices: At least one, with a number at least.
        rows: From above.
        columns: From the left.
        heading: What the numbers are.
        diagonal: Written where row and column are the same.
        ends: The numbers of the lightest and the darkest tile if they are beyond all others.
    """
    beside = _beside(rows, columns, len(matrices))
    left, wide = _left(rows, columns), len(columns.labels) * tile_width(rows, columns, len(matrices))
    height = _HIGH * len(rows.labels)
    pitch = 26 + height + 26
    figure = blank(24 + -(-len(matrices) // beside) * pitch)
    write(figure, 2, 11, heading, size=SMALL)
    numbers = np.concatenate([ends or [np.nan], *(matrix.values.ravel() for matrix in matrices)])
    scale = (float(np.nanmin(numbers)), float(np.nanmax(numbers)))
    for place, matrix in enumerate(matrices):
        start, top = left + place % beside * (wide + GAP), 24 + place // beside * pitch + 26
        panel = axes_at(figure, start, top, wide, height)
        write(figure, start, top - 11, _fitting(matrix.title, wide + GAP - 6), size=SMALL, weight="bold")
        first = place % beside == 0
        if first:
            write(figure, left - 7, top - 11, rows.name, size=SMALL, ha="right", alpha=0.75)
            write(figure, left - 7, top + height + 11, columns.name, size=SMALL, ha="right", alpha=0.75)
        _draw(panel, matrix.values, scale, diagonal)
        _label(panel, rows, columns, named=first)
    return figure


def _draw(panel: Axes, values: Floats, scale: tuple[float, float], diagonal: str | None) -> None:
    low, high = scale
    largest = max(abs(low), abs(high))
    for (row, column), value in np.ndenumerate(values):
        finite = bool(np.isfinite(value))
        share = (value - low) / (high - low) if finite and high > low else 0.5
        face, text = tile_colours(share) if finite else (INK, INK)
        corner = (column - 0.5 + _GAP, row - 0.5 + _GAP)
        panel.add_artist(
            Rectangle(
                corner,
                1 - 2 * _GAP,
                1 - 2 * _GAP,
                facecolor=face,
                linewidth=0,
                alpha=None if finite else 0.06,
            )
        )
        same = diagonal is not None and row == column
        label = diagonal if same else number(value, largest)
        panel.text(column, row, str(label), color=text, size=SMALL, ha="center", va="center_baseline")


def tile_colours(share: float) -> tuple[str, str]:
    """Return the colour of a tile and of the text on it, with a contrast of at least 4.5.

    Args:
        share: From 0, the lowest number, to 1.
    """
    colour = _TONES(share)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return to_hex(colour), _WHITE if luminance < 0.178 else _BLACK


def _label(panel: Axes, rows: Axis, columns: Axis, *, named: bool) -> None:
    count = len(columns.labels)
    panel.set_xlim(-0.5, count - 0.5)
    panel.set_ylim(len(rows.labels) - 0.5, -0.5)
    panel.grid(visible=False)
    panel.spines["bottom"].set_visible(False)
    wide = panel.get_position().width * WIDTH / count
    panel.set_xticks(range(count), [_fitting(label, wide) for label in columns.labels])
    panel.set_yticks(range(len(rows.labels)), [_fitting(label, _LONGEST_ROW) for label in rows.labels])
    panel.tick_params(labelleft=named)


def _fitting(label: str, room: float) -> str:
    letters = int(room / (text_width("n", SMALL)))
    return shortened(label, max(2, letters))
