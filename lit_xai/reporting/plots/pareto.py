"""What robustness costs in accuracy."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.families import attack_label, metric_heading
from lit_xai.reporting.plots.logged import Grid, Series, grids, series
from lit_xai.reporting.plots.scatter import draw_front, name_points, scatter_panel
from lit_xai.reporting.plots.style import looks, styled
from lit_xai.reporting.plots.words import capital, in_words, number, short_names, slug
from lit_xai.reporting.reading import Results

_STRONGEST = "under the strongest attack"


class Point(NamedTuple):
    """The accuracy and the robustness of a checkpoint, each with its interval, and the attack."""

    accuracy: tuple[float, float, float]
    robustness: tuple[float, float, float]
    attack: str


class Path(NamedTuple):
    """The accuracy and the robustness of a checkpoint over epochs, and the attack."""

    accuracy: Sequence[float]
    robustness: Sequence[float]
    attack: str
    last: int


@styled()
def pareto(results: Results) -> list[Plot]:
    """Return plots of accuracy against robustness, of the checkpoints and then over the epochs.

    Robustness is the headline metric under the strongest attack on each checkpoint; while training, under the
    strongest attack that was logged. A metric without a direction has no strongest attack, and no plot.

    Args:
        results: Of an evaluation.
    """
    found = [_compared(results, attribution) for attribution in results.attributions]
    found += [_trained(results, attribution, grid) for attribution, grid in grids(results).items()]
    return [plot for plot in found if plot is not None]


def front(accuracy: Sequence[float], robustness: Sequence[float], direction: int) -> list[int]:
    """Return the places of the points that no other one beats in both, from the least accurate.

    Args:
        accuracy: Higher is better.
        robustness: Of the same points.
        direction: 1 if higher is better, -1 if lower is.

    Example:
        >>> front([0.9, 0.7, 0.6], [0.2, 0.5, 0.4], direction=1)
        [1, 0]
    """
    order = sorted(range(len(accuracy)), key=lambda place: (-accuracy[place], -direction * robustness[place]))
    best, kept = -np.inf, []
    for place in order:
        if direction * robustness[place] > best:
            best = direction * robustness[place]
            kept.append(place)
    return kept[::-1]


def _compared(results: Results, attribution: str) -> Plot | None:
    points = {}
    for checkpoint in results.checkpoints:
        attack = results.strongest(checkpoint, attribution)
        accuracy = _triple(results, checkpoint, "none", "unattacked", "accuracy")
        if attack is not None and accuracy is not None:
            robustness = _triple(results, checkpoint, attribution, attack, results.headline)
            points[checkpoint] = Point(accuracy, robustness or accuracy, attack)
    if not points:
        return None
    metric, names = capital(in_words(results.headline)), short_names(results.checkpoints)
    title = f"{metric} and accuracy: {in_words(attribution)} {_STRONGEST}"
    told = "; ".join(
        f"{names[name]} {number(point.robustness[0])} under {attack_label(results, point.attack)} at a test "
        f"accuracy of {point.accuracy[0]:.3f}"
        for name, point in points.items()
    )
    return Plot(slug("pareto", attribution), title, f"{title}. {told}.", _draw_points(results, points))


def _triple(results: Results, *cell: str) -> tuple[float, float, float] | None:
    row = results.cell(*cell)
    if row is None or not np.isfinite(row["value"]):
        return None
    return float(row["value"]), float(row["low"]), float(row["high"])


def _draw_points(results: Results, points: dict[str, Point]) -> Figure:
    numbers = np.array([[*point.accuracy, *point.robustness] for point in points.values()])
    several = len(points) > 1
    figure, panel = scatter_panel(
        numbers[:, :3],
        numbers[:, 3:],
        heading=metric_heading(results, results.headline),
        below="test accuracy",
        note="thin line: Pareto front" if several else "",
    )
    style, names = looks(results.checkpoints), short_names(results.checkpoints)
    for name, (accuracy, robustness, _) in points.items():
        colour, marker, _ = style[name]
        bars: dict[str, Any] = {"color": colour, "linewidth": 1.6, "alpha": 0.6, "solid_capstyle": "butt"}
        panel.plot(accuracy[1:], [robustness[0]] * 2, **bars)
        panel.plot([accuracy[0]] * 2, robustness[1:], **bars)
        panel.plot([accuracy[0]], [robustness[0]], color=colour, marker=marker, markersize=8)
    if several:
        direction = results.direction(results.headline)
        kept = front(list(numbers[:, 0]), list(numbers[:, 3]), direction)
        draw_front(panel, list(numbers[kept, 0]), list(numbers[kept, 3]), direction)
    name_points(
        panel, {names[name]: (point.accuracy[0], point.robustness[0]) for name, point in points.items()}
    )
    return figure


def _trained(results: Results, attribution: str, grid: Grid) -> Plot | None:
    accuracies = series(results, "val/accuracy")
    paths = {}
    for checkpoint, accuracy in accuracies.items():
        path = _path(results, checkpoint, accuracy, grid)
        if path is not None:
            paths[checkpoint] = path
    if not paths:
        return None
    metric, names = capital(in_words(grid.metric)), short_names(results.checkpoints)
    title = f"{metric} and accuracy while training: {in_words(attribution)} {_STRONGEST}"
    told = "; ".join(
        f"{names[name]} {number(path.robustness[-1])} under {attack_label(results, path.attack)} at a "
        f"validation accuracy of {path.accuracy[-1]:.3f} in epoch {path.last}"
        for name, path in paths.items()
    )
    figure = _draw_paths(results, grid.metric, paths)
    return Plot(slug("pareto", "epochs", attribution), title, f"{title}. {told}.", figure)


def _path(results: Results, checkpoint: str, accuracy: Series, grid: Grid) -> Path | None:
    """Return how a checkpoint moved, under the attack that is the worst in the last epoch that has both."""
    direction = results.direction(grid.metric)
    known = dict(zip(accuracy.epochs, accuracy.values, strict=True))
    ends = {}
    for attack, lines in grid.attacks.items():
        if attack == "unattacked" or checkpoint not in lines or not direction:
            continue
        pairs = zip(*lines[checkpoint], strict=True)
        steps = [(epoch, known[epoch], value) for epoch, value in pairs if epoch in known]
        steps = [step for step in steps if np.isfinite(step).all()]
        if steps:
            ends[attack] = np.array(steps)
    if not ends:
        return None
    worst = min(ends, key=lambda attack: (-ends[attack][-1, 0], direction * ends[attack][-1, 2]))
    steps_of = ends[worst]
    return Path(list(steps_of[:, 1]), list(steps_of[:, 2]), worst, int(steps_of[-1, 0]))


def _draw_paths(results: Results, metric: str, paths: dict[str, Path]) -> Figure:
    figure, panel = scatter_panel(
        np.concatenate([path.accuracy for path in paths.values()]),
        np.concatenate([path.robustness for path in paths.values()]),
        heading=metric_heading(results, metric),
        below="validation accuracy",
        note="large mark: last epoch",
    )
    style, names = looks(results.checkpoints), short_names(results.checkpoints)
    for name, path in paths.items():
        colour, marker, _ = style[name]
        panel.plot(
            path.accuracy,
            path.robustness,
            color=colour,
            marker=marker,
            markersize=3.5,
            alpha=0.5,
            linewidth=1.4,
        )
        panel.plot(path.accuracy[-1:], path.robustness[-1:], color=colour, marker=marker, markersize=8)
    ends = {names[name]: (path.accuracy[-1], path.robustness[-1]) for name, path in paths.items()}
    name_points(panel, ends)
    return figure
