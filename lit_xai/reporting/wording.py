"""A board in words: what its entries share."""

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

from lit_xai.reporting.boards import Board
from lit_xai.reporting.entries import CONTROLS, is_unattacked, short_class
from lit_xai.reporting.isolation import isolated
from lit_xai.reporting.plots.words import metric_words

UNKNOWN = "\N{EN DASH}"
_CLASS_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")


def short(name: Any) -> str:
    """Return a class path without its module, any other name as it is; unknown ones as a dash."""
    text = UNKNOWN if name is None else str(name)
    return text.rpartition(".")[2] if _CLASS_PATH.fullmatch(text) else text


def data_name(board: Board) -> str:
    """Return the name of the class of the images."""
    return short(board.first.evaluation.card["data"].get("class_path"))


def title(board: Board) -> str:
    """Return what is explained, and on how many images."""
    count = board.conditions["samples"]["count"]
    name, data = (isolated(text, [text]) for text in (board.first.attribution, data_name(board)))
    return f"{name} on {_counted(count)} of {data}"


def _counted(images: Any) -> str:
    return f"{images} image{'' if images == 1 else 's'}"


def distinct(titles: list[str]) -> list[str]:
    """Return titles that differ: equal ones are numbered."""
    seen: Counter[str] = Counter()
    found = []
    for text in titles:
        seen[text] += 1
        found.append(f"{text} ({seen[text]})" if titles.count(text) > 1 else text)
    return found


def images(board: Board) -> str:
    """Return how many images were attacked."""
    samples = board.conditions["samples"]
    return f"{_counted(samples['count'])} of the {samples['split']} split"


def measured(board: Board) -> str:
    """Return the headline metric and its direction."""
    robust = {1: "higher is more robust", -1: "lower is more robust", 0: "without a direction"}
    return f"{metric_words(board.metric)} ({robust[board.direction]})"


def explained(board: Board) -> str:
    """Return the class of the explanation and its settings."""
    return _with_settings(board.conditions["attribution"])


def attacks(board: Board) -> list[str]:
    """Return every class of attack with its radii, or with the fields that vary where it has none."""
    families: dict[str, list[dict[str, Any]]] = {}
    for settings in board.first.evaluation.card["attacks"].values():
        if not is_unattacked(settings):
            families.setdefault(short_class(settings), []).append(settings)
    return [_family(name, members) for name, members in families.items()]


def _family(name: str, members: list[dict[str, Any]]) -> str:
    kind = " (control)" if name in CONTROLS else ""
    radii = [settings.get("radius") for settings in members]
    if all(isinstance(radius, int | float) for radius in radii):
        return f"{name}{kind} at radius {_listed(radii)}"
    fields: dict[str, list[Any]] = {}
    for settings in members:
        for field, value in (settings.get("values") or {}).items():
            fields.setdefault(field, []).append(value)
    varied = ", ".join(f"{field} {_listed(values)}" for field, values in fields.items())
    return f"{name}{kind} at {varied}" if varied else f"{name}{kind}"


def _listed(values: Iterable[Any]) -> str:
    texts = dict.fromkeys(f"{value:g}" if isinstance(value, float) else str(value) for value in values)
    *rest, last = texts
    return f"{', '.join(rest)} and {last}" if rest else last


def _with_settings(component: dict[str, Any]) -> str:
    settings = ", ".join(f"{key}={_text(value)}" for key, value in component["init_args"].items())
    return f"{short_class(component)}({settings})"


def _text(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("class_path"), str):
        return _with_settings({"class_path": value["class_path"], "init_args": value.get("init_args") or {}})
    return value if isinstance(value, str) else json.dumps(value)


def conditions(board: Board) -> str:
    """Return everything that the entries share, a line for each component."""
    lines = []
    for name, value in board.conditions.items():
        parts = value if isinstance(value, list) else [value]
        lines += [f"{name}: {json.dumps(part, ensure_ascii=False)}" for part in parts]
    return "\n".join(lines)
