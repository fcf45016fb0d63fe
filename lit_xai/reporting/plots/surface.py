"""Surfaces over the two fields of a sweep: what an injected explanation changes, and what it costs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.families import Family, class_name, swept
from lit_xai.reporting.plots.naming import naming
from lit_xai.reporting.plots.style import styled
from lit_xai.reporting.plots.telling import drawable, not_drawn, samples_told, sentences
from lit_xai.reporting.plots.tiles import Axis, Matrix, tile_plot
from lit_xai.reporting.plots.units import Means, Unit, units
from lit_xai.reporting.plots.words import capital, in_words, number, slug, value_words
from lit_xai.reporting.reading import Results

METRICS = ("ExplanationChange", "ImageSSIM", "ConfidenceChange")
_UNITS = {"ExplanationChange": " in percent"}
_DARKER = {1: ", darker: less robust", -1: ", darker: less robust", 0: ", darker: higher"}


class _Field(NamedTuple):
    """A swept family and its two axes."""

    family: Family
    names: list[str]
    across: list[Any]
    up: list[Any]
    rows: Axis
    columns: Axis


@styled()
def surfaces(results: Results) -> list[Plot]:
    """Return a plot for each explanation, family of attacks over two fields, and metric of `METRICS`.

    Donors of an injection (`rank`) that were swept beside are averaged, as Pesce et al. (2025, arXiv
    2511.10088) do, and so are the seeds of a regime. The darker a tile, the less robust, whichever way the
    metric runs.

    Args:
        results: Of an evaluation.
    """
    metrics = [name for name, entry in results.card["metrics"].items() if class_name(entry) in METRICS]
    found, means = units(results), Means(results)
    fields = [_field(family) for family in swept(results, 2)]
    plots = (
        _surface(results, found, means, attribution, field, metric)
        for attribution in results.attributions
        for field in fields
        for metric in metrics
    )
    return [plot for plot in plots if plot is not None]


def _field(family: Family) -> _Field:
    names = list(next(iter(family.attacks.values())))
    across, up = (_levels(family, name) for name in names)
    rows = Axis(in_words(names[1]), [value_words(value) for value in reversed(up)])
    columns = Axis(in_words(names[0]), [value_words(value) for value in across])
    return _Field(family, names, across, up, rows, columns)


def _levels(family: Family, field: str) -> list[Any]:
    levels = list({value_words(values[field]): values[field] for values in family.attacks.values()}.values())
    plain = all(isinstance(level, (int, float)) for level in levels)
    return sorted(levels) if plain else levels


def _surface(
    results: Results, found: Sequence[Unit], means: Means, attribution: str, field: _Field, metric: str
) -> Plot | None:
    matrices, told, missing, counts = [], [], [], []
    for unit in found:
        values, seeds = _values(unit, means, attribution, field, metric)
        for (row, column), value in np.ndenumerate(values):
            if not drawable(value) and not np.isnan(value):
                missing.append((f"{unit.spoken(seeds)} at {_where(field, row, column)}", float(value)))
        if drawable(values).any():
            matrices.append(Matrix(unit.label, values))
            told.append(_told(unit.spoken(seeds), values, field))
            for attack in field.family.attacks:
                counts += means.samples(unit.members, attribution, attack, metric)
    if not matrices:
        return None
    drawn, spoken = naming(results), naming(results, spoken=True)
    unit_of = _UNITS.get(class_name(results.card["metrics"][metric]), "")
    direction = results.direction(metric)
    heading = drawn.metric(metric) + unit_of + _DARKER[direction]
    figure = tile_plot(matrices, field.rows, field.columns, heading=heading, falling=direction > 0)
    title = (
        f"{capital(spoken.metric(metric))} under {spoken.family(field.family.name)}: "
        f"{spoken.attribution(attribution)}"
    )
    donors = len(field.family.attacks) // (len(field.across) * len(field.up))
    if donors > 1:
        title += f", mean of {donors} donors"
    name = slug("surface", attribution, field.family.name, *sorted(field.names), metric)
    axes = f"{title}, over {field.columns.name} and {field.rows.name}."
    return Plot(name, title, sentences(axes, *told, not_drawn(missing), samples_told(counts)), figure)


def _values(
    unit: Unit, means: Means, attribution: str, field: _Field, metric: str
) -> tuple[np.ndarray[Any, np.dtype[np.float64]], int]:
    """Return the means of a unit, (rows, columns), and of how many seeds they are."""
    found: dict[tuple[int, int], list[float]] = {}
    seeds = 1
    for attack, varied in field.family.attacks.items():
        mean = means.of(unit, attribution, attack, metric)
        if mean is not None:
            row = len(field.up) - 1 - field.up.index(varied[field.names[1]])
            column = field.across.index(varied[field.names[0]])
            found.setdefault((row, column), []).append(mean.value)
            seeds = max(seeds, mean.seeds)
    values = np.full((len(field.up), len(field.across)), np.nan)
    for place, averaged in found.items():
        with np.errstate(invalid="ignore"):
            values[place] = np.mean(averaged)
    return values, seeds


def _told(label: str, values: np.ndarray[Any, np.dtype[np.float64]], field: _Field) -> str:
    kept = np.where(drawable(values), values, np.nan)
    ends, largest = [], float(np.nanmax(np.abs(kept)))
    for place in (np.nanargmin(kept), np.nanargmax(kept)):
        row, column = np.unravel_index(place, kept.shape)
        ends.append(f"{number(float(kept[row, column]), largest)} at {_where(field, int(row), int(column))}")
    return f"{label}: from {ends[0]} to {ends[1]}."


def _where(field: _Field, row: int, column: int) -> str:
    rows, columns = field.rows, field.columns
    return f"{columns.name} {columns.labels[column]}, {rows.name} {rows.labels[row]}"
