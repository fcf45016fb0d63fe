"""Which networks, and which regimes, keep the most under their strongest attacks, and how surely."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from lit_xai.reporting.comparisons import LEVEL, PRIMARY, regime_groups
from lit_xai.reporting.moments import Numbers, column_moments
from lit_xai.reporting.pairing import series
from lit_xai.reporting.reading import Results
from lit_xai.reporting.repetitions import checkpoints_by_regime, labels
from lit_xai.reporting.statistics import Difference, holm, mean_interval, paired_difference, welch_difference

_Rows: TypeAlias = Mapping[tuple[str, ...], Mapping[Any, Any]]


class Entry(NamedTuple):
    """A network or a regime under its strongest attack.

    Attributes:
        name: Of the checkpoint, or the label of the regime.
        attack: The strongest; of a regime empty where its networks have several.
        value: Mean of the headline metric, perhaps infinite.
        low: Of its 95 % interval.
        high: Of its 95 % interval.
        size: Images, or seeds.
    """

    name: str
    attack: str
    value: float
    low: float
    high: float
    size: int


class Gap(NamedTuple):
    """How far the first of two lies above the second.

    Attributes:
        difference: Of the means; NaN without common images.
        low: Of its 95 % interval.
        high: Of its 95 % interval.
        p: Corrected (Holm).
        size: Common images, or the seeds of both.
        mixed: Whether the two were attacked differently.
        over_seeds: Whether seeds were compared, and not images.
    """

    difference: float
    low: float
    high: float
    p: float
    size: int
    mixed: bool
    over_seeds: bool

    @property
    def is_sure(self) -> bool:
        """Whether there is a significant difference."""
        return self.p < LEVEL


class Ranking(NamedTuple):
    """Entries, the most robust first, those without a score, and the gaps between entries of two regimes."""

    entries: list[Entry]
    silent: list[str]
    gaps: dict[tuple[str, str], Gap]

    def gap(self, first: Entry, second: Entry) -> Gap | None:
        """Return how far the first lies above the second, or None where they are not compared."""
        if found := self.gaps.get((first.name, second.name)):
            return found
        if found := self.gaps.get((second.name, first.name)):
            return found._replace(difference=-found.difference, low=-found.high, high=-found.low)
        return None

    def tied(self, entry: Entry) -> list[Entry]:
        """Return the others that a test cannot tell from an entry."""
        return [other for other, gap in self._against(entry) if gap.p >= LEVEL]

    def untested(self, entry: Entry) -> list[Entry]:
        """Return the others that no test against an entry is possible for."""
        return [other for other, gap in self._against(entry) if math.isnan(gap.p)]

    def below(self, entry: Entry) -> list[Entry]:
        """Return the others that are significantly different from an entry."""
        return [other for other, gap in self._against(entry) if gap.is_sure]

    def _against(self, entry: Entry) -> Iterator[tuple[Entry, Gap]]:
        for other in self.entries:
            gap = self.gap(entry, other)
            if gap is not None:
                yield other, gap

    def leaders(self) -> list[Entry]:
        """Return the best entry and those that cannot be told from it."""
        return [self.entries[0], *self.tied(self.entries[0])] if self.entries else []


def networks(results: Results, comparisons: pd.DataFrame) -> dict[str, Ranking]:
    """Return the ranking of the checkpoints for every attribution.

    Each checkpoint is under its own strongest attack, and its scores are paired with another's by image.
    Where the two were attacked alike this is a row of the comparisons; p-values of other pairs are corrected
    together with the primary family. Networks of one regime with several seeds are not compared.

    Args:
        results: What was measured.
        comparisons: Of checkpoints.
    """
    samples = results.samples[(results.samples["metric"] == results.headline).to_numpy()]
    together = [set(names) for names in regime_groups(results).values()]
    tests = _Tests(comparisons, results.headline, over_seeds=False)
    found = {}
    for attribution in results.attributions:
        ranking = _ranked([*_entries(results, attribution)], results.checkpoints, results)
        places = {
            entry.name: {"checkpoint": entry.name, "attribution": attribution, "attack": entry.attack}
            for entry in ranking.entries
        }
        scores = {name: series(samples, place) for name, place in places.items()}
        for first, second in combinations(ranking.entries, 2):
            if not any({first.name, second.name} <= names for names in together):
                one, other = scores[second.name].align(scores[first.name], join="inner")
                tests.add(ranking, attribution, first, second, paired_difference(one, other))
        found[attribution] = ranking
    tests.correct()
    return found


def regimes(results: Results, tested: pd.DataFrame) -> dict[str, Ranking]:
    """Return the ranking of the regimes with at least two seeds for every attribution.

    The score of a seed is that of its network under its own strongest attack. Without two such regimes there
    is no ranking.

    Args:
        results: What was measured.
        tested: Comparisons of regimes.
    """
    repeated = regime_groups(results)
    tests = _Tests(tested, results.headline, over_seeds=True)
    found = {}
    for attribution in results.attributions if len(repeated) > 1 else ():
        scores = _seed_scores(results, attribution)
        ranking = _ranked(_regime_entries(results, attribution, scores), list(repeated), results)
        for first, second in combinations(ranking.entries, 2):
            difference = welch_difference(scores[second.name], scores[first.name])
            tests.add(ranking, attribution, first, second, difference)
        found[attribution] = ranking
    tests.correct()
    return found


class _Tests:
    """Gaps to be corrected together: those that a table of comparisons has, and others."""

    def __init__(self, table: pd.DataFrame, headline: str, *, over_seeds: bool) -> None:
        self.over_seeds = over_seeds
        rows = table[(table["metric"] == headline).to_numpy()].to_dict("records")
        names = ("attribution", "attack", "first", "second")
        self.rows: _Rows = {tuple(str(row[name]) for name in names): row for row in rows}
        self.p = table["p"][(table["family"] == PRIMARY).to_numpy()].to_numpy(dtype=np.float64)
        self.others: list[tuple[Ranking, tuple[str, str], Gap]] = []

    def add(self, ranking: Ranking, attribution: str, first: Entry, second: Entry, found: Difference) -> None:
        """Enter how far the first lies above the second."""
        alike = bool(first.attack) and first.attack == second.attack
        facts = int(found.n), not alike, self.over_seeds
        for names, sign in (((second.name, first.name), 1), ((first.name, second.name), -1)):
            row = self.rows.get((attribution, first.attack, *names)) if alike else None
            if row is not None:
                difference, *ends = (sign * float(row[name]) for name in ("difference", "low", "high"))
                gap = Gap(difference, min(ends), max(ends), float(row["p_holm"]), *facts)
                ranking.gaps[first.name, second.name] = gap
                return
        low, high = float(found.low), float(found.high)
        gap = Gap(float(found.difference), low, high, float(found.p), *facts)
        self.others.append((ranking, (first.name, second.name), gap))

    def correct(self) -> None:
        """Correct the p-values that are not in the table, together with its primary ones."""
        p = holm([*self.p, *(gap.p for _, _, gap in self.others)])[len(self.p) :]
        for (ranking, names, gap), corrected in zip(self.others, p, strict=True):
            ranking.gaps[names] = gap._replace(p=float(corrected))


def _ranked(entries: list[Entry], names: Sequence[str], results: Results) -> Ranking:
    sign = results.direction(results.headline)
    known = {entry.name for entry in entries}
    silent = [name for name in names if name not in known] if sign else []
    return Ranking(sorted(entries, key=lambda entry: -sign * entry.value), silent, {})


def _entries(results: Results, attribution: str) -> Iterator[Entry]:
    for checkpoint in results.checkpoints:
        attack = results.strongest(checkpoint, attribution)
        row = results.cell(checkpoint, attribution, attack, results.headline) if attack else None
        if attack is not None and row is not None:
            value, low, high = (float(row[name]) for name in ("value", "low", "high"))
            yield Entry(checkpoint, attack, value, low, high, int(row["count"]))


def _seed_scores(results: Results, attribution: str) -> dict[str, Numbers]:
    values = {entry.name: entry.value for entry in _entries(results, attribution)}
    called = labels(results)
    found = {}
    for key, seeds in checkpoints_by_regime(results).items():
        scores = [[values[name] for name in names if name in values] for names in seeds.values()]
        # Checkpoints of one seed are no repetitions: they count once.
        means = [np.mean(seed) for seed in scores if seed]
        if key[1] is None and len(means) > 1:
            found[called[key]] = np.array(means, dtype=np.float64)
    return found


def _regime_entries(results: Results, attribution: str, scores: Mapping[str, Numbers]) -> list[Entry]:
    attacks = {entry.name: entry.attack for entry in _entries(results, attribution)}
    members = regime_groups(results)
    found = []
    for label, values in scores.items():
        parts = column_moments(values)
        low, high = mean_interval(parts)
        used = {attacks[name] for name in members[label] if name in attacks}
        attack = used.pop() if len(used) == 1 else ""
        found.append(Entry(label, attack, float(parts.mean[0]), float(low[0]), float(high[0]), len(values)))
    return found
