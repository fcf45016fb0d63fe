"""What robustness costs in accuracy."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.naming import Naming, naming
from lit_xai.reporting.plots.scatter import draw_front, name_points, scatter_panel
from lit_xai.reporting.plots.style import Look, styled
from lit_xai.reporting.plots.telling import drawable, not_drawn, samples_told, sentences
from lit_xai.reporting.plots.trained import trained
from lit_xai.reporting.plots.units import Mean, Means, Unit, looks, units
from lit_xai.reporting.plots.words import capital, number, slug
from lit_xai.reporting.reading import Results

_STRONGEST = "under the strongest attack"
_ACCURACY = ("none", "unattacked", "accuracy")
_THIN, _SMALL, _LARGE = 1.2, 4.5, 8.0


class Point(NamedTuple):
    """Where a regime or a checkpoint stands.

    Attributes:
        unit: What it is.
        accuracy: On the test images.
        robustness: Under the strongest attack.
        attacks: The strongest one on each checkpoint.
        seeds: Accuracy and robustness of each checkpoint of a regime.
    """

    unit: Unit
    accuracy: Mean
    robustness: Mean
    attacks: dict[str, str]
    seeds: dict[str, tuple[float, float]]


@styled()
def pareto(results: Results) -> list[Plot]:
    """Return plots of accuracy against robustness, of the checkpoints and then over the epochs.

    Robustness is the headline metric under the strongest attack on each checkpoint; while training, under the
    strongest attack that was logged. A regime with several seeds is one point, the mean over them. A metric
    without a direction has no strongest attack, and no plot.

    Args:
        results: Of an evaluation.
    """
    found, means = units(results), Means(results)
    plots = [_compared(results, found, means, attribution) for attribution in results.attributions]
    return [plot for plot in plots if plot is not None] + trained(results)


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


def _compared(results: Results, found: list[Unit], means: Means, attribution: str) -> Plot | None:
    known = [_point(results, unit, means, attribution) for unit in found]
    points = [point for point in known if point is not None]
    shown = [point for point in points if drawable((point.accuracy.value, point.robustness.value)).all()]
    if not shown:
        return None
    spoken = naming(results, spoken=True)
    metric = capital(spoken.metric(results.headline))
    title = f"{metric} and accuracy: {spoken.attribution(attribution)} {_STRONGEST}"
    told = "; ".join(_told(point, spoken) for point in shown)
    missing = [
        (f"{point.unit.spoken(mean.seeds)} {where}", mean.value)
        for point in points
        for where, mean in ((_under(point, spoken), point.robustness), ("for its accuracy", point.accuracy))
        if not drawable(mean.value)
    ]
    robust = [
        count
        for point in shown
        for name, attack in point.attacks.items()
        for count in means.samples([name], attribution, attack, results.headline)
    ]
    accurate = [count for point in shown for count in means.samples(point.unit.members, *_ACCURACY)]
    samples = (samples_told(robust, "Robustness is of"), samples_told(accurate, "Accuracy is of"))
    alt = sentences(f"{title}.", f"{told}.", not_drawn(missing), *samples)
    return Plot(slug("pareto", attribution), title, alt, _draw(results, shown))


def _point(results: Results, unit: Unit, means: Means, attribution: str) -> Point | None:
    found, accuracy = means.strongest(unit, attribution), means.of(unit, *_ACCURACY)
    if found is None or accuracy is None:
        return None
    robustness, attacks = found
    seeds = {}
    for name in attacks if unit.group is not None else ():
        rows = (
            results.cell(name, *_ACCURACY),
            results.cell(name, attribution, attacks[name], results.headline),
        )
        place = [float(row["value"]) for row in rows if row is not None]
        if len(place) == 2 and drawable(place).all():
            seeds[name] = (place[0], place[1])
    return Point(unit, accuracy, robustness, attacks, seeds)


def _under(point: Point, spoken: Naming) -> str:
    attacks = list(dict.fromkeys(point.attacks.values()))
    words = spoken.attack(attacks[0]) if len(attacks) == 1 else "the strongest attack on each seed"
    return f"under {words}"


def _told(point: Point, spoken: Naming) -> str:
    """Return a point in words; over seeds it has its intervals, which are those of the seeds."""
    accuracy, robustness = point.accuracy, point.robustness
    texts = [number(robustness.value), f"{accuracy.value:.3f}"]
    if point.unit.group is not None:
        texts[0] += f" ({number(robustness.low)} to {number(robustness.high)})"
        texts[1] += f" ({accuracy.low:.3f} to {accuracy.high:.3f})"
    label = point.unit.spoken(robustness.seeds)
    return f"{label} {texts[0]} {_under(point, spoken)} at a test accuracy of {texts[1]}"


def _draw(results: Results, points: list[Point]) -> Figure:
    seeds = [place for point in points for place in point.seeds.values()]
    across = [end for point in points for end in point.accuracy[:3]] + [place[0] for place in seeds]
    up = [end for point in points for end in point.robustness[:3]] + [place[1] for place in seeds]
    several = len(points) > 1
    notes = ["small: seeds"] * bool(seeds) + ["grey line: Pareto front"] * several
    figure, panel = scatter_panel(
        np.array([end for end in across if drawable(end)]),
        np.array([end for end in up if drawable(end)]),
        heading=naming(results).heading(results.headline),
        below="test accuracy",
        note=" · ".join(notes),
    )
    style = looks(results)
    for point in points:
        _mark(panel, point, style)
    if several:
        direction = results.direction(results.headline)
        accuracy = [point.accuracy.value for point in points]
        robustness = [point.robustness.value for point in points]
        kept = front(accuracy, robustness, direction)
        draw_front(
            panel, [accuracy[place] for place in kept], [robustness[place] for place in kept], direction
        )
    places = {point.unit.label: (point.accuracy.value, point.robustness.value) for point in points}
    name_points(panel, places, [(point.accuracy[:3], point.robustness[:3]) for point in points])
    return figure


def _mark(panel: Axes, point: Point, style: dict[str, Look]) -> None:
    colour, marker, _ = point.unit.look
    (across, *wide), (up, *high) = point.accuracy[:3], point.robustness[:3]
    if drawable(wide).all():
        panel.plot(wide, [up] * 2, color=colour, linewidth=_THIN, solid_capstyle="butt")
    if drawable(high).all():
        panel.plot([across] * 2, high, color=colour, linewidth=_THIN, solid_capstyle="butt")
    for name, (x, y) in point.seeds.items():
        panel.plot([x], [y], color=colour, marker=style[name].marker, markersize=_SMALL)
    panel.plot([across], [up], color=colour, marker=marker, markersize=_LARGE)
