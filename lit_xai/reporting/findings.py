"""What a report says first: sentences computed from the results."""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import pandas as pd

from lit_xai.reporting.comparisons import LEVEL
from lit_xai.reporting.plots.words import in_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import attack_labels, decimals, mean, number


class Part(NamedTuple):
    """A piece of a sentence; names are set apart from the words around them."""

    text: str
    is_name: bool = False


Sentence = list[Part]


def plain(sentence: Sentence) -> str:
    """Return a sentence as text."""
    return "".join(part.text for part in sentence)


def _say(template: str, *names: str) -> Sentence:
    """Return a sentence with names in the places of `{}`; the names themselves are never parsed."""
    words = template.split("{}")
    parts = [Part(words[0])]
    for name, word in zip(names, words[1:], strict=True):
        parts += [Part(name, is_name=True), Part(word)]
    return [part for part in parts if part.text or part.is_name]


def findings(results: Results, comparisons: pd.DataFrame) -> list[Sentence]:
    """Return what the results say in short, the most important first.

    Args:
        results: What was measured.
        comparisons: Of all pairs of checkpoints.
    """
    sentences = [
        *_robustness(results),
        *_cost(results),
        *_significance(results, comparisons),
        *_controls(results),
        *_failures(results),
    ]
    return sentences or [_say("No attribution was attacked.")]


def caution(results: Results) -> Sentence:
    """Return what the results do not say: a regime is judged over seeds only."""
    seeds = regime_seeds(results)
    once = [name for name, count in seeds if count < 2]
    if len(once) == len(seeds):
        return _say(
            "Every regime was trained with one seed here, or its seeds are unknown: the numbers judge these "
            "networks, and no regime."
        )
    words = "A statement about a regime rests on its seeds, not on its samples."
    if once:
        words += (
            " Trained with one seed, and so not judged as regimes: " + ", ".join(["{}"] * len(once)) + "."
        )
    return _say(words, *once)


def regime_seeds(results: Results) -> list[tuple[str, int]]:
    """Return every regime and the number of its seeds, a checkpoint of an unknown one on its own."""
    found: dict[tuple[str, str | None], set[Any]] = {}
    for name, entry in results.card["checkpoints"].items():
        known = entry["group"] is not None and entry["seed"] is not None
        # A checkpoint may be called as a group is.
        key = (str(entry["group"]), None) if known else (name, name)
        found.setdefault(key, set()).add(entry["seed"])
    return [(name, len(seeds)) for (name, _), seeds in found.items()]


class Weakest(NamedTuple):
    """A checkpoint's headline metric under its strongest attack."""

    checkpoint: str
    attack: str
    row: Any


def weakest(results: Results, attribution: str) -> list[Weakest]:
    """Return every checkpoint under its strongest attack, the most robust first.

    Args:
        results: What was measured.
        attribution: Whose headline metric is compared.
    """
    found = []
    for checkpoint in results.checkpoints:
        attack = results.strongest(checkpoint, attribution)
        row = results.cell(checkpoint, attribution, attack, results.headline) if attack else None
        if attack and row is not None and math.isfinite(row["value"]):
            found.append(Weakest(checkpoint, attack, row))
    return sorted(found, key=lambda entry: -results.direction(results.headline) * float(entry.row["value"]))


def _robustness(results: Results) -> Iterator[Sentence]:
    labels = attack_labels(results)
    for attribution in results.attributions:
        found = weakest(results, attribution)
        if not found or not results.direction(results.headline):
            continue
        best, last = found[0], found[-1]
        metric = in_words(results.headline)
        words = f"{{}} keeps {'the most' if len(found) > 1 else 'so much'} of its {{}} explanation under its "
        words += f"strongest attack, {{}}: {metric} {_mean(best)} over {int(best.row['count'])} samples"
        names = [best.checkpoint, in_words(attribution), labels[best.attack]]
        if len(found) > 1:
            words += f". The least is left of {{}}, {_mean(last)}, by {{}}"
            names += [last.checkpoint, labels[last.attack]]
        yield _say(f"{words}.", *names)


def _mean(entry: Weakest) -> str:
    cell = mean(entry.row, decimals([entry.row["low"]], [entry.row["high"]]))
    return f"{cell.text} {cell.note}".strip()


def _cost(results: Results) -> Iterator[Sentence]:
    """Compare the accuracy of the most robust checkpoint on the first attribution with the highest one."""
    found = weakest(results, results.attributions[0]) if results.attributions else []
    rows = {name: results.cell(name, "none", "unattacked", "accuracy") for name in results.checkpoints}
    known = {name: row for name, row in rows.items() if row is not None and math.isfinite(row["value"])}
    if len(found) < 2 or found[0].checkpoint not in known or not results.direction(results.headline):
        return
    best, top = found[0].checkpoint, max(known, key=lambda name: float(known[name]["value"]))
    accuracy, highest = float(known[best]["value"]), float(known[top]["value"])
    of_images = f"{_percent(accuracy)} of {int(known[best]['count']):,} images correctly"
    if best == top:
        yield _say(f"It costs no accuracy: {{}} classifies {of_images}, the most of all.", best)
    else:
        points = number(100 * (highest - accuracy), 1)
        yield _say(
            f"The price is accuracy: {{}} classifies {of_images}, {points} points less than {{}} "
            f"({_percent(highest)}).",
            best,
            top,
        )


def _percent(share: float) -> str:
    return f"{number(100 * share, 1)} %"


def _significance(results: Results, comparisons: pd.DataFrame) -> Iterator[Sentence]:
    """Count the differences that stay after Holm's correction, by the checkpoint that they speak for."""
    if comparisons.empty:
        return
    found = comparisons[comparisons["p_holm"] < LEVEL]
    headline = comparisons[comparisons["metric"] == results.headline]
    words = (
        f"Between checkpoints, on the same samples, {len(found):,} of {len(comparisons):,} differences are "
        "significant at 5 % after Holm's correction"
    )
    wins = headline[headline["better"] != ""]["better"].value_counts(sort=False)
    names = [name for name in results.checkpoints if name in wins.index]
    if len(headline):
        words += f"; of {len(headline):,} in {in_words(results.headline)}, {int(wins.sum()):,}"
    if names:
        words += ": " + ", ".join(f"{int(wins[name]):,} in favour of {{}}" for name in names)
    yield _say(f"{words}.", *names)


def _controls(results: Results) -> Iterator[Sentence]:
    """Compare attacks with random signs of the same radius."""
    pairs = list(_matched(results))
    sign = results.direction(results.headline)
    if not pairs or not sign:
        return
    labels = attack_labels(results)
    weak = [
        (labels[attack], in_words(attribution), checkpoint)
        for (attack, attribution, checkpoint), attacked, control in pairs
        if sign * (control - attacked) <= 0
    ]
    words = (
        f"In {len(pairs) - len(weak)} of {len(pairs)} comparisons at the same radius an attack harms the "
        "explanation more than random signs do"
    )
    if weak:
        shown = "; ".join(["{} on {} of {}"] * len(weak[:3]))
        words += f", but not {shown}" + (f" and {len(weak) - 3} more" if len(weak) > 3 else "")
    yield _say(f"{words}.", *(name for names in weak[:3] for name in names))


def _matched(results: Results) -> Iterator[tuple[tuple[str, str, str], float, float]]:
    entries = results.card["attacks"]
    controls = {name: entry["radius"] for name, entry in entries.items() if _class(entry) == "RandomSign"}
    for attack, entry in entries.items():
        if _class(entry) in ("Unattacked", "RandomSign") or entry["radius"] is None:
            continue
        same = [name for name, radius in controls.items() if radius and math.isclose(radius, entry["radius"])]
        for control in same[:1]:
            for checkpoint in results.checkpoints:
                for attribution in results.attributions:
                    rows = [
                        results.cell(checkpoint, attribution, name, results.headline)
                        for name in (attack, control)
                    ]
                    values = [math.nan if row is None else float(row["value"]) for row in rows]
                    if all(map(math.isfinite, values)):
                        yield (attack, attribution, checkpoint), values[0], values[1]


def _class(entry: dict[str, Any]) -> str:
    return str(entry["class_path"]).rpartition(".")[2]


def _failures(results: Results) -> Iterator[Sentence]:
    table = results.table
    attacked = table[(table["attribution"] != "none") & (table["attack"] != "unattacked")]
    if attacked.empty:
        return
    # The largest count of a cell: a metric that is undefined for some samples counts fewer.
    cells = attacked.groupby(["checkpoint", "attribution", "attack"])[["count", "failed", "excluded"]].max()
    count, failed, excluded = (int(cells[name].sum()) for name in ("count", "failed", "excluded"))
    yield _say(
        f"Of {count:,} attacks on single samples {failed:,} failed ({_percent(failed / max(count, 1))}): "
        "they changed nothing, or the prediction too. Their scores stay in the means. "
        f"{excluded:,} samples ({_percent(excluded / max(count + excluded, 1))}) were excluded before."
    )
