"""What sentences say beside a plot: how many samples, and what could not be drawn."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

_LARGEST = 1e100
_MOST = 6


def drawable(values: Any) -> Any:
    """Return which numbers have a place on an axis: finite ones, not beyond all measure."""
    with np.errstate(invalid="ignore"):
        return np.abs(np.asarray(values, dtype=np.float64)) < _LARGEST


def samples_told(counts: Iterable[int], of: str = "Means of") -> str:
    """Return a sentence with a number of samples.

    Example:
        >>> samples_told([36, 38, 36]), samples_told([])
        ('Means of 36 to 38 samples.', '')
    """
    known = sorted(set(counts))
    if not known:
        return ""
    span = f"{known[0]:,}" if len(known) == 1 else f"{known[0]:,} to {known[-1]:,}"
    return f"{of} {span} sample{'' if known[-1] == 1 else 's'}."


def not_drawn(missing: Sequence[tuple[str, float]]) -> str:
    """Return a sentence that names what has no place in a plot.

    Args:
        missing: What it is, and its value.

    Example:
        >>> not_drawn([("natural in epoch 2", float("inf"))]), not_drawn([])
        ('Not drawn: natural in epoch 2 (infinite).', '')
    """
    if not missing:
        return ""
    told = [f"{what} ({_reason(value)})" for what, value in missing[:_MOST]]
    if len(missing) > _MOST:
        told.append(f"and {len(missing) - _MOST} more")
    return f"Not drawn: {'; '.join(told)}."


def _reason(value: float) -> str:
    if np.isnan(value):
        return "undefined"
    return "too large" if np.isfinite(value) else "infinite" if value > 0 else "minus infinite"


def sentences(*parts: str) -> str:
    """Return what was said, without what is empty."""
    return " ".join(part for part in parts if part)
