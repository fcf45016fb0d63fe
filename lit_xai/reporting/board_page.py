"""The leaderboard as a page and as records."""

import csv
import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lit_xai.reporting import wording
from lit_xai.reporting.boards import Board, Place
from lit_xai.reporting.cards import Unread, shown_path
from lit_xai.reporting.entries import Mean
from lit_xai.reporting.isolation import isolated, turning_names, unbroken
from lit_xai.reporting.page import render
from lit_xai.reporting.plots.words import metric_words
from lit_xai.reporting.standings import MARGIN, WIDTH, Row, Scale, claims_table, judged, rows
from lit_xai.reporting.tables import Table


class View(NamedTuple):
    """What the page shows of a board."""

    board: Board
    title: str
    images: str
    metric: str
    measured: str
    explained: str
    attacks: list[str]
    accuracy_images: str
    conditions: str
    rows: list[Row]
    names: list[str]
    band: tuple[float, float] | None
    ends: tuple[str, str]
    claims: Table | None


def page(
    boards: Sequence[Board], unread: Sequence[Unread], *, cards: int, directory: Path, output: Path
) -> str:
    """Return the page.

    Args:
        boards: Ranked.
        unread: Cards that are named at the end.
        cards: How many were read.
        directory: That was searched.
        output: Where the page will lie; its links start there.
    """
    root = os.path.relpath(directory, output.parent)
    titles = wording.distinct([wording.title(board) for board in boards])
    views = [_view(board, title, root) for board, title in zip(boards, titles, strict=True)]
    sections = [(view.board.anchor, view.title) for view in views]
    sections.append(("reading", "How to read a board"))
    if unread:
        sections.append(("unread", "Cards left out"))
    left_out = [(shown_path(path), reason) for path, reason in unread]
    checkpoints = {place.entry.checksum or id(place.entry) for board in boards for place in board.places}
    text = render(
        "leaderboard.html.j2",
        isolated=isolated,
        views=views,
        sections=sections,
        unread=left_out,
        cards=cards,
        checkpoints=len(checkpoints),
        width=WIDTH,
        margin=MARGIN,
    )
    return unbroken(text)


def _view(board: Board, title: str, root: str) -> View:
    scale = Scale(board)
    return View(
        board=board,
        title=title,
        images=wording.images(board),
        metric=metric_words(board.metric),
        measured=wording.measured(board),
        explained=wording.explained(board),
        attacks=wording.attacks(board),
        accuracy_images=_accuracy_images(board),
        conditions=wording.conditions(board),
        rows=rows(board, root),
        names=_names(board),
        band=_band(board, scale),
        ends=(scale.text(scale.first), scale.text(scale.last)),
        claims=claims_table(board),
    )


def _names(board: Board) -> list[str]:
    """Return the names in the sentences of a board."""
    measured = [entry for place in board.places for entry in (place.entry, *place.older)]
    found = [name for entry in measured for name in turning_names(entry.evaluation.card)]
    paths = [shown_path(entry.evaluation.path) for entry in measured]
    return list(dict.fromkeys(found + paths))


def _band(board: Board, scale: Scale) -> tuple[float, float] | None:
    """Return where the intervals of the leaders lie."""
    leaders = [place.strongest for place in board.places if place.rank == 1 and place.strongest]
    known = [mean for mean in leaders if math.isfinite(mean.low + mean.high)]
    if not known:
        return None
    low, high = (scale.at(value) for value in (min(m.low for m in known), max(m.high for m in known)))
    return None if low is None or high is None else (low, high)


def _accuracy_images(board: Board) -> str:
    accuracies = [place.entry.accuracy for place in board.places if place.entry.accuracy]
    counts = sorted({mean.count for mean in accuracies})
    if not counts:
        return ""
    return f"{counts[0]:,}" if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,}"


def records(boards: Sequence[Board]) -> str:
    """Return all boards as CSV, in the order of the page."""
    found = [_record(board, place) for board in boards for place in board.places]
    text = io.StringIO()
    if found:
        writer = csv.DictWriter(text, list(found[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    return text.getvalue()


def _record(board: Board, place: Place) -> dict[str, Any]:
    entry, facts = place.entry, place.entry.facts
    samples = board.conditions["samples"]
    named = ("sha256", "regime", "group", "seed", "model", "parameters")
    return {
        "board": board.anchor,
        "data": wording.data_name(board),
        "split": samples["split"],
        "images": samples["count"],
        "attribution": entry.attribution,
        "metric": board.metric,
        "rank": place.rank,
        "not_clearly_behind": place.close,
        "reason": place.reason,
        "checkpoint": entry.checkpoint,
        **{name: facts.get(name) for name in named},
        **_mean("accuracy", entry.accuracy, "count"),
        **_mean("pgd_accuracy", entry.pgd_accuracy, "count"),
        **_mean("clean", entry.clean),
        **_mean("control", place.control, "attack"),
        **_mean("strongest", place.strongest, "attack", "low", "high", "count", "failed", "excluded"),
        "claims": "; ".join(words for _, words in judged(place)),
        "created": entry.evaluation.created.isoformat(),
        "does_not_repeat": "; ".join(place.conflicts),
        "card": shown_path(entry.evaluation.path),
    }


def _mean(name: str, mean: Mean | None, *fields: str) -> dict[str, Any]:
    values = {field: getattr(mean, field, None) for field in ("value", *fields)}
    known = {field: None if isinstance(v, float) and math.isnan(v) else v for field, v in values.items()}
    return {name: known.pop("value"), **{f"{name}_{field}": value for field, value in known.items()}}
