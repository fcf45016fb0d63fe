"""The rows of a board, ready to be shown and to be written."""

import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import quote

from lit_xai.reporting import wording
from lit_xai.reporting.boards import Board, Place
from lit_xai.reporting.cards import shown_path
from lit_xai.reporting.claims import as_number, verdict, with_interval
from lit_xai.reporting.entries import Entry, Mean
from lit_xai.reporting.tables import Cell, Column, Table, decimals, number

WIDTH, MARGIN = 168, 10
_VERDICTS = (
    "worse than claimed",
    "lower than claimed",
    "higher than claimed",
    "not measured",
    "better than claimed",
    "consistent",
)


class Strip(NamedTuple):
    """Where a row's numbers lie on the scale of its board, in pixels; None where there is none."""

    value: float
    low: float | None
    high: float | None
    control: float | None
    text: str


class Row(NamedTuple):
    """One checkpoint of a board."""

    place: Place
    checkpoint: str
    rank: Cell
    regime: Cell
    strongest: Cell
    strip: Strip | None
    control: Cell
    clean: Cell
    accuracy: Cell
    pgd_accuracy: Cell
    samples: Cell
    claims: Cell
    model: Cell
    date: str
    folder: str
    card: str
    report: str | None


class Scale:
    """The common scale of a board's strips, and the digits of its numbers."""

    def __init__(self, board: Board) -> None:
        worst = [place.strongest for place in board.places if place.strongest]
        values = [value for mean in worst for value in (mean.value, mean.low, mean.high)]
        values += [place.control.value for place in board.places if place.control]
        finite = [value for value in values if math.isfinite(value)]
        self.first, self.last = (min(finite), max(finite)) if finite else (0.0, 1.0)
        self.places = max(
            2, decimals([mean.low for mean in worst], [mean.high for mean in worst]) if worst else 3
        )

    def at(self, value: float) -> float | None:
        """Return where a value lies, or None if it is not finite."""
        if not math.isfinite(value):
            return None
        extent = self.last - self.first
        share = (value - self.first) / extent if extent > 0 else 0.5
        return round(MARGIN + (WIDTH - 2 * MARGIN) * share, 1)

    def text(self, value: float) -> str:
        """Return a value with the board's digits."""
        return number(value, self.places)

    def cell(self, mean: Mean | None, note: str = "") -> Cell:
        """Return a mean's cell."""
        if mean is None or mean.undefined:
            return Cell(wording.UNKNOWN, None, note)
        return Cell(self.text(mean.value), mean.value, note)

    def interval(self, mean: Mean) -> str:
        """Return an interval, or nothing if it is not known."""
        if not math.isfinite(mean.low + mean.high):
            return ""
        return f"[{self.text(mean.low)}, {self.text(mean.high)}]"


def rows(board: Board, root: str) -> list[Row]:
    """Return the rows of a board.

    Args:
        board: Ranked.
        root: The way from the page to the directory that was searched.
    """
    scale = Scale(board)
    return [_row(place, scale, root) for place in board.places]


def _row(place: Place, scale: Scale, root: str) -> Row:
    entry, strongest = place.entry, place.strongest
    facts = entry.facts
    path = PurePosixPath(entry.evaluation.path)
    seed, parameters = facts.get("seed"), facts.get("parameters")
    return Row(
        place=place,
        checkpoint=entry.checkpoint,
        rank=Cell(wording.UNKNOWN if place.rank is None else str(place.rank), place.rank),
        regime=Cell(wording.short(facts.get("regime")), None, "" if seed is None else f"seed {seed}"),
        strongest=scale.cell(strongest, scale.interval(strongest) if strongest else ""),
        strip=_strip(place, scale),
        control=scale.cell(place.control, place.control.attack if place.control else ""),
        clean=scale.cell(entry.clean),
        accuracy=_accuracy(entry.accuracy),
        pgd_accuracy=_accuracy(entry.pgd_accuracy),
        samples=_samples(strongest),
        claims=_judged(place),
        model=Cell(wording.short(facts.get("model")), _number(parameters), _parameters(parameters)),
        date=entry.evaluation.created.date().isoformat(),
        folder=shown_path(str(path.parent)) if path.parent.name else path.name,
        card=link(root, str(path)),
        report=link(root, str(path.with_name("report.html"))) if entry.evaluation.has_report else None,
    )


def link(root: str, path: str) -> str:
    """Return a relative link to a file; no name in it can be taken for a scheme or a query."""
    return quote(os.fsencode(os.path.normpath(os.path.join(root, path))), safe="/")  # noqa: PTH118


def _strip(place: Place, scale: Scale) -> Strip | None:
    strongest, control = place.strongest, place.control
    value = scale.at(strongest.value) if strongest else None
    if strongest is None or value is None:
        return None
    text = f"{scale.text(strongest.value)} {scale.interval(strongest)}".strip()
    if control:
        text += f", control {scale.text(control.value)}"
    return Strip(
        value,
        scale.at(strongest.low),
        scale.at(strongest.high),
        scale.at(control.value) if control else None,
        text,
    )


def _accuracy(mean: Mean | None) -> Cell:
    return (
        Cell(wording.UNKNOWN) if mean is None or mean.undefined else Cell(number(mean.value, 3), mean.value)
    )


def _samples(mean: Mean | None) -> Cell:
    if mean is None:
        return Cell(wording.UNKNOWN)
    return Cell(str(mean.count), mean.count)


def _number(value: Any) -> float | None:
    found = as_number(value)
    return found if math.isfinite(found) else None


def _parameters(value: Any) -> str:
    return f"{value:,} parameters" if isinstance(value, int) else ""


def judged(place: Place) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the claims about a checkpoint's accuracy and its explanation, and the verdict on each.

    A claim outlives its evaluation: another one without it does not take the verdict away.
    """
    for entry in (place.entry, *place.older):
        card = entry.evaluation.card
        claims = card.get("claims")
        for claim in claims if isinstance(claims, list) else []:
            if _concerns(claim, entry):
                metric = card["metrics"].get(str(claim.get("metric")), {})
                known = with_interval(claim, entry.row(*_named(claim)))
                yield known, verdict(known, higher_is_better=metric.get("higher_is_better"))


def _concerns(claim: Any, entry: Entry) -> bool:
    if not isinstance(claim, dict) or claim.get("checkpoint") != entry.checkpoint:
        return False
    return claim.get("attribution") in ("none", entry.attribution)


def _judged(place: Place) -> Cell:
    counts = Counter(found for _, found in judged(place))
    texts = [f"{counts[name]} {name}" for name in _VERDICTS if counts[name]]
    return Cell(", ".join(texts) or wording.UNKNOWN)


def claims_table(board: Board) -> Table | None:
    """Return every claim about a board's checkpoints beside what was measured; None without claims."""
    columns = [Column(name, numeric=False) for name in ("checkpoint", "claim")]
    columns += [Column(name) for name in ("claimed", "measured", "from", "to", "n")]
    found = [
        [Cell(place.entry.checkpoint), Cell("/".join(_named(claim)))]
        + [_claimed(claim.get(name)) for name in ("claimed", "measured", "low", "high")]
        + [_whole(claim.get("count")), Cell(words)]
        for place in board.places
        for claim, words in judged(place)
    ]
    caption = (
        "Claims, and what was measured, with the ends of its 95 % interval. Consistent: the claim lies "
        "within them, which says little where the images are few."
    )
    return Table(caption, [*columns, Column("verdict", numeric=False)], found) if found else None


def _named(claim: dict[str, Any]) -> list[str]:
    return [str(claim.get(name)) for name in ("attribution", "attack", "metric")]


def _claimed(value: Any) -> Cell:
    found = _number(value)
    return Cell(wording.UNKNOWN) if found is None else Cell(f"{found:.4g}", found)


def _whole(value: Any) -> Cell:
    return Cell(str(value), value) if isinstance(value, int) else Cell(wording.UNKNOWN)
