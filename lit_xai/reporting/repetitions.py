"""Regimes and the seeds that they were trained with."""

from collections import Counter
from typing import Any, TypeAlias

from lit_xai.reporting.reading import Results

Key: TypeAlias = tuple[str, str | None]


def checkpoints_by_regime(results: Results) -> dict[Key, dict[Any, list[str]]]:
    """Return the checkpoints of every regime by their seed.

    A checkpoint of an unknown group or seed is a regime on its own. Its key holds its name twice, as a
    checkpoint may be called as a group is; that of a group holds None.
    """
    found: dict[Key, dict[Any, list[str]]] = {}
    for name, entry in results.card["checkpoints"].items():
        group, seed = entry.get("group"), entry.get("seed")
        key = (name, name) if group is None or seed is None else (str(group), None)
        found.setdefault(key, {}).setdefault(seed, []).append(name)
    return found


def labels(results: Results) -> dict[Key, str]:
    """Return what every regime is called.

    As the card calls it, or by its group where two groups are called the same; a checkpoint on its own by its
    own name.
    """
    entries, regimes = results.card["checkpoints"], checkpoints_by_regime(results)
    called = {
        key: {entries[name].get("regime") for names in seeds.values() for name in names}
        for key, seeds in regimes.items()
        if key[1] is None
    }
    shared = Counter(name for names in called.values() for name in names)
    found = {key: key[0] for key in regimes}
    for key, names in called.items():
        regime = next(iter(names))
        if len(names) == 1 and regime is not None and shared[regime] == 1:
            found[key] = str(regime)
    # A regime may be called as another one's group is.
    taken = [found[key] for key in called]
    return found if len(set(taken)) == len(taken) else {key: key[0] for key in regimes}


def seeds_by_label(results: Results) -> list[tuple[str, int]]:
    """Return every regime and the number of its seeds, a checkpoint of an unknown one on its own."""
    called = labels(results)
    return [(called[key], len(seeds)) for key, seeds in checkpoints_by_regime(results).items()]
