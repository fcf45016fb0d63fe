"""Where labels stand so that they cover neither each other nor a point."""

from collections.abc import Sequence
from typing import NamedTuple

from lit_xai.reporting.plots.words import text_width

_MARKER = 6.0
_HIGH = 14.0


class Box(NamedTuple):
    """A rectangle in pixels."""

    left: float
    bottom: float
    right: float
    top: float


class Label(NamedTuple):
    """Where a label stands: its anchor relative to the point, in pixels, and which end the anchor is."""

    across: float
    up: float
    align: str


# The first is the best: intervals leave the point to all four sides, and a Pareto front to the lower left.
# The anchor is the middle of the text's height.
_CHOICES = (
    Label(7, 11, "left"), Label(-7, 11, "right"), Label(7, -11, "left"), Label(-7, -11, "right"),
    Label(10, 0, "left"), Label(-10, 0, "right"), Label(0, 15, "center"), Label(0, -15, "center"),
    Label(7, 25, "left"), Label(-7, 25, "right"), Label(7, -25, "left"), Label(-7, -25, "right"),
)  # fmt: skip


def place_labels(
    points: Sequence[tuple[float, float]],
    texts: Sequence[str],
    size: float,
    room: Box,
    lines: Sequence[Box] = (),
) -> list[Label]:
    """Return a place for every label, one after the other where it covers least.

    Args:
        points: What is labelled, in pixels.
        texts: The labels.
        size: Of their font.
        room: What they should stay in.
        lines: What they should not lie on, such as intervals.

    Example:
        >>> place_labels([(50.0, 5.0), (60.0, 5.0)], ["a", "b"], 10.0, Box(0, 0, 100, 10))
        [Label(across=-10, up=0, align='right'), Label(across=10, up=0, align='left')]
    """
    taken = [Box(x - _MARKER, y - _MARKER, x + _MARKER, y + _MARKER) for x, y in points]
    taken += lines
    placed = []
    for point, text in zip(points, texts, strict=True):
        width = text_width(text, size)
        boxes = [(_box(point, label, width), label) for label in _CHOICES]
        box, label = min(boxes, key=lambda pair: _cost(pair[0], taken, room))
        taken.append(box)
        placed.append(label)
    return placed


def _box(point: tuple[float, float], label: Label, width: float) -> Box:
    left = point[0] + label.across - {"left": 0.0, "center": 0.5, "right": 1.0}[label.align] * width
    middle = point[1] + label.up
    return Box(left, middle - _HIGH / 2, left + width, middle + _HIGH / 2)


def _cost(box: Box, taken: Sequence[Box], room: Box) -> float:
    outside = (box.right - box.left) * (box.top - box.bottom) - _overlap(box, room)
    return outside + sum(_overlap(box, other) for other in taken)


def _overlap(first: Box, second: Box) -> float:
    wide = min(first.right, second.right) - max(first.left, second.left)
    high = min(first.top, second.top) - max(first.bottom, second.bottom)
    return max(wide, 0.0) * max(high, 0.0)
