"""Tables as neutral models, written as HTML and LaTeX alike."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

import pandas as pd

from lit_xai.reporting.glossary import TERMS, direction_words
from lit_xai.reporting.isolation import isolated
from lit_xai.reporting.plots.words import attack_words, family_words, in_words, metric_words
from lit_xai.reporting.reading import Results

_DECIMALS = 3
_MOST_DECIMALS = 6
Row: TypeAlias = "Mapping[Any, Any] | pd.Series[Any]"


class Column(NamedTuple):
    """A column: its title, whether it is sorted by number, and a hint."""

    title: str
    numeric: bool = True
    hint: str = ""


class Cell(NamedTuple):
    """A cell: what it says, the number it is sorted by (None: none), and a quieter note behind."""

    text: str
    value: float | None = None
    note: str = ""


class Table(NamedTuple):
    """A table: the first `keys` cells of a row name it."""

    caption: str
    columns: list[Column]
    rows: list[list[Cell]]
    keys: int = 1


def number(value: float, decimals: int) -> str:
    """Return a number with a real minus sign; a dash if it is not one.

    Args:
        value: Any number.
        decimals: Digits behind the point; more where all of them would be zero.
    """
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value and abs(value) < 0.5 * 10**-decimals:
        text = f"{value:.2g}"
    else:
        text = f"{round(value, decimals) + 0.0:.{decimals}f}"
    return text.replace("-", "−")


def decimals(low: Iterable[float], high: Iterable[float]) -> int:
    """Return how many digits behind the point show the size of most intervals by two digits."""
    halves = sorted(
        (last - first) / 2
        for first, last in zip(low, high, strict=True)
        if math.isfinite(last - first) and last > first
    )
    return _needed(halves[len(halves) // 2], 2) if halves else _DECIMALS


def _needed(half: float, digits: int) -> int:
    return max(0, min(_MOST_DECIMALS, digits - 1 - math.floor(math.log10(half) + 1e-9)))


def mean(row: Row, places: int, count: int | None = None) -> Cell:
    """Return the cell of a mean with its interval.

    Args:
        row: Of `results.csv`.
        places: Digits behind the point; more where the interval would have no size with them.
        count: The samples that stand beside it; its own are added where they differ.
    """
    low, high = float(row["low"]), float(row["high"])
    if math.isfinite(high - low) and high > low:
        places = max(places, _needed((high - low) / 2, 1))
    notes = [f"[{number(low, places)}, {number(high, places)}]"] if math.isfinite(high - low) else []
    if count is not None and int(row["count"]) != count:
        notes.append(f"n={int(row['count'])}")
    return Cell(number(float(row["value"]), places), _finite(row["value"]), " ".join(notes))


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _count(value: float) -> Cell:
    return Cell(str(int(value)), int(value))


def attack_labels(results: Results) -> dict[str, str]:
    """Return what the page calls every attack: words, or the names themselves if words would merge two."""
    labels = {}
    for name, entry in results.card["attacks"].items():
        family = str(entry.get("sweep") or name)
        labels[name] = isolated(attack_words(name, entry), [name, family, family_words(family)])
    return labels if len(set(labels.values())) == len(labels) else {name: name for name in labels}


def accuracy(results: Results) -> Table | None:
    """Return the accuracies of every checkpoint and its headline metric under its strongest attacks.

    None if the results hold no accuracies. The two rest on different samples: the counts stand with each.
    """
    found = results.table[results.table["attribution"] == "none"]
    if found.empty:
        return None
    kinds = list(dict.fromkeys(zip(found["attack"], found["metric"], strict=True)))
    columns = [Column("checkpoint", numeric=False)]
    columns += [Column(_accuracy_title(*kind)) for kind in kinds]
    columns += [Column("n (accuracy)", hint=TERMS["n (accuracy)"])]
    metric = metric_words(results.headline)
    for name in results.attributions:
        columns += [Column(f"{in_words(name)}: {metric}", hint=_hint(results, results.headline))]
        columns += [Column("strongest attack", numeric=False, hint=TERMS["strongest attack"])]
    rows = [_accuracy_row(results, checkpoint, kinds) for checkpoint in results.checkpoints]
    caption = (
        f"Share of images classified correctly, and mean {metric} under the strongest attack on each "
        "attribution over the samples that were attacked, with 95 % intervals."
    )
    return Table(caption, columns, rows)


def _accuracy_title(attack: str, metric: str) -> str:
    return metric_words(metric) if attack == "unattacked" else f"{_known(attack)} {metric_words(metric)}"


def _known(attack: str) -> str:
    return "PGD" if attack == "pgd" else in_words(attack)


def _accuracy_row(results: Results, checkpoint: str, kinds: list[tuple[str, str]]) -> list[Cell]:
    rows = [results.cell(checkpoint, "none", *kind) for kind in kinds]
    known = [row for row in rows if row is not None]
    count = int(known[0]["count"]) if known else 0
    cells = [Cell("–") if row is None else mean(row, _DECIMALS, count) for row in rows]
    return [Cell(checkpoint), *cells, _count(count), *_under_strongest(results, checkpoint)]


def _under_strongest(results: Results, checkpoint: str) -> Iterable[Cell]:
    labels = attack_labels(results)
    for attribution in results.attributions:
        attack = results.strongest(checkpoint, attribution)
        row = results.cell(checkpoint, attribution, attack, results.headline) if attack else None
        if attack is None or row is None:
            yield from (Cell("–"), Cell("–"))
            continue
        cell = mean(row, decimals([row["low"]], [row["high"]]))
        counts = f"n={int(row['count'])},\n{int(row['failed'])} failed, {int(row['excluded'])} excluded"
        yield cell._replace(note=f"{cell.note}\n{counts}".strip())
        yield Cell(labels[attack])


def attribution(results: Results, name: str, metrics: list[str] | None = None) -> Table:
    """Return all means of an attribution: a row for every attack and checkpoint.

    Args:
        results: What was measured.
        name: Of the attribution.
        metrics: Columns, or None for all.
    """
    table = results.table[results.table["attribution"] == name]
    present = set(table["metric"])
    chosen = [metric for metric in metrics or results.metrics if metric in present]
    places = {
        metric: decimals(table[table["metric"] == metric]["low"], table[table["metric"] == metric]["high"])
        for metric in chosen
    }
    records = table.to_dict("records")
    rows = {(row["attack"], row["checkpoint"], row["metric"]): row for row in records}
    labels, attacked = attack_labels(results), attacks(results)
    body = [
        [
            Cell(labels[attack]),
            Cell(checkpoint),
            *_means(rows, attack, checkpoint, places, attacked=attack in attacked),
        ]
        for attack in results.attacks
        for checkpoint in results.checkpoints
        if any((attack, checkpoint, metric) in rows for metric in chosen)
    ]
    columns = [Column("attack", numeric=False), Column("checkpoint", numeric=False)]
    columns += [Column(metric_words(metric), hint=_hint(results, metric)) for metric in chosen]
    columns += [Column(title, hint=TERMS[title]) for title in ("kept only", "n", "failed", "excluded")]
    return Table(_caption(results, name, chosen), columns, body, keys=2)


def attacks(results: Results) -> list[str]:
    """Return the attacks of the card that change the image."""
    entries = results.card["attacks"].items()
    return [
        name
        for name, entry in entries
        if name != "unattacked" and not str(entry["class_path"]).endswith(".Unattacked")
    ]


def _means(
    rows: Mapping[tuple[Any, Any, Any], Row],
    attack: str,
    checkpoint: str,
    places: Mapping[str, int],
    *,
    attacked: bool,
) -> list[Cell]:
    found = [rows.get((attack, checkpoint, metric)) for metric in places]
    first = next(row for row in found if row is not None)
    count = int(first["count"])
    cells = [
        Cell("–") if row is None else mean(row, digits, count)
        for row, digits in zip(found, places.values(), strict=True)
    ]
    kept, failed = Cell("–"), Cell("–")
    if attacked:
        value, digits = float(first["kept_value"]), next(iter(places.values()))
        kept = Cell(number(value, digits), _finite(value), f"n={int(first['kept_count'])}")
        failed = _count(first["failed"])
    return [*cells, kept, _count(first["count"]), failed, _count(first["excluded"])]


def _hint(results: Results, metric: str) -> str:
    described = str(results.card["metrics"].get(metric, {}).get("description") or "")
    return f"{described} {direction_words(results, metric)}".strip()


def _caption(results: Results, name: str, metrics: list[str]) -> str:
    sentences = [f"Means of {in_words(name)} with 95 % intervals, by attack and checkpoint."]
    for sign, word in ((1, "Higher"), (-1, "Lower")):
        if names := [metric_words(metric) for metric in metrics if results.direction(metric) == sign]:
            sentences.append(f"{word} is more robust: {', '.join(names)}.")
    return " ".join(sentences)
