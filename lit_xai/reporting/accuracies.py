"""Sentences on the accuracies beside the robustness."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from lit_xai.reporting.comparisons import regime_groups, regime_means
from lit_xai.reporting.phrases import Sentence, counted, listing, name_list, percent, points, say
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import number

_MOST = 4
_CLEAN = {"attribution": "none", "attack": "unattacked", "metric": "accuracy"}


def of_regimes(results: Results, tested: pd.DataFrame) -> Iterator[Sentence]:
    """Return the accuracies of the regimes with several seeds, and which of them differ.

    Args:
        results: What was measured.
        tested: Comparisons of regimes.
    """
    means = _clean(regime_means(results))
    means = [row for row in means if row["seeds"] > 1 and row["group"] in regime_groups(results)]
    if len(means) < 2:
        return
    shown = [
        say(f"{_share(row)} for {{}} over {counted(int(row['seeds']), 'seed')}", row["group"])
        for row in means
    ]
    sure = [(row["better"], {row["first"], row["second"]} - {row["better"]}) for row in _clean(tested)]
    differ = [
        say("{} is significantly more accurate than {}", better, *other) for better, other in sure if better
    ]
    end = listing(differ, limit=_MOST) if differ else say("no difference between regimes can be shown")
    yield [*say("Accuracy on clean images is "), *listing(shown, limit=_MOST), *say("; "), *end, *say(".")]


def of_networks(results: Results, leaders: Sequence[str], comparisons: pd.DataFrame) -> Iterator[Sentence]:
    """Hold the accuracies of the networks that keep the most against the highest one.

    Args:
        results: What was measured.
        leaders: Checkpoints that keep the most of an explanation.
        comparisons: Of checkpoints.
    """
    rows = {name: results.cell(name, *_CLEAN.values()) for name in results.checkpoints}
    known = {name: row for name, row in rows.items() if row is not None and math.isfinite(row["value"])}
    leading = [name for name in leaders if name in known]
    if len(known) < 2 or not leading:
        return
    highest = max(float(row["value"]) for row in known.values())
    top = [name for name, row in known.items() if float(row["value"]) == highest]
    # A tie is told of all, and held against the first that leads in robustness too.
    first = next((name for name in leading if name in top), top[0])
    count = counted(int(known[first]["count"]), "clean image")
    classify = "classify" if len(top) > 1 else "classifies"
    sentence = [
        *name_list(top, limit=_MOST),
        *say(f" {classify} the most of {count} correctly, {percent(highest)}"),
    ]
    others = [name for name in leading if name not in top]
    if others:
        pairs = {(row["first"], row["second"]): row for row in _clean(comparisons)}
        held = [_against(name, first, known, pairs, results) for name in others]
        sentence += [
            *say(". Of the networks with the best scores under attack, "),
            *listing(held, limit=_MOST),
        ]
    yield [*sentence, *say(".")]


def _against(
    name: str,
    top: str,
    known: Mapping[str, Any],
    pairs: Mapping[tuple[str, str], Mapping[Any, Any]],
    results: Results,
) -> Sentence:
    """Tell an accuracy, and by how much it lies below the highest one."""
    start = say(f"{{}} classifies {percent(float(known[name]['value']))}", name)
    row = pairs.get((name, top)) or pairs.get((top, name))
    same = any({name, top} <= set(names) for names in regime_groups(results).values())
    if row is None or same:
        return [*start, *say(" (not compared)")]
    sign = 1 if row["second"] == top else -1
    low, high = sorted((sign * float(row["low"]), sign * float(row["high"])))
    gap = points(sign * float(row["difference"]), low, high)
    if row["better"] == top:
        return [*start, *say(f", significantly less by {gap}")]
    return [*start, *say(f" (a difference of {gap}, not significant)")]


def _share(row: Mapping[Any, Any]) -> str:
    low, high = float(row["low"]), float(row["high"])
    text = percent(float(row["value"]))
    return f"{text} [{number(100 * low, 1)}, {number(100 * high, 1)}]" if math.isfinite(high - low) else text


def _clean(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    if frame.empty:
        return []
    chosen = [(frame[name] == value).to_numpy() for name, value in _CLEAN.items()]
    return frame[chosen[0] & chosen[1] & chosen[2]].to_dict("records")
