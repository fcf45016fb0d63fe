"""What is compared in a plot: a regime with its seeds, or a network on its own."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lit_xai.reporting.comparisons import regime_groups, regime_means
from lit_xai.reporting.moments import column_moments
from lit_xai.reporting.plots.naming import isolated
from lit_xai.reporting.plots.style import INK, MARKERS, Entry, Look, look
from lit_xai.reporting.plots.words import numbered, printable, shortened
from lit_xai.reporting.reading import Results
from lit_xai.reporting.statistics import mean_interval

Floats = np.ndarray[Any, np.dtype[np.float64]]


class Unit(NamedTuple):
    """A regime with at least two seeds, or a checkpoint that repeats no other.

    Attributes:
        label: No two units have the same.
        members: Checkpoints.
        seeds: Of the members; a checkpoint on its own has one, whatever it is.
        group: As the card calls the regime; None for a checkpoint on its own.
        look: Of its mean.
    """

    label: str
    members: tuple[str, ...]
    seeds: tuple[Any, ...]
    group: str | None
    look: Look

    def spoken(self, seeds: int) -> str:
        """Return its label for a sentence.

        Args:
            seeds: How many were averaged.
        """
        words = isolated(self.label)
        return words if self.group is None else f"{words} (mean of {seeds} seed{'s' if seeds != 1 else ''})"


class Mean(NamedTuple):
    """A mean and its interval, over the samples, or over the seeds where there are several."""

    value: float
    low: float
    high: float
    seeds: int


def units(results: Results) -> list[Unit]:
    """Return regimes and single checkpoints in the card's order."""
    labels = {name: label for label, members in regime_groups(results).items() for name in members}
    kinds = {name: (labels.get(name, name), name in labels) for name in results.checkpoints}
    order = list(dict.fromkeys(kinds.values()))
    short = numbered([shortened(printable(label).strip() or "(no name)") for label, _ in order])
    found = []
    for place, kind in enumerate(order):
        members = tuple(name for name in results.checkpoints if kinds[name] == kind)
        entries = [results.card["checkpoints"][name] for name in members]
        group = str(entries[0]["group"]) if kind[1] else None
        seeds = tuple(entry["seed"] for entry in entries) if kind[1] else (0,)
        found.append(Unit(short[place], members, seeds, group, look(place)))
    return found


def looks(results: Results) -> dict[str, Look]:
    """Return the look of every checkpoint: the colour is that of its regime, the marker that of its seed."""
    seeds = _seed_markers(units(results))
    found = {}
    for unit in units(results):
        for name, seed in zip(unit.members, unit.seeds, strict=True):
            found[name] = unit.look if unit.group is None else unit.look._replace(marker=seeds[str(seed)])
    return found


def legend(found: list[Unit]) -> list[Entry]:
    """Return the legend of a plot of single checkpoints: regimes by colour, seeds by marker."""
    entries = [
        Entry(unit.label, unit.look.colour, "" if unit.group else unit.look.marker, "-") for unit in found
    ]
    seeds = [Entry(f"seed {seed}", INK, marker, "") for seed, marker in _seed_markers(found).items()]
    return entries + seeds


def _seed_markers(found: list[Unit]) -> dict[str, str]:
    seeds = {str(seed): seed for unit in found if unit.group is not None for seed in unit.seeds}
    order = sorted(seeds, key=lambda name: (len(name), name))
    return {name: MARKERS[place % len(MARKERS)] for place, name in enumerate(order)}


def over_seeds(unit: Unit, found: Mapping[str, Floats]) -> Floats:
    """Return the mean over the seeds of a unit, a seed that was trained twice counting once.

    Args:
        unit: Its members are averaged.
        found: Equally large numbers of at least one member.
    """
    by_seed: dict[str, list[Floats]] = {}
    for name, seed in zip(unit.members, unit.seeds, strict=True):
        if name in found:
            by_seed.setdefault(str(seed), []).append(found[name])
    with np.errstate(invalid="ignore"):
        means: Floats = np.mean([np.mean(values, axis=0) for values in by_seed.values()], axis=0)
    return means


class Means:
    """The means of units."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._regimes: dict[tuple[str, ...], Mean] = {}
        if not regime_groups(results):
            return
        # A checkpoint on its own may be called as a group is: the one with more seeds is the regime.
        with np.errstate(over="ignore"):
            rows = regime_means(results)
        rows = rows.sort_values("seeds", kind="stable")
        keys = zip(*(rows[name] for name in ("group", "attribution", "attack", "metric")), strict=True)
        numbers = zip(*(rows[name] for name in ("value", "low", "high", "seeds")), strict=True)
        for key, (value, low, high, seeds) in zip(keys, numbers, strict=True):
            self._regimes[key] = Mean(float(value), float(low), float(high), int(seeds))

    def of(self, unit: Unit, attribution: str, attack: str, metric: str) -> Mean | None:
        """Return the mean of a cell, or None if there is none."""
        if unit.group is not None:
            return self._regimes.get((unit.group, attribution, attack, metric))
        row = self._results.cell(unit.members[0], attribution, attack, metric)
        return None if row is None else Mean(float(row["value"]), float(row["low"]), float(row["high"]), 1)

    def strongest(self, unit: Unit, attribution: str) -> tuple[Mean, dict[str, str]] | None:
        """Return the headline metric under the strongest attack on each member, and these attacks."""
        headline = self._results.headline
        found = {name: self._results.strongest(name, attribution) for name in unit.members}
        attacks = {name: attack for name, attack in found.items() if attack is not None}
        if unit.group is None:
            means = [self.of(unit, attribution, attack, headline) for attack in attacks.values()]
            return (means[0], attacks) if means and means[0] is not None else None
        values: dict[str, list[float]] = {}
        for name, seed in zip(unit.members, unit.seeds, strict=True):
            row = self._results.cell(name, attribution, attacks.get(name, ""), headline)
            if row is not None:
                values.setdefault(str(seed), []).append(float(row["value"]))
        if not values:
            return None
        with np.errstate(invalid="ignore", over="ignore"):
            by_seed = np.array([[np.mean(found)] for found in values.values()])
            low, high = mean_interval(column_moments(by_seed))
        return Mean(float(by_seed.mean()), float(low[0]), float(high[0]), len(by_seed)), attacks

    def samples(self, names: Iterable[str], attribution: str, attack: str, metric: str) -> list[int]:
        """Return how many samples the means of checkpoints are of."""
        rows = [self._results.cell(name, attribution, attack, metric) for name in names]
        return [int(row["count"]) for row in rows if row is not None and np.isfinite(row["count"])]
