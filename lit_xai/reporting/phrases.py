"""Sentences of words and names, and the numbers in them."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from lit_xai.reporting.tables import decimals, mean, number

SPACE = "\N{NO-BREAK SPACE}"


class Part(NamedTuple):
    """A piece of a sentence; names are set apart from the words around them."""

    text: str
    is_name: bool = False


Sentence = list[Part]


def plain(sentence: Sentence) -> str:
    """Return a sentence as text."""
    return "".join(part.text for part in sentence)


def say(template: str, *names: str) -> Sentence:
    """Return a sentence with names in the places of `{}`; the names themselves are never parsed."""
    words = template.split("{}")
    parts = [Part(words[0])]
    for name, word in zip(names, words[1:], strict=True):
        parts += [Part(name, is_name=True), Part(word)]
    return [part for part in parts if part.text or part.is_name]


def listing(items: Sequence[Sentence], *, limit: int | None = None) -> Sentence:
    """Return items with commas and `and` between.

    Args:
        items: At least one.
        limit: Number of items that are named; the others are counted. None for no limit.
    """
    shown = list(items[:limit])
    if len(items) > len(shown):
        shown.append(say(f"{len(items) - len(shown)} more"))
    sentence: Sentence = []
    for place, item in enumerate(shown):
        between = "" if place == 0 else " and " if place == len(shown) - 1 else ", "
        sentence += [*say(between), *item]
    return sentence


def name_list(names: Sequence[str], *, limit: int | None = None) -> Sentence:
    """Return names with commas and `and` between."""
    return listing([say("{}", name) for name in names], limit=limit)


def counted(count: int, word: str) -> str:
    """Return a number with its noun, which takes an s in the plural."""
    return f"{count:,}{SPACE}{word}{'' if count == 1 else 's'}"


def percent(share: float) -> str:
    """Return a share in percent."""
    return f"{number(100 * share, 1)}{SPACE}%"


def with_interval(value: float, low: float, high: float) -> str:
    """Return a number with its interval, if it has one."""
    cell = mean({"value": value, "low": low, "high": high}, decimals([low], [high]))
    return f"{cell.text} {cell.note}".strip()


def points(value: float, low: float, high: float) -> str:
    """Return a difference of shares in percentage points with its interval, if it has one."""
    text = f"{number(100 * value, 1)}{SPACE}percentage points"
    if not math.isfinite(high - low):
        return text
    return f"{text} [{number(100 * low, 1)}, {number(100 * high, 1)}]"
