"""How the scores of the single samples are distributed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.chosen import leading_attacks, shown_attacks
from lit_xai.reporting.plots.density import draw_scores, quartiles
from lit_xai.reporting.plots.naming import isolated, naming
from lit_xai.reporting.plots.style import (
    SMALL,
    WIDTH,
    axes_at,
    blank,
    draw_legend,
    legend_rows,
    short_tick,
    styled,
    write,
)
from lit_xai.reporting.plots.telling import drawable
from lit_xai.reporting.plots.units import Floats, legend, looks, units
from lit_xai.reporting.plots.words import capital, number, short_names, shortened, slug
from lit_xai.reporting.reading import Results

_MOST_COMPLETE = 4
_HEAD, _ROW, _BELOW = 24.0, 17.0, 7.0
_SIDE, _NUMBERS = 8.0, 46.0


class Scores(NamedTuple):
    """The scores of a checkpoint that have a place on an axis, how many have none, and the mean of all."""

    values: Floats
    beyond: int
    mean: float


class Group(NamedTuple):
    """The scores under an attack, by checkpoint."""

    attack: str
    scores: dict[str, Scores]


@styled()
def distributions(results: Results) -> list[Plot]:
    """Return a plot for each metric and explanation whose scores differ, the headline metric first.

    Of many attacks only the strongest of each family is shown; beyond the first four plots only the strongest
    attack and the strongest control.

    Args:
        results: Of an evaluation.
    """
    scores = _scores(results)
    complete = {attribution: shown_attacks(results, attribution) for attribution in results.attributions}
    brief = {name: leading_attacks(results, name, attacks) for name, attacks in complete.items()}
    plots: list[Plot] = []
    for metric in results.metrics:
        for attribution in results.attributions:
            attacks = (complete if len(plots) < _MOST_COMPLETE else brief)[attribution]
            groups = [Group(attack, scores.get((attribution, metric, attack), {})) for attack in attacks]
            groups = [group for group in groups if group.scores]
            if _differ(groups):
                plots.append(_plot(results, attribution, metric, groups))
    return plots


def _scores(results: Results) -> dict[tuple[str, str, str], dict[str, Scores]]:
    found: dict[tuple[str, str, str], dict[str, Scores]] = {}
    columns = ["attribution", "metric", "attack", "checkpoint"]
    known = set(results.metrics)
    grouped = results.samples.groupby(columns, observed=True)["value"]
    for key, values in grouped:
        attribution, metric, attack, checkpoint = (str(name) for name in key)
        if metric not in known:
            continue
        numbers = values.to_numpy(dtype=np.float64)
        numbers = numbers[~np.isnan(numbers)]
        if len(numbers):
            fine = drawable(numbers)
            with np.errstate(invalid="ignore", over="ignore"):
                mean = float(numbers.mean())
            scores = Scores(numbers[fine], int((~fine).sum()), mean)
            found.setdefault((attribution, metric, attack), {})[checkpoint] = scores
    return found


def _differ(groups: Sequence[Group]) -> bool:
    ends = _ends(groups)
    return bool(ends) and min(ends) < max(ends)


def _ends(groups: Sequence[Group]) -> list[float]:
    kept = [scores.values for group in groups for scores in group.scores.values() if len(scores.values)]
    return [float(end) for values in kept for end in (values.min(), values.max())]


def _plot(results: Results, attribution: str, metric: str, groups: Sequence[Group]) -> Plot:
    spoken = naming(results, spoken=True)
    title = f"Distribution of {spoken.metric(metric)}: {spoken.attribution(attribution)}"
    attacks = len(results.attacks) - ("unattacked" in results.attacks)
    if len(groups) < attacks:
        title = f"{title}, strongest attacks"
    names = {name: isolated(label) for name, label in short_names(results.checkpoints).items()}
    told = " ".join(
        f"{capital(spoken.attack(group.attack))}: "
        + "; ".join(f"{names[name]} {_told(scores)}" for name, scores in group.scores.items())
        + "."
        for group in groups
    )
    alt = f"{title}, {len(groups)} of {attacks}. Mean and middle half of the samples. {told}"
    return Plot(slug("distribution", metric, attribution), title, alt, _draw(results, metric, groups))


def _told(scores: Scores) -> str:
    count = len(scores.values) + scores.beyond
    of = f"{count:,} sample{'' if count == 1 else 's'}"
    if not len(scores.values):
        return f"{number(scores.mean)} of {of}, none drawn"
    box = quartiles(scores.values)
    without = f", {scores.beyond:,} of them infinite and not drawn" if scores.beyond else ""
    return f"{number(scores.mean)} ({number(box.first)} to {number(box.third)}) of {of}{without}"


def _draw(results: Results, metric: str, groups: Sequence[Group]) -> Figure:
    style = looks(results)
    shown = [name for name in results.checkpoints if any(name in group.scores for group in groups)]
    entries = legend([unit for unit in units(results) if set(unit.members) & set(shown)])
    rows = legend_rows(entries)
    height = sum(_HEAD + _ROW * len(group.scores) + _BELOW for group in groups)
    top = 18 * len(rows) + 26
    figure = blank(top + height + 44)
    draw_legend(figure, rows)
    words = naming(results)
    write(figure, 2, top - 13, words.heading(metric), size=SMALL)
    write(figure, WIDTH - 2, top - 13, "mean", size=SMALL, ha="right", alpha=0.75)
    write(figure, _SIDE, top + height + 33, _note(groups), size=SMALL, alpha=0.75)
    panel = axes_at(figure, _SIDE, top, WIDTH - _SIDE - _NUMBERS, height)
    _set_limits(panel, groups, height)
    largest = max(abs(end) for end in _ends(groups))
    middle = 0.0
    for group in groups:
        label = shortened(words.attack(group.attack), 50)
        write(figure, _SIDE, top + middle + 14, label, size=SMALL, weight="bold")
        middle += _HEAD + _ROW / 2
        for name in [name for name in shown if name in group.scores]:
            scores = group.scores[name]
            if len(scores.values):
                draw_scores(panel, scores.values, scores.mean, middle, style[name])
            mean = number(scores.mean, largest)
            write(figure, WIDTH - 2, top + middle, mean, size=SMALL, ha="right")
            middle += _ROW
        middle += _BELOW - _ROW / 2
    return figure


def _note(groups: Sequence[Group]) -> str:
    beyond = any(scores.beyond for group in groups for scores in group.scores.values())
    return "bar: middle half · mark: mean" + (" · infinite: not drawn" if beyond else " of the samples")


def _set_limits(panel: Axes, groups: Sequence[Group], height: float) -> None:
    ends = _ends(groups)
    low, high = min(ends), max(ends)
    panel.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    panel.set_ylim(height, 0)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    panel.xaxis.set_major_formatter(FuncFormatter(short_tick))
