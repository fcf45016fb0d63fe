"""Ranked boards: checkpoints that were measured in the same way, the hardest to fool first."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from lit_xai.reporting.cards import Evaluation
from lit_xai.reporting.entries import Entry, Mean, canonical, entries


class Place(NamedTuple):
    """Where an entry stands.

    Args:
        entry: The newest measurement of the checkpoint under the board's conditions.
        strongest: The headline metric under the attack that lowers robustness most.
        control: The same under the control that belongs to that attack.
        rank: None without a value; equal values share a rank.
        close: Whether the interval overlaps a leader's or is not known, so that the entry is not clearly
            behind.
        reason: Why there is no rank.
        older: Other measurements of the same checkpoint under the same conditions.
        conflicts: Where one of them found something else, and how far off.
        repeats: Where one of them found the same.
    """

    entry: Entry
    strongest: Mean | None
    control: Mean | None
    rank: int | None = None
    close: bool = False
    reason: str = ""
    older: tuple[Entry, ...] = ()
    conflicts: tuple[str, ...] = ()
    repeats: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Board:
    """Comparable entries.

    Args:
        conditions: What they share.
        places: Ranked ones first, then those without a rank, by name.
    """

    conditions: dict[str, Any]
    places: list[Place]

    @property
    def first(self) -> Entry:
        """The entry whose names speak for the board."""
        return min((place.entry for place in self.places), key=lambda entry: entry.evaluation.path)

    @property
    def metric(self) -> str:
        """Name of the headline metric."""
        return str(next(iter(self.first.evaluation.card["metrics"])))

    @property
    def direction(self) -> int:
        """1 if higher values are more robust, -1 if lower ones are, 0 if neither."""
        return _direction(self.conditions)

    @cached_property
    def anchor(self) -> str:
        """A name that only boards of the same conditions share."""
        return "board-" + hashlib.sha256(canonical(self.conditions).encode()).hexdigest()[:12]


def boards(evaluations: Iterable[Evaluation]) -> list[Board]:
    """Sort evaluations into boards and rank each.

    Args:
        evaluations: In any order.

    Returns:
        Boards by data, explanation and metric.
    """
    groups: dict[str, list[Entry]] = {}
    for evaluation in sorted(evaluations, key=lambda evaluation: evaluation.path):
        for entry in entries(evaluation):
            groups.setdefault(canonical(entry.conditions), []).append(entry)
    found = [Board(group[0].conditions, _places(group)) for group in groups.values()]
    return sorted(found, key=_order)


def _order(board: Board) -> tuple[str, ...]:
    data = str(board.first.evaluation.card["data"].get("class_path"))
    return data, board.first.attribution, board.metric, board.anchor


def _direction(conditions: dict[str, Any]) -> int:
    rises = conditions["metric"]["higher_is_better"]
    return 1 if rises is True else -1 if rises is False else 0


def _places(group: Sequence[Entry]) -> list[Place]:
    direction = _direction(group[0].conditions)
    empty = {setting for setting in group[0].means if all(entry.means[setting].undefined for entry in group)}
    places = [_placed(newest, older, direction, empty) for newest, older in _distinct(group)]
    ranked = sorted(
        (place for place in places if not place.reason),
        key=lambda place: (-direction * _value(place), place.entry.checkpoint, place.entry.evaluation.path),
    )
    rest = sorted(
        (place for place in places if place.reason),
        key=lambda place: (place.entry.checkpoint, place.entry.evaluation.path),
    )
    return [*_ranked(ranked), *rest]


def _value(place: Place) -> float:
    return place.strongest.value if place.strongest else math.nan


def _distinct(group: Sequence[Entry]) -> list[tuple[Entry, list[Entry]]]:
    """Return the newest measurement of every checkpoint, and the others of it."""
    same: dict[object, list[Entry]] = {}
    for entry in group:
        # Without a checksum nothing says that two checkpoints are the same.
        same.setdefault(entry.checksum or id(entry), []).append(entry)
    found = []
    for measured in same.values():
        # The last of the newest, so that the order of names decides between equal dates.
        newest = max(reversed(measured), key=lambda entry: entry.evaluation.created)
        found.append((newest, [entry for entry in measured if entry is not newest]))
    return found


def _placed(entry: Entry, older: list[Entry], direction: int, empty: set[str]) -> Place:
    compared = [(other, _conflict(entry, other)) for other in older]
    conflicts = tuple(conflict for _, conflict in compared if conflict)
    repeats = tuple(_source(other) for other, conflict in compared if not conflict)
    undefined = [mean for setting, mean in entry.means.items() if mean.undefined and setting not in empty]
    defined = [mean for mean in entry.means.values() if not mean.undefined]
    reason, strongest = "", None
    if not entry.means:
        reason = "nothing attacked it"
    elif undefined or not defined:
        strongest = (undefined or list(entry.means.values()))[0]
        reason = f"undefined under {strongest.attack}"
    elif not direction:
        reason = "the metric has no direction"
    else:
        strongest = min(defined, key=lambda mean: direction * mean.value)
    control = _control(entry, defined, strongest, direction)
    return Place(
        entry, strongest, control, reason=reason, older=tuple(older), conflicts=conflicts, repeats=repeats
    )


def _control(entry: Entry, means: list[Mean], strongest: Mean | None, direction: int) -> Mean | None:
    """Return the worst control at the radius of the strongest attack; if there is none, the worst control."""
    controls = [mean for mean in means if entry.is_control(mean.attack)]
    if strongest is None or not controls:
        return None
    radius = entry.attack(strongest.attack).get("radius")
    # Unknown radii are not equal.
    alike = [
        mean for mean in controls if radius is not None and entry.attack(mean.attack).get("radius") == radius
    ]
    return min(alike or controls, key=lambda mean: direction * mean.value)


def _source(entry: Entry) -> str:
    return f"{entry.evaluation.path} ({entry.checkpoint})"


def _conflict(entry: Entry, other: Entry) -> str:
    """Return where two measurements of one checkpoint differ most, or nothing."""
    worst, found = -1.0, ""
    for setting, mean in entry.means.items():
        again = other.means[setting]
        if _repeated(mean, again):
            continue
        difference = abs(mean.value - again.value)
        size = difference if math.isfinite(difference) else math.inf
        if size > worst:
            worst = size
            found = (
                f"{_shown(mean)} here, {_shown(again)} in {_source(other)}, under {mean.attack}"
                f" (n = {mean.count} and {again.count})"
            )
    return found


def _shown(mean: Mean) -> str:
    return "undefined" if mean.undefined else f"{mean.value:.4g}"


def _repeated(first: Mean, second: Mean) -> bool:
    counts = (first.count, first.failed, first.excluded) == (second.count, second.failed, second.excluded)
    both_undefined = first.undefined and second.undefined
    # The last digits of a mean may depend on the processor.
    return counts and (both_undefined or math.isclose(first.value, second.value, rel_tol=1e-6, abs_tol=1e-9))


def _ranked(places: list[Place]) -> list[Place]:
    if not places:
        return []
    leaders = [place for place in places if _value(place) == _value(places[0])]
    values = [_value(place) for place in places]
    return [
        place._replace(
            rank=values.index(value) + 1,
            close=value != values[0]
            and any(_overlap(place.strongest, leader.strongest) for leader in leaders),
        )
        for place, value in zip(places, values, strict=True)
    ]


def _overlap(first: Mean | None, second: Mean | None) -> bool:
    if first is None or second is None:
        return False
    # Comparisons with a bound that is not known are false: nothing says then that one is behind.
    return not (first.high < second.low or second.high < first.low)
