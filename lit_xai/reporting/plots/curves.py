"""Curves of robustness over the radius of an attack and over the epochs of training."""

from collections.abc import Sequence

import numpy as np

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.families import Family, attack_label, metric_heading, swept
from lit_xai.reporting.plots.lines import Line, line_plot, told
from lit_xai.reporting.plots.logged import Grid, Series, grids, series
from lit_xai.reporting.plots.style import DASHED, INK, Entry, styled
from lit_xai.reporting.plots.words import capital, in_words, slug
from lit_xai.reporting.reading import Results

_DASHES = (DASHED, (0, (1, 1.6)), (0, (6, 2)))
_ACCURACIES = {"val/accuracy": "accuracy", "val/pgd_accuracy": "accuracy under PGD"}
_RADIUS = "radius, in pixel units of [0, 1]"


@styled()
def radius_curves(results: Results) -> list[Plot]:
    """Return one plot for each explanation: its robustness over the radius of the attacks.

    Each family of attacks that was swept over `eps` alone has a panel; the controls stand in all of them.

    Args:
        results: Of an evaluation.
    """
    families = [family for family in swept(results, 1) if "eps" in next(iter(family.attacks.values()))]
    attacks = [family for family in families if not family.is_control] or families
    controls = [family for family in families if family not in attacks]
    found = (_radius_plot(results, attribution, attacks, controls) for attribution in results.attributions)
    return [plot for plot in found if plot is not None]


def _radius_plot(
    results: Results, attribution: str, attacks: Sequence[Family], controls: Sequence[Family]
) -> Plot | None:
    swept_lines = [_family_lines(results, attribution, family) for family in attacks]
    kept = [place for place, lines in enumerate(swept_lines) if lines]
    if not kept:
        return None
    lines = [line._replace(panel=panel) for panel, place in enumerate(kept) for line in swept_lines[place]]
    titles = [in_words(attacks[place].name) for place in kept]
    text = told(results, titles, lines, "at radius")
    shown = []
    for family, dashes in zip(controls, _DASHES, strict=False):
        dashed = _family_lines(results, attribution, family)
        lines += [
            line._replace(panel=panel, dashes=dashes) for panel in range(len(titles)) for line in dashed
        ]
        shown += [Entry(f"{in_words(family.name)} (control)", INK, "", dashes)] if dashed else []
    heading = metric_heading(results, results.headline)
    figure = line_plot(results, titles, lines, heading=heading, below=_RADIUS, dashed=shown)
    metric, under = capital(in_words(results.headline)), " and ".join(titles)
    title = f"{metric} over radius: {in_words(attribution)} under {under}"
    return Plot(slug("radius", attribution), title, f"{title}. {text}", figure)


def _family_lines(results: Results, attribution: str, family: Family) -> list[Line]:
    radii = {"unattacked": 0.0} | {name: float(values["eps"]) for name, values in family.attacks.items()}
    lines = []
    for checkpoint in results.checkpoints:
        cells = [
            (eps, results.cell(checkpoint, attribution, attack, results.headline))
            for attack, eps in radii.items()
        ]
        points = sorted(
            (eps, cell["value"], cell["low"], cell["high"]) for eps, cell in cells if cell is not None
        )
        table = np.array(points, dtype=np.float64).reshape(-1, 4)
        if np.isfinite(table[table[:, 0] > 0, 1]).any():
            lines.append(Line(0, checkpoint, *table.T))
    return lines


@styled()
def epoch_curves(results: Results) -> list[Plot]:
    """Return plots of what was logged while training: accuracies, and the robustness of each explanation.

    Args:
        results: Of an evaluation; without a log there are no plots.
    """
    found = [(title, series(results, key)) for key, title in _ACCURACIES.items()]
    accuracies = [(title, lines) for title, lines in found if lines]
    plots = []
    if accuracies:
        title = f"{capital(' and '.join(title for title, _ in accuracies))} over epochs"
        plots.append(_epoch_plot(results, "epochs", title, "share of the validation images", accuracies))
    plots += [_grid_plot(results, attribution, grid) for attribution, grid in grids(results).items()]
    return plots


def _grid_plot(results: Results, attribution: str, grid: Grid) -> Plot:
    panels = [(attack_label(results, attack), lines) for attack, lines in grid.attacks.items()]
    title = f"{capital(in_words(grid.metric))} over epochs: {in_words(attribution)}"
    heading = metric_heading(results, grid.metric)
    return _epoch_plot(results, slug("epochs", attribution), title, heading, panels)


def _epoch_plot(
    results: Results, name: str, title: str, heading: str, panels: Sequence[tuple[str, dict[str, Series]]]
) -> Plot:
    lines = [
        Line(panel, checkpoint, line.epochs, line.values, line.values, line.values)
        for panel, (_, found) in enumerate(panels)
        for checkpoint, line in found.items()
    ]
    titles = [title for title, _ in panels]
    figure = line_plot(results, titles, lines, heading=heading, below="epoch", whole=True)
    return Plot(name, title, f"{title}. {told(results, titles, lines, 'in epoch')}", figure)
