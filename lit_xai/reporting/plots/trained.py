"""How accuracy and robustness went together while networks were trained."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.logged import Grid, Series, grids, series
from lit_xai.reporting.plots.naming import naming
from lit_xai.reporting.plots.scatter import name_points, scatter_panel
from lit_xai.reporting.plots.style import styled
from lit_xai.reporting.plots.telling import drawable, not_drawn, samples_told, sentences
from lit_xai.reporting.plots.units import Unit, over_seeds, units
from lit_xai.reporting.plots.words import capital, number, slug
from lit_xai.reporting.reading import Results


class Path(NamedTuple):
    """The accuracy and the robustness of a regime or a checkpoint over epochs, and the attack."""

    unit: Unit
    seeds: int
    accuracy: Sequence[float]
    robustness: Sequence[float]
    attack: str
    last: int


@styled()
def trained(results: Results) -> list[Plot]:
    """Return a plot for each explanation: validation accuracy against robustness, epoch by epoch.

    Robustness is that under the attack that is the worst in the last epoch; of a regime the mean over its
    seeds is drawn.

    Args:
        results: Of an evaluation; without a log, or a direction of the metric, there are no plots.
    """
    accuracies, found = series(results, "val/accuracy"), units(results)
    plots = []
    for attribution, grid in grids(results).items():
        missing: list[tuple[str, float]] = []
        paths = [_path(results, unit, accuracies, grid, missing) for unit in found]
        kept = [path for path in paths if path is not None]
        if kept:
            plots.append(_plot(results, attribution, grid, kept, missing))
    return plots


def _plot(
    results: Results, attribution: str, grid: Grid, paths: list[Path], missing: list[tuple[str, float]]
) -> Plot:
    spoken = naming(results, spoken=True)
    metric = capital(spoken.metric(grid.metric))
    title = (
        f"{metric} and accuracy while training: {spoken.attribution(attribution)} under the strongest attack"
    )
    told = "; ".join(
        f"{path.unit.spoken(path.seeds)} {number(path.robustness[-1])} under {spoken.attack(path.attack)} at "
        f"a validation accuracy of {path.accuracy[-1]:.3f} in epoch {path.last}"
        for path in paths
    )
    alt = sentences(f"{title}.", f"{told}.", not_drawn(missing), samples_told(grid.counts))
    return Plot(slug("pareto", "epochs", attribution), title, alt, _draw(results, grid.metric, paths))


def _path(
    results: Results,
    unit: Unit,
    accuracies: dict[str, Series],
    grid: Grid,
    missing: list[tuple[str, float]],
) -> Path | None:
    """Return how a unit moved; what has no place in the plot is added to `missing`."""
    direction = results.direction(grid.metric)
    spoken, ends, count = naming(results, spoken=True), {}, 0
    for attack, lines in grid.attacks.items():
        names = [name for name in unit.members if name in lines and name in accuracies]
        if attack == "unattacked" or not names or not direction:
            continue
        count = len({str(unit.seeds[unit.members.index(name)]) for name in names})
        steps = _steps(
            unit, {name: accuracies[name] for name in names}, {name: lines[name] for name in names}
        )
        fine = drawable(steps).all(axis=1)
        for epoch, *pair in steps[~fine]:
            where = f"{unit.spoken(count)}, {spoken.attack(attack)}, in epoch {epoch:g}"
            missing.append((where, next(value for value in pair if not drawable(value))))
        if fine.any():
            ends[attack] = steps[fine]
    if not ends:
        return None
    worst = min(ends, key=lambda attack: (-ends[attack][-1, 0], direction * ends[attack][-1, 2]))
    kept = ends[worst]
    return Path(unit, count, list(kept[:, 1]), list(kept[:, 2]), worst, int(kept[-1, 0]))


def _steps(
    unit: Unit, accuracies: dict[str, Series], lines: dict[str, Series]
) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Return epoch, accuracy and robustness where all members have both, (epochs, 3)."""
    both = [*accuracies.values(), *lines.values()]
    epochs = np.array(sorted(set.intersection(*(set(line.epochs) for line in both))), dtype=np.float64)
    columns = [
        over_seeds(unit, {name: line.values[np.isin(line.epochs, epochs)] for name, line in found.items()})
        for found in (accuracies, lines)
    ]
    return np.stack([epochs, *columns], axis=1)


def _draw(results: Results, metric: str, paths: list[Path]) -> Figure:
    figure, panel = scatter_panel(
        np.concatenate([path.accuracy for path in paths]),
        np.concatenate([path.robustness for path in paths]),
        heading=naming(results).heading(metric),
        below="validation accuracy",
        note="large mark: last epoch",
    )
    for path in paths:
        colour, marker, _ = path.unit.look
        panel.plot(path.accuracy, path.robustness, color=colour, marker=marker, markersize=3.5, linewidth=0.9)
        panel.plot(path.accuracy[-1:], path.robustness[-1:], color=colour, marker=marker, markersize=8)
    name_points(panel, {path.unit.label: (path.accuracy[-1], path.robustness[-1]) for path in paths})
    return figure
