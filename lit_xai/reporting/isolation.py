"""Names of any script in a sentence, whose other words and numbers keep their order."""

import re
import unicodedata
from collections.abc import Iterable
from typing import Any

from lit_xai.reporting.plots.words import metric_words, printable

_OPEN, _CLOSE = "\N{FIRST STRONG ISOLATE}", "\N{POP DIRECTIONAL ISOLATE}"
_TURNING = {"R", "AL", "AN", "RLE", "RLO", "LRE", "LRO", "PDF", "RLI", "LRI", "FSI", "PDI"}
# These would end the isolation from inside.
_ISOLATES = re.compile("[\u2066-\u2069]")
_PERCENT = re.compile(r"(?<=\d) %")


def turns(text: str) -> bool:
    """Return whether a text changes the order of the text around it.

    Example:
        >>> turns("natural"), turns(chr(0x202E) + "abc"), turns(chr(0x5D0))
        (False, True, True)
    """
    return any(unicodedata.bidirectional(character) in _TURNING for character in text)


def isolated(text: str, names: Iterable[str]) -> str:
    """Return a text in which a name that is written from right to left turns nothing but itself.

    Args:
        text: May hold any of the names, as they are, on one line, or in words.
        names: Of any script.
    """
    forms = {form for name in names if turns(name) for form in (name, printable(name), metric_words(name))}
    if not forms:
        return text
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(pattern, lambda found: _OPEN + _ISOLATES.sub("\ufffd", found[0]) + _CLOSE, text)


def turning_names(card: dict[str, Any]) -> list[str]:
    """Return those names of a card, from networks to sweeps, that turn the text around them."""
    found = [name for kind in ("checkpoints", "attributions", "attacks", "metrics") for name in card[kind]]
    entries = [*card["checkpoints"].values(), *card["attacks"].values()]
    fields = [entry.get(key) for entry in entries for key in ("regime", "group", "sweep")]
    names = dict.fromkeys(found + [str(field) for field in fields if field is not None])
    return [name for name in names if turns(name)]


def unbroken(page: str) -> str:
    """Return a page on which no line ends between a number and its percent sign."""
    return _PERCENT.sub("\N{NO-BREAK SPACE}%", page)
