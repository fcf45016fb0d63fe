"""Finding the cards of many evaluations, and refusing the damaged ones one by one."""

import json
import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from lit_xai.reporting.reading import read_table

FORMAT = 1
_DEPTH = 64
_NUMBERS = ["value", "low", "high", "count", "failed", "excluded"]
_NAMED = ("checkpoints", "attributions", "attacks", "metrics")


class Evaluation(NamedTuple):
    """One evaluation: where its card lies, relative to the directory searched, and what it says."""

    path: str
    card: dict[str, Any]
    table: pd.DataFrame
    created: datetime
    has_report: bool = False


class Unread(NamedTuple):
    """A card that could not be read, and why."""

    path: str
    reason: str


def find_cards(directory: Path) -> tuple[list[Evaluation], list[Unread]]:
    """Read every `card.json` below a directory.

    Args:
        directory: Searched to any depth.

    Returns:
        The evaluations and the cards that could not be read, each ordered by path.
    """
    found = {_relative(path, directory): path for path in directory.glob("**/card.json")}
    evaluations, unread = [], []
    for relative, path in sorted(found.items()):
        try:
            evaluations.append(read_evaluation(path, relative))
        except (ValueError, OSError, KeyError, RecursionError) as error:
            # Relative, so that the page does not depend on where the directory lies.
            unread.append(Unread(relative, _first_line(error).replace(f"{path.parent}{os.sep}", "")))
    return evaluations, unread


def _relative(path: Path, directory: Path) -> str:
    return path.relative_to(directory).as_posix()


def _first_line(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror + "."
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__


def read_evaluation(path: Path, relative: str) -> Evaluation:
    """Read a card and the table beside it.

    Args:
        path: Of the card.
        relative: What the evaluation is called.

    Raises:
        ValueError: If the card or its table are missing, damaged or of another format.
    """
    card = _read_card(path)
    table_path = path.with_name("results.csv")
    if not table_path.is_file():
        raise ValueError("Expected results.csv beside the card, but got none.")
    table = read_table(table_path)
    columns = ["checkpoint", "attribution", "attack", "metric", *_NUMBERS]
    if missing := [column for column in columns if column not in table]:
        raise ValueError(f"Expected results.csv with a column `{missing[0]}`, but got none.")
    try:
        table[_NUMBERS] = table[_NUMBERS].astype("float64")
    except ValueError as error:
        raise ValueError(f"Expected numbers in results.csv, but got: {_first_line(error)}.") from error
    return Evaluation(relative, card, table, _moment(card), path.with_name("report.html").is_file())


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"Expected a card in JSON, but got {_first_line(error)}.") from error
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        found = card.get("format", "none") if isinstance(card, dict) else type(card).__name__
        raise ValueError(f"Expected a card of format {FORMAT}, but got {found!r}.")
    _check_depth(card)
    _check_parts(card)
    return card


def _check_depth(card: Any) -> None:
    level = [card]
    for _ in range(_DEPTH):
        level = [part for value in level for part in _parts(value)]
    if level:
        raise ValueError(f"Expected a card nested at most {_DEPTH} deep, but got more.")


def _parts(value: Any) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def _check_parts(card: dict[str, Any]) -> None:
    for key in ("samples", "seeds", "data", *_NAMED):
        if not isinstance(card.get(key), dict):
            raise ValueError(f"Expected a card whose `{key}` are named, but got {card.get(key)!r:.60}.")
    for key in _NAMED:
        for name, part in card[key].items():
            _check_part(key, name, part)
    checksums = card["data"].get("sha256")
    if not isinstance(checksums, dict) or not isinstance(checksums.get("test"), str):
        raise ValueError(f"Expected a card with the checksum of its test data, but got {checksums!r:.60}.")
    if not card["metrics"]:
        raise ValueError("Expected a card with a metric, but got none.")


def _check_part(key: str, name: str, part: Any) -> None:
    if not isinstance(part, dict):
        raise ValueError(
            f"Expected a card whose `{key}` are described, but got {part!r:.60} for {name!r:.60}."
        )
    if key != "checkpoints" and not isinstance(part.get("class_path"), str):
        raise ValueError(f"Expected a card whose `{key}` name their class, but got none for {name!r:.60}.")
    for field, word in (("init_args", "settings"), ("values", "values")):
        if not isinstance(part.get(field) or {}, dict):
            raise ValueError(f"Expected {word} of {name!r:.60} by name, but got {part[field]!r:.60}.")


def _moment(card: dict[str, Any]) -> datetime:
    try:
        moment = datetime.fromisoformat(card["created"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Expected a card with its date, but got {card.get('created')!r:.60}.") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def shown_path(path: str) -> str:
    """Return a path whose undecodable bytes are replaced, to be shown."""
    return os.fsencode(path).decode("utf-8", "replace")
