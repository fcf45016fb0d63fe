"""The words, numbers and names that stand in plots."""

import hashlib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MINUS, NOTHING, INFINITE = "\N{MINUS SIGN}", "\N{EN DASH}", "\N{INFINITY}"
# Characters that turn the text around them.
_TURNING = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_CELL_NAME = re.compile(r"[a-z0-9_]+")
_LONGEST = 26
_SPELLED = {
    "exiaa": "eXIAA", "gaussian": "Gaussian", "ig": "IG", "kendall": "Kendall", "l2": "L2", "lens": "LENS",
    "linf": "L-inf", "pearson": "Pearson", "pgd": "PGD", "spearman": "Spearman", "ssim": "SSIM",
}  # fmt: skip
_METRICS = {"top_k": "top-k intersection"}
_ATTACKS = {
    "gaussian": "Gaussian noise",
    "gaussian_equal_l2": "Gaussian noise of equal L2",
    "gaussian_equal_ssim": "Gaussian noise of equal SSIM",
    "mass_center": "mass center attack",
    "mass_center_published": "published mass center attack",
    "random_sign": "random signs",
    "soft_coverage": "soft coverage attack",
    "target_map": "target map attack",
    "target_region": "target region attack",
    "top_k": "top-k attack",
    "top_k_published": "published top-k attack",
    "window_union": "window union attack",
}


def printable(text: str) -> str:
    """Return a name on one line without what no page can hold and what turns the text around it.

    Example:
        >>> printable("two" + chr(10) + "lines")
        'two lines'
    """
    return _TURNING.sub("\ufffd", storable(re.sub(r"\s+", " ", text)))


def storable(text: str) -> str:
    """Return a text without the characters that neither HTML nor XML can hold."""
    return "".join("\ufffd" if _is_forbidden(character) else character for character in text)


def _is_forbidden(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or character in "\ufffe\uffff"


def in_words(name: str) -> str:
    """Return the name of a grid's cell in words; any other name stays as it is.

    Example:
        >>> in_words("integrated_gradients"), in_words("map_ssim"), in_words("My_Attack")
        ('integrated gradients', 'map SSIM', 'My_Attack')
    """
    if not _CELL_NAME.fullmatch(name):
        return printable(name)
    return " ".join(_SPELLED.get(word, word) for word in name.split("_") if word) or name


def metric_words(name: str) -> str:
    """Return a metric in words, other ones than those of an attack of the same name.

    Example:
        >>> metric_words("top_k"), metric_words("lens_kendall"), metric_words("My_Metric")
        ('top-k intersection', 'LENS Kendall', 'My_Metric')
    """
    return _METRICS.get(name) or in_words(name)


def family_words(name: str) -> str:
    """Return an attack or a family of attacks in words.

    Example:
        >>> family_words("top_k"), family_words("exiaa_rank_1"), family_words("My_Attack")
        ('top-k attack', 'eXIAA rank 1', 'My_Attack')
    """
    return _ATTACKS.get(name) or in_words(name)


def shortened(text: str, limit: int = _LONGEST) -> str:
    """Return a text with its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    head = (limit - 1) // 2
    return f"{text[:head]}…{text[len(text) - (limit - 1 - head) :]}"


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Return a short label for every name, no two of them the same.

    Args:
        names: Of checkpoints, as the user gave them.

    Example:
        >>> short_names(["natural", ""])
        {'natural': 'natural', '': '(no name)'}
    """
    found = list(names)
    short = [shortened(printable(name).strip() or "(no name)") for name in found]
    return dict(zip(found, numbered(short), strict=True))


def numbered(labels: Sequence[str]) -> list[str]:
    """Return labels of which no two are the same: a repeated one begins with its place.

    Example:
        >>> numbered(["a", "b", "a"])
        ['a', 'b', '3: a']
    """
    found: list[str] = []
    for place, label in enumerate(labels, start=1):
        other = label
        while other in found:
            other = f"{place}: {other}"
        found.append(other)
    return found


def attack_words(name: str, entry: Mapping[str, Any]) -> str:
    """Return an attack's label: its family and what was varied, or its name.

    Args:
        name: Of the attack.
        entry: What the card says about it.

    Example:
        >>> attack_words("top_k_eps_0_1", {"sweep": "top_k", "values": {"eps": 0.1}})
        'top-k attack, eps 0.1'
    """
    if not entry.get("sweep"):
        return family_words(name)
    varied = [f"{in_words(field)} {value_words(value)}" for field, value in entry["values"].items()]
    return ", ".join([family_words(entry["sweep"]), *varied])


def value_words(value: Any) -> str:
    """Return the value of a swept field, a number with at most four digits.

    Example:
        >>> value_words(8 / 255), value_words("plain_blend")
        ('0.03137', 'plain blend')
    """
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.4g}"
    return in_words(str(value))


def number(value: float, largest: float | None = None) -> str:
    """Return a number with about three digits.

    Args:
        value: NaN becomes a dash, and what is infinite its sign.
        largest: Of the numbers that stand beside it, so that all have as many decimals.

    Example:
        >>> number(0.5), number(43.21), number(5.0, largest=120.0)
        ('0.50', '43.2', '5')
    """
    if math.isnan(value):
        return NOTHING
    if math.isinf(value):
        return INFINITE if value > 0 else MINUS + INFINITE
    size = abs(value if largest is None else largest)
    decimals = 0 if size >= 99.95 else 1 if size >= 9.995 else 2
    text = f"{value:.{decimals}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)


def capital(text: str) -> str:
    """Return a text that begins with a capital, unless its first word has one further on.

    Example:
        >>> capital("top k"), capital("eXIAA at k")
        ('Top k', 'eXIAA at k')
    """
    first = text.partition(" ")[0]
    return text if first != first.lower() else text[:1].upper() + text[1:]


def slug(*parts: str) -> str:
    """Return a name made of letters, digits, `_` and `-`, another one for other parts.

    Example:
        >>> slug("radius", "integrated_gradients")
        'radius-integrated_gradients'
    """
    return "-".join(_slug(part) for part in parts)


def _slug(part: str) -> str:
    if _CELL_NAME.fullmatch(part):
        return part
    kept = re.sub(r"[^a-z0-9]+", "_", part.lower()).strip("_")[:24]
    digest = hashlib.sha256(part.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{kept}-{digest}"


def text_width(text: str, size: float) -> float:
    """Return about how wide a text is, in the unit of its font size.

    No font is asked: the page that shows the text brings its own.

    Args:
        text: On one line.
        size: Of the font.
    """
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in text)
    return size * (0.61 * (len(text) - wide) + wide)
