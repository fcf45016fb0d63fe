"""Which of many attacks a plot shows."""

from collections.abc import Sequence

import numpy as np

from lit_xai.reporting.plots.families import is_control
from lit_xai.reporting.reading import Results

_MOST_ATTACKS = 8


def shown_attacks(results: Results, attribution: str) -> list[str]:
    """Return at most eight attacks, controls first: the strongest of each family where there are more.

    Args:
        results: Of an evaluation.
        attribution: Its strongest attack is that with the worst headline metric, averaged over checkpoints.
    """
    attacks = [attack for attack in results.attacks if attack != "unattacked"]
    if len(attacks) > _MOST_ATTACKS:
        families: dict[str, list[str]] = {}
        for attack in attacks:
            family = results.card["attacks"][attack].get("sweep")
            families.setdefault(f"of {family}" if family else attack, []).append(attack)
        weakness = {attack: _weakness(results, attribution, attack) for attack in attacks}
        best = [min(family, key=lambda attack: weakness[attack]) for family in families.values()]
        # All kinds of control come in, then the attacks that did most.
        best.sort(key=lambda attack: (not is_control(results, attack), weakness[attack]))
        kept = set(best[:_MOST_ATTACKS])
        attacks = [attack for attack in attacks if attack in kept]
    return sorted(attacks, key=lambda attack: not is_control(results, attack))


def leading_attacks(results: Results, attribution: str, attacks: Sequence[str]) -> list[str]:
    """Return the strongest control and the strongest attack, one or both.

    Args:
        results: Of an evaluation.
        attribution: As for `shown_attacks`.
        attacks: Of which they are chosen.
    """
    kinds: dict[bool, list[str]] = {True: [], False: []}
    for attack in attacks:
        kinds[is_control(results, attack)].append(attack)
    return [
        min(found, key=lambda attack: _weakness(results, attribution, attack))
        for found in kinds.values()
        if found
    ]


def _weakness(results: Results, attribution: str, attack: str) -> float:
    rows = [results.cell(name, attribution, attack, results.headline) for name in results.checkpoints]
    values = [float(row["value"]) for row in rows if row is not None and np.isfinite(row["value"])]
    return results.direction(results.headline) * float(np.mean(values)) if values else np.inf
