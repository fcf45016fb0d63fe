"""Matrices of numbers as coloured tiles, one matrix or several side by side."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lit_xai.reporting.plots.style import GAP, INK, RIGHT, SMALL, WIDTH, axes_at, blank, write
from lit_xai.reporting.plots.telling import drawable
from lit_xai.reporting.plots.words import number, shortened, text_width

_HIGH, _LONGEST_ROW = 30.0, 175.0
_LINE, _MOST_LINES = 14.0, 3
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
    return _wide(rows, columns, _beside(rows, columns, panels))


def _wide(rows: Axis, columns: Axis, beside: int) -> float:
    room = WIDTH - _left(rows, columns) - RIGHT
    return min((room - (beside - 1) * GAP) / beside / len(columns.labels), _WIDEST)


def _beside(rows: Axis, columns: Axis, panels: int) -> int:
    """Return how many matrices stand side by side: at most three, with room for numbers and names."""
    fits = [
        count
        for count in (2, 3)
        if _wide(rows, columns, count) >= _NARROWEST and _all_fit(columns, _wide(rows, columns, count))
    ]
    # Four are better as two and two.
    fits = [count for count in fits if count <= panels and not (count == 3 and panels == 4)]
    return max(fits, default=1)


def _left(rows: Axis, columns: Axis) -> float:
    widest = max(text_width(label, SMALL) for label in (*_row_labels(rows), columns.name))
    return min(widest, _LONGEST_ROW) + 10


def _row_labels(rows: Axis) -> list[str]:
    return [f"{rows.name} {label}".strip() for label in rows.labels]


def names_fit(rows: Axis, columns: Axis) -> bool:
    """Return whether all labels of a matrix that stands alone are written in full.

    Args:
        rows: From above.
        columns: From the left.
    """
    fits = all(text_width(label, SMALL) <= _LONGEST_ROW for label in _row_labels(rows))
    return fits and _all_fit(columns, _wide(rows, columns, 1))


def _all_fit(columns: Axis, wide: float) -> bool:
    wrapped = [_wrapped(label, wide) for label in columns.labels]
    return all(
        len(lines) <= _MOST_LINES and text_width(line, SMALL) <= wide for lines in wrapped for line in lines
    )


def _wrapped(label: str, room: float) -> list[str]:
    """Return a text in lines, broken at spaces where it is wider than there is room."""
    lines: list[str] = []
    for word in label.split(" "):
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and text_width(longer, SMALL) <= room:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def tile_plot(
    matrices: Sequence[Matrix],
    rows: Axis,
    columns: Axis,
    *,
    heading: str,
    diagonal: str | None = None,
    ends: tuple[float, float] | None = None,
    falling: bool = False,
) -> Figure:
    """Return a figure in which all matrices have one scale of colour, and every tile its number.

    Args:
        matrices: At least one, with a finite number at least.
        rows: From above.
        columns: From the left.
        heading: What the numbers are.
        diagonal: Written where row and column are the same.
        ends: The lowest and the highest number of the scale if they are beyond all others.
        falling: Whether the lowest number is the darkest.
    """
    beside = _beside(rows, columns, len(matrices))
    left, wide = _left(rows, columns), len(columns.labels) * tile_width(rows, columns, len(matrices))
    height = _HIGH * len(rows.labels)
    lines = max(len(_wrapped(label, wide / len(columns.labels))) for label in columns.labels)
    pitch = 26 + height + 12 + _LINE * min(lines, _MOST_LINES)
    figure = blank(24 + -(-len(matrices) // beside) * pitch)
    write(figure, 2, 11, heading, size=SMALL)
    low, high = _span(matrices, ends)
    scale = (high, low) if falling else (low, high)
    for place, matrix in enumerate(matrices):
        start, top = left + place % beside * (wide + GAP), 24 + place // beside * pitch + 26
        panel = axes_at(figure, start, top, wide, height)
        write(figure, start, top - 11, _fitting(matrix.title, wide + GAP - 6), size=SMALL, weight="bold")
        first = place % beside == 0
        if first:
            write(figure, left - 7, top + height + 11, columns.name, size=SMALL, ha="right", alpha=0.75)
        _draw(panel, matrix.values, scale, diagonal)
        _label(panel, rows, columns, named=first)
    return figure


def _span(matrices: Sequence[Matrix], ends: tuple[float, float] | None) -> tuple[float, float]:
    numbers = np.concatenate([ends or [np.nan], *(matrix.values.ravel() for matrix in matrices)])
    numbers = numbers[drawable(numbers)]
    return float(numbers.min()), float(numbers.max())


def _draw(panel: Axes, values: Floats, scale: tuple[float, float], diagonal: str | None) -> None:
    light, dark = scale
    largest = max(abs(light), abs(dark))
    for (row, column), value in np.ndenumerate(values):
        fine = bool(drawable(value))
        share = (value - light) / (dark - light) if fine and dark != light else 0.5
        face, text = tile_colours(share) if fine else (INK, INK)
        corner = (column - 0.5 + _GAP, row - 0.5 + _GAP)
        panel.add_artist(
            Rectangle(
                corner,
                1 - 2 * _GAP,
                1 - 2 * _GAP,
                facecolor=face,
                linewidth=0,
                alpha=None if fine else 0.06,
            )
        )
        same = diagonal is not None and row == column
        label = diagonal if same else number(value, largest)
        panel.text(column, row, str(label), color=text, size=SMALL, ha="center", va="center_baseline")


def tile_colours(share: float) -> tuple[str, str]:
    """Return the colour of a tile and of the text on it, with a contrast of at least 4.5.

    Args:
        share: From 0, the lightest, to 1.
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
    below = [
        "\n".join(_fitting(line, wide) for line in _wrapped(label, wide)[:_MOST_LINES])
        for label in columns.labels
    ]
    panel.set_xticks(range(count), below)
    panel.set_yticks(range(len(rows.labels)), [_fitting(label, _LONGEST_ROW) for label in _row_labels(rows)])
    panel.tick_params(labelleft=named)


def _fitting(label: str, room: float) -> str:
    letters = int(room / (text_width("n", SMALL)))
    return shortened(label, max(2, letters))
