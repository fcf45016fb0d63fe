"""Tables of differences between checkpoints, and between regimes."""

import math
from collections.abc import Iterable, Mapping

import pandas as pd

from lit_xai.reporting.comparisons import LEVEL
from lit_xai.reporting.plots.words import capital, in_words, metric_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import Cell, Column, Row, Table, attack_labels, decimals, mean, number

_ALONE = "scored on one only"
_DECISION = [
    Column("attack", numeric=False),
    Column("first → second", numeric=False),
    Column("difference", hint="Second minus first, with its 95\u00a0% interval, which is not corrected."),
    Column("p", hint="Corrected (Holm) within its family of tests; in brackets the uncorrected one."),
    Column("better", numeric=False, hint="Named where the corrected p is below 0.05."),
]
_FAMILIES = (
    "p is corrected (Holm) over the accuracies and the first metric under attack; all other metrics are "
    "corrected on their own. Intervals are not corrected."
)
_EFFECT = Column(
    "effect", hint="The difference over the standard deviation: Cohen's d_z, or Hedges' g for regimes."
)


def headline_rows(frame: pd.DataFrame, results: Results, attribution: str) -> pd.DataFrame:
    """Return the rows that a page shows: those of the headline metric, or the accuracies for `none`."""
    metric = "accuracy" if attribution == "none" else results.headline
    return frame[(frame["attribution"] == attribution) & (frame["metric"] == metric)]


def summary(frame: pd.DataFrame) -> str:
    """Return how many of the comparisons are significant."""
    found = int((frame["p_holm"] < LEVEL).sum())
    return f"{len(frame)} comparison{'s' if len(frame) != 1 else ''}, {found} significant"


def checkpoint_table(frame: pd.DataFrame, results: Results, attribution: str) -> Table:
    """Return comparisons of checkpoints as a table.

    Args:
        frame: Rows of `compare_checkpoints`.
        results: What was measured.
        attribution: Of all rows.
    """
    columns = [
        Column("n", hint="Samples scored on both."),
        Column(_ALONE, hint="Samples that are excluded, or without a score, on the other network."),
    ]
    caption = (
        f"{_subject(results, attribution)}: the second network minus the first, on the n samples scored on "
        f"both. “{_ALONE.capitalize()}” counts samples that the other network excludes or has no score for. "
        f"{_FAMILIES}"
    )
    places, labels = _format(frame, results)
    rows = []
    for row in frame.to_dict("records"):
        count, alone = int(row["n"]), int(row["only_first"]) + int(row["only_second"])
        counts = [Cell(str(count), count), Cell(str(alone), alone)]
        rows.append([*_decision(row, places, labels), *counts])
    return Table(caption, [*_DECISION, _EFFECT, *columns], rows, keys=2)


def regime_table(frame: pd.DataFrame, results: Results, attribution: str) -> Table:
    """Return comparisons of regimes as a table.

    Args:
        frame: Rows of `compare_regimes`.
        results: What was measured.
        attribution: Of all rows.
    """
    column = Column("seeds", numeric=False, hint="Of the first and the second regime.")
    caption = f"{_subject(results, attribution)}: the second regime minus the first, over seeds. {_FAMILIES}"
    places, labels = _format(frame, results)
    rows = [[*_decision(row, places, labels), Cell(_seeds(row))] for row in frame.to_dict("records")]
    return Table(caption, [*_DECISION, _EFFECT, column], rows, keys=2)


def regime_means_table(frame: pd.DataFrame, results: Results, attribution: str) -> Table:
    """Return the means of regimes over their seeds.

    Args:
        frame: Rows of `regime_means`.
        results: What was measured.
        attribution: Of all rows.
    """
    places, labels = _format(frame, results)
    columns = [Column("attack", numeric=False), Column("regime", numeric=False)]
    columns += [
        Column("accuracy" if attribution == "none" else metric_words(results.headline)),
        Column("seeds"),
    ]
    rows = [
        [
            Cell(labels.get(row["attack"], row["attack"])),
            Cell(row["group"]),
            mean(row, places),
            Cell(str(int(row["seeds"])), int(row["seeds"])),
        ]
        for attack in frame["attack"].unique()
        for row in frame[frame["attack"] == attack].to_dict("records")
    ]
    caption = f"{_subject(results, attribution)}: means over seeds with 95\u00a0% intervals of Student's t."
    return Table(caption, columns, rows, keys=2)


def _subject(results: Results, attribution: str) -> str:
    if attribution == "none":
        return "Accuracy"
    return f"{capital(metric_words(results.headline))}, {in_words(attribution)}"


def _format(frame: pd.DataFrame, results: Results) -> tuple[int, dict[str, str]]:
    # Two digits at least, however wide the intervals of few seeds are.
    places = max(2, decimals(frame["low"], frame["high"]))
    return places, {"pgd": "PGD", **attack_labels(results)}


def _decision(row: Row, places: int, labels: Mapping[str, str]) -> Iterable[Cell]:
    yield Cell(labels.get(row["attack"], row["attack"]))
    yield Cell(f"{row['first']} → {row['second']}")
    yield mean({**row, "value": row["difference"]}, places)
    yield _corrected(row)
    yield Cell(row["better"] or "–")
    yield _plain(row["effect"], 2)


def _corrected(row: Row) -> Cell:
    if not row["family"]:
        return probability(row["p_holm"])._replace(note="" if math.isnan(row["p"]) else "(no difference)")
    return probability(row["p_holm"])._replace(note=f"({probability(row['p']).text})")


def _plain(value: float, places: int) -> Cell:
    return Cell(number(value, places), float(value) if math.isfinite(value) else None)


def probability(p: float) -> Cell:
    """Return the cell of a p-value."""
    if math.isnan(p):
        return Cell("–")
    if p < 0.001:
        return Cell("< 0.001", float(p))
    text = f"{p:.3f}"
    # Rounding must not lift it to the level that it lies below.
    return Cell(f"< {text}" if p < LEVEL <= float(text) else text, float(p))


def _seeds(row: Row) -> str:
    return f"{int(row['first_seeds'])} + {int(row['second_seeds'])}"
