"""Surfaces over the two fields of a sweep: what an injected explanation changes, and what it costs."""

from typing import Any

import numpy as np

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.families import Family, class_name, metric_heading, swept
from lit_xai.reporting.plots.style import styled
from lit_xai.reporting.plots.tiles import Axis, Matrix, tile_plot
from lit_xai.reporting.plots.words import capital, in_words, number, short_names, slug, value_words
from lit_xai.reporting.reading import Results

METRICS = ("ExplanationChange", "ImageSSIM", "ConfidenceChange")
_UNITS = {"ExplanationChange": " in percent"}


@styled()
def surfaces(results: Results) -> list[Plot]:
    """Return a plot for each explanation, family of attacks over two fields, and metric of `METRICS`.

    Donors of an injection (`rank`) that were swept beside are averaged, as Pesce et al. (2025, arXiv
    2511.10088) do.

    Args:
        results: Of an evaluation.
    """
    metrics = [name for name, entry in results.card["metrics"].items() if class_name(entry) in METRICS]
    found = (
        _surface(results, attribution, family, metric)
        for attribution in results.attributions
        for family in swept(results, 2)
        for metric in metrics
    )
    return [plot for plot in found if plot is not None]


def _surface(results: Results, attribution: str, family: Family, metric: str) -> Plot | None:
    fields = list(next(iter(family.attacks.values())))
    across, up = (_levels(family, field) for field in fields)
    names = short_names(results.checkpoints)
    matrices = []
    for checkpoint in results.checkpoints:
        found: dict[tuple[int, int], list[float]] = {}
        for attack, varied in family.attacks.items():
            cell = results.cell(checkpoint, attribution, attack, metric)
            if cell is not None:
                place = (len(up) - 1 - up.index(varied[fields[1]]), across.index(varied[fields[0]]))
                found.setdefault(place, []).append(float(cell["value"]))
        values = np.full((len(up), len(across)), np.nan)
        for place, means in found.items():
            values[place] = np.mean(means)
        if np.isfinite(values).any():
            matrices.append(Matrix(names[checkpoint], values))
    if not matrices:
        return None
    rows = Axis(in_words(fields[1]), [value_words(value) for value in reversed(up)])
    columns = Axis(in_words(fields[0]), [value_words(value) for value in across])
    unit = _UNITS.get(class_name(results.card["metrics"][metric]), "")
    heading = metric_heading(results, metric, unit)
    figure = tile_plot(matrices, rows, columns, heading=heading)
    title = f"{capital(in_words(metric))} under {in_words(family.name)}: {in_words(attribution)}"
    donors = len(family.attacks) // (len(across) * len(up))
    if donors > 1:
        title += f", mean of {donors} donors"
    told = " ".join(_told(matrix, rows, columns) for matrix in matrices)
    name = slug("surface", attribution, family.name, *sorted(fields), metric)
    return Plot(name, title, f"{title}, over {columns.name} and {rows.name}. {told}", figure)


def _levels(family: Family, field: str) -> list[Any]:
    levels = list({value_words(values[field]): values[field] for values in family.attacks.values()}.values())
    plain = all(isinstance(level, (int, float)) for level in levels)
    return sorted(levels) if plain else levels


def _told(matrix: Matrix, rows: Axis, columns: Axis) -> str:
    ends, largest = [], float(np.nanmax(np.abs(matrix.values)))
    for place in (np.nanargmin(matrix.values), np.nanargmax(matrix.values)):
        row, column = np.unravel_index(place, matrix.values.shape)
        where = f"{columns.name} {columns.labels[column]}, {rows.name} {rows.labels[row]}"
        ends.append(f"{number(float(matrix.values[row, column]), largest)} at {where}")
    return f"{matrix.title}: from {ends[0]} to {ends[1]}."
