"""What everything is called in plots: in words, and no two names of one kind alike."""

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from lit_xai.reporting.plots.words import (
    attack_words,
    family_words,
    in_words,
    metric_words,
    numbered,
    printable,
)
from lit_xai.reporting.reading import Results

_ISOLATE, _END = "\u2068", "\u2069"
_RIGHT_TO_LEFT = ("R", "AL", "AN")
_DIRECTIONS = {1: ", higher is more robust", -1: ", lower is more robust", 0: ""}


def isolated(text: str) -> str:
    """Return a name so that what stands beside it keeps its place, also where the name runs to the left."""
    turned = any(unicodedata.bidirectional(character) in _RIGHT_TO_LEFT for character in text)
    return f"{_ISOLATE}{text}{_END}" if turned else text


def distinct(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the words for names, but the names themselves where the words of two are the same.

    Example:
        >>> distinct({"a_b": "a b", "a b": "a b", "c_d": "c d"})
        {'a_b': 'a_b', 'a b': 'a b', 'c_d': 'c d'}
    """
    counts = Counter(labels.values())
    kept = [label if counts[label] == 1 else printable(name) for name, label in labels.items()]
    return dict(zip(labels, numbered(kept), strict=True))


@dataclass(frozen=True)
class Naming:
    """The words for the names of a report.

    Attributes:
        attributions: By name, as the others.
        attacks: With what was varied.
        families: Attacks that were swept.
        metrics: Those of the card.
        directions: Whether higher is more robust (1) or lower (-1), by metric.
        spoken: Whether the words stand in a sentence rather than in a drawing.
    """

    attributions: Mapping[str, str]
    attacks: Mapping[str, str]
    families: Mapping[str, str]
    metrics: Mapping[str, str]
    directions: Mapping[str, int]
    spoken: bool

    def attribution(self, name: str) -> str:
        """Return an explanation in words."""
        return self._said(self.attributions.get(name) or in_words(name))

    def attack(self, name: str) -> str:
        """Return an attack in words, with what was varied."""
        return self._said(self.attacks.get(name) or attack_words(name, {}))

    def family(self, name: str) -> str:
        """Return a family of attacks in words."""
        return self._said(self.families.get(name) or family_words(name))

    def metric(self, name: str) -> str:
        """Return a metric in words."""
        return self._said(self.metrics.get(name) or metric_words(name))

    def heading(self, metric: str, unit: str = "") -> str:
        """Return a metric in words, its unit, and which way is more robust."""
        return self.metric(metric) + unit + _DIRECTIONS[self.directions.get(metric, 0)]

    def _said(self, words: str) -> str:
        return isolated(words) if self.spoken else words


def naming(results: Results, *, spoken: bool = False) -> Naming:
    """Return what the parts of an evaluation are called.

    Args:
        results: Of an evaluation.
        spoken: Whether the words stand in sentences: names that run to the left are isolated there.
    """
    entries = results.card["attacks"]
    families = dict.fromkeys(str(entry["sweep"]) for entry in entries.values() if entry.get("sweep"))
    return Naming(
        distinct({name: in_words(name) for name in results.attributions}),
        distinct({name: attack_words(name, entry) for name, entry in entries.items()}),
        distinct({name: family_words(name) for name in families}),
        distinct({name: metric_words(name) for name in results.metrics}),
        {name: results.direction(name) for name in (*results.metrics, "accuracy")},
        spoken,
    )
