"""How far the explanations of one image agree, as matrices."""

from collections.abc import Sequence

import numpy as np

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.style import styled
from lit_xai.reporting.plots.tiles import Axis, Matrix, tile_plot, tile_width
from lit_xai.reporting.plots.words import capital, in_words, number, short_names, slug, text_width
from lit_xai.reporting.reading import Results

# Larger matrices stand one below the other: each is a plot of its own.
_MOST_TOGETHER = 4


@styled()
def agreement(results: Results) -> list[Plot]:
    """Return matrices of the mean agreement of explanations, the first of a pair in the row.

    The metric is the headline metric if agreement was measured by it, and the first one otherwise.

    Args:
        results: Of an evaluation; without two explanations there are no plots.
    """
    rows = results.agreement
    metrics = list(dict.fromkeys(rows["metric"]))
    if not metrics:
        return []
    metric = results.headline if results.headline in metrics else metrics[0]
    rows = rows[rows["metric"] == metric]
    seen = {*rows["first"], *rows["second"]}
    explanations = [name for name in results.attributions if name in seen]
    columns = ["checkpoint", "first", "second"]
    means = rows.groupby(columns, observed=True)["value"].mean().to_dict()
    names = short_names(results.checkpoints)
    found = []
    for checkpoint in results.checkpoints:
        values = np.array(
            [
                [means.get((checkpoint, first, second), np.nan) for second in explanations]
                for first in explanations
            ],
            dtype=np.float64,
        )
        np.fill_diagonal(values, np.nan)
        if np.isfinite(values).any():
            found.append((checkpoint, Matrix(names[checkpoint], values)))
    return _plots(found, explanations, metric)


def _plots(found: Sequence[tuple[str, Matrix]], explanations: Sequence[str], metric: str) -> list[Plot]:
    matrices = [matrix for _, matrix in found]
    title = f"Agreement of explanations: {in_words(metric)}"
    if len(explanations) <= _MOST_TOGETHER:
        return [_plot("agreement", title, matrices, explanations, metric)] if matrices else []
    return [
        _plot(slug("agreement", checkpoint), f"{title}, {matrix.title}", [matrix], explanations, metric)
        for checkpoint, matrix in found
    ]


def _plot(
    name: str, title: str, matrices: Sequence[Matrix], explanations: Sequence[str], metric: str
) -> Plot:
    words = [in_words(explanation) for explanation in explanations]
    rows, columns = Axis("", words), Axis("", words)
    if max(text_width(label, 11) for label in words) > tile_width(rows, columns, len(matrices)):
        rows = Axis("", [f"{label}  {place}" for place, label in enumerate(words, start=1)])
        columns = Axis("", [str(place) for place, _ in enumerate(words, start=1)])
    heading = f"mean {in_words(metric)} of two explanations of one image"
    figure = tile_plot(matrices, rows, columns, heading=heading, diagonal="=", ends=(0.0, 1.0))
    told = " ".join(_told(matrix, words) for matrix in matrices)
    return Plot(name, title, f"{capital(heading)}. {told}", figure)


def _told(matrix: Matrix, words: Sequence[str]) -> str:
    ends = []
    for place in (np.nanargmin(matrix.values), np.nanargmax(matrix.values)):
        row, column = divmod(int(place), len(words))
        ends.append(f"{number(float(matrix.values[row, column]))} ({words[row]}, {words[column]})")
    return f"{matrix.title}: from {ends[0]} to {ends[1]}."
