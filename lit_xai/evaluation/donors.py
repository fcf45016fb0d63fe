"""Whether an evaluation looks at any image of the donor split."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from lit_xai.attacks.base import Attack
from lit_xai.attacks.goals import Goal
from lit_xai.attributions.base import Attribution
from lit_xai.evaluation.grid import Grid

_KINDS = (Attack, Attribution, Goal)
_IDLE = {kind.prepare for kind in _KINDS}


def needs_donors(grid: Grid) -> bool:
    """Whether some part of a grid may look at donors when it is prepared.

    A part does that overrides `prepare`. Of this package's own that hold other parts, and only hand the
    donors on, these decide.
    """
    parts = (*grid.attributions.values(), *grid.attacks.values())
    return type(grid).prepare is not Grid.prepare or any(_takes_donors(part) for part in parts)


def _takes_donors(part: Any) -> bool:
    if type(part).prepare in _IDLE:
        return False
    held = list(_held(part)) if type(part).__module__.startswith("lit_xai.") else []
    return any(map(_takes_donors, held)) if held else True


def _held(part: Any) -> Iterator[Any]:
    """Yield the attacks, explanations and goals among the settings of a part."""
    values = [getattr(part, field.name) for field in fields(part) if field.init] if is_dataclass(part) else []
    for value in values:
        several = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else ()
        yield from (inner for inner in (value, *several) if isinstance(inner, _KINDS))
