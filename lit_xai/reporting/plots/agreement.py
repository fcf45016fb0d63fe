"""How far the explanations of one image agree, as matrices."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.naming import naming
from lit_xai.reporting.plots.style import styled
from lit_xai.reporting.plots.telling import drawable, not_drawn, samples_told, sentences
from lit_xai.reporting.plots.tiles import Axis, Matrix, names_fit, tile_plot
from lit_xai.reporting.plots.units import Floats, Unit, over_seeds, units
from lit_xai.reporting.plots.words import number, slug
from lit_xai.reporting.reading import Results

# Larger matrices stand one below the other: each is a plot of its own.
_MOST_TOGETHER = 4


class _Found(NamedTuple):
    """The agreement of explanations on a regime or a checkpoint, and of how many samples."""

    unit: Unit
    seeds: int
    values: Floats
    counts: list[int]


@styled()
def agreement(results: Results) -> list[Plot]:
    """Return matrices of the mean agreement of explanations, the first of a pair in the row.

    The metric is the headline metric if agreement was measured by it, and the first one otherwise. The seeds
    of a regime are averaged.

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
    names = [name for name in results.attributions if name in seen]
    grouped = rows.groupby(["checkpoint", "first", "second"], observed=True)["value"]
    means: dict[Any, float] = grouped.mean().to_dict()
    counts: dict[Any, int] = grouped.count().to_dict()
    matrices = {name: _matrix(means, name, names) for name in results.checkpoints}
    measured = {name: values for name, values in matrices.items() if not np.isnan(values).all()}
    found = []
    for unit in units(results):
        own = {name: measured[name] for name in unit.members if name in measured}
        if own and drawable(over_seeds(unit, own)).any():
            sizes = [int(count) for key, count in counts.items() if key[0] in own and key[1] != key[2]]
            seeds = len({str(unit.seeds[unit.members.index(name)]) for name in own})
            found.append(_Found(unit, seeds, over_seeds(unit, own), sizes))
    return _plots(results, found, names, metric)


def _matrix(means: Mapping[Any, float], checkpoint: str, names: Sequence[str]) -> Floats:
    values = [[means.get((checkpoint, first, second), np.nan) for second in names] for first in names]
    matrix = np.array(values, dtype=np.float64)
    np.fill_diagonal(matrix, np.nan)
    return matrix


def _plots(results: Results, found: list[_Found], names: Sequence[str], metric: str) -> list[Plot]:
    title = f"Agreement of explanations: {naming(results, spoken=True).metric(metric)}"
    if len(names) <= _MOST_TOGETHER:
        return [_plot(results, "agreement", title, found, names, metric)] if found else []
    return [
        _plot(
            results,
            slug("agreement", one.unit.label),
            f"{title}, {one.unit.spoken(one.seeds)}",
            [one],
            names,
            metric,
        )
        for one in found
    ]


def _plot(
    results: Results, name: str, title: str, found: list[_Found], names: Sequence[str], metric: str
) -> Plot:
    drawn, spoken = naming(results), naming(results, spoken=True)
    words = [drawn.attribution(explanation) for explanation in names]
    rows, columns = Axis("", words), Axis("", words)
    if not names_fit(rows, columns):
        letters = [_letter(place) for place in range(len(words))]
        rows = Axis("", [f"{label}  {letter}" for label, letter in zip(words, letters, strict=True)])
        columns = Axis("", letters)
    matrices = [Matrix(one.unit.label, one.values) for one in found]
    heading = f"mean {drawn.metric(metric)} of two explanations of one image"
    figure = tile_plot(matrices, rows, columns, heading=heading, diagonal="=", ends=(0.0, 1.0))
    said = [spoken.attribution(explanation) for explanation in names]
    told = [_told(one, said) for one in found]
    missing = [
        (f"{one.unit.spoken(one.seeds)}, {said[row]} and {said[column]}", float(value))
        for one in found
        for (row, column), value in np.ndenumerate(one.values)
        if not drawable(value) and not np.isnan(value)
    ]
    samples = samples_told(count for one in found for count in one.counts)
    begin = f"Mean {spoken.metric(metric)} of two explanations of one image."
    return Plot(name, title, sentences(begin, *told, not_drawn(missing), samples), figure)


def _letter(place: int) -> str:
    """Return A to Z, then AA, AB: unlike a number it is taken for no value."""
    before, last = divmod(place, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)


def _told(one: _Found, words: Sequence[str]) -> str:
    ends, values = [], np.where(drawable(one.values), one.values, np.nan)
    for place in (np.nanargmin(values), np.nanargmax(values)):
        row, column = divmod(int(place), len(words))
        ends.append(f"{number(float(values[row, column]))} ({words[row]}, {words[column]})")
    span = ends[0] if ends[0] == ends[1] else f"from {ends[0]} to {ends[1]}"
    return f"{one.unit.spoken(one.seeds)}: {span}."
