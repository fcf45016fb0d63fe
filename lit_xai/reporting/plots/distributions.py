"""How the scores of the single samples are distributed."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.density import Floats, draw_scores, quartiles
from lit_xai.reporting.plots.families import attack_label, is_control, metric_heading
from lit_xai.reporting.plots.style import (
    SMALL,
    WIDTH,
    Entry,
    axes_at,
    blank,
    draw_legend,
    legend_rows,
    looks,
    short_tick,
    styled,
    write,
)
from lit_xai.reporting.plots.words import capital, in_words, number, short_names, shortened, slug
from lit_xai.reporting.reading import Results

_MOST_PLOTS = 12
_MOST_ATTACKS = 8
_HEAD, _ROW, _BELOW = 24.0, 17.0, 7.0
_SIDE, _NUMBERS = 8.0, 46.0


class Group(NamedTuple):
    """The scores under an attack, by checkpoint."""

    attack: str
    scores: dict[str, Floats]


@styled()
def distributions(results: Results) -> list[Plot]:
    """Return a plot for each metric and explanation whose scores differ, the headline metric first.

    Of many attacks only the strongest of each family is shown; of many plots the first twelve.

    Args:
        results: Of an evaluation.
    """
    scores = _scores(results)
    attacks = {attribution: shown_attacks(results, attribution) for attribution in results.attributions}
    plots: list[Plot] = []
    for metric in results.metrics:
        for attribution in results.attributions:
            groups = [
                Group(attack, scores.get((attribution, metric, attack), {}))
                for attack in attacks[attribution]
            ]
            groups = [group for group in groups if group.scores]
            if len(plots) < _MOST_PLOTS and _differ(groups):
                plots.append(_plot(results, attribution, metric, groups))
    return plots


def _scores(results: Results) -> dict[tuple[str, str, str], dict[str, Floats]]:
    found: dict[tuple[str, str, str], dict[str, Floats]] = {}
    columns = ["attribution", "metric", "attack", "checkpoint"]
    known = set(results.metrics)
    grouped = results.samples.groupby(columns, observed=True)["value"]
    for key, values in grouped:
        attribution, metric, attack, checkpoint = (str(name) for name in key)
        numbers = values.to_numpy(dtype=np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if metric in known and len(numbers):
            found.setdefault((attribution, metric, attack), {})[checkpoint] = numbers
    return found


def _differ(groups: Sequence[Group]) -> bool:
    ends = [(scores.min(), scores.max()) for group in groups for scores in group.scores.values()]
    return bool(ends) and min(low for low, _ in ends) < max(high for _, high in ends)


def shown_attacks(results: Results, attribution: str) -> list[str]:
    """Return at most eight attacks, controls first: the strongest of each family where there are more.

    Args:
        results: Of an evaluation.
        attribution: Its strongest attack is that with the worst headline metric, averaged over checkpoints.
    """
    attacks = [attack for attack in results.attacks if attack != "unattacked"]
    if len(attacks) > _MOST_ATTACKS:
        families: dict[str, list[str]] = {}
        for attack in attacks:
            family = results.card["attacks"][attack].get("sweep")
            families.setdefault(f"of {family}" if family else attack, []).append(attack)
        weakness = {attack: _weakness(results, attribution, attack) for attack in attacks}
        best = [min(family, key=lambda attack: weakness[attack]) for family in families.values()]
        # All kinds of control come in, then the attacks that did most.
        best.sort(key=lambda attack: (not is_control(results, attack), weakness[attack]))
        kept = set(best[:_MOST_ATTACKS])
        attacks = [attack for attack in attacks if attack in kept]
    return sorted(attacks, key=lambda attack: not is_control(results, attack))


def _weakness(results: Results, attribution: str, attack: str) -> float:
    rows = [results.cell(name, attribution, attack, results.headline) for name in results.checkpoints]
    values = [row["value"] for row in rows if row is not None and np.isfinite(row["value"])]
    return results.direction(results.headline) * float(np.mean(values)) if values else np.inf


def _plot(results: Results, attribution: str, metric: str, groups: Sequence[Group]) -> Plot:
    title = f"Distribution of {in_words(metric)}: {in_words(attribution)}"
    attacks = len(results.attacks) - ("unattacked" in results.attacks)
    if len(groups) < attacks:
        title = f"{title}, strongest attacks"
    names = short_names(results.checkpoints)
    told = " ".join(
        f"{capital(attack_label(results, group.attack))}: "
        + "; ".join(f"{names[name]} {_told(values)}" for name, values in group.scores.items())
        + "."
        for group in groups
    )
    alt = f"{title}, {len(groups)} of {attacks}. Mean and middle half of the samples. {told}"
    return Plot(slug("distribution", metric, attribution), title, alt, _draw(results, metric, groups))


def _told(values: Floats) -> str:
    box = quartiles(values)
    return f"{number(float(values.mean()))} ({number(box.first)} to {number(box.third)})"


def _draw(results: Results, metric: str, groups: Sequence[Group]) -> Figure:
    style, names = looks(results.checkpoints), short_names(results.checkpoints)
    shown = [name for name in results.checkpoints if any(name in group.scores for group in groups)]
    legend = legend_rows([Entry(names[name], style[name].colour, style[name].marker, "-") for name in shown])
    height = sum(_HEAD + _ROW * len(group.scores) + _BELOW for group in groups)
    top = 18 * len(legend) + 26
    figure = blank(top + height + 44)
    draw_legend(figure, legend)
    write(figure, 2, top - 13, metric_heading(results, metric), size=SMALL)
    write(figure, WIDTH - 2, top - 13, "mean", size=SMALL, ha="right", alpha=0.75)
    note = "bar: middle half of the samples · mark: mean"
    write(figure, _SIDE, top + height + 33, note, size=SMALL, alpha=0.75)
    panel = axes_at(figure, _SIDE, top, WIDTH - _SIDE - _NUMBERS, height)
    _set_limits(panel, groups, height)
    largest = max(float(np.abs(values).max()) for group in groups for values in group.scores.values())
    middle = 0.0
    for group in groups:
        label = shortened(attack_label(results, group.attack), 50)
        write(figure, _SIDE, top + middle + 14, label, size=SMALL, weight="bold")
        middle += _HEAD + _ROW / 2
        for name in [name for name in shown if name in group.scores]:
            values = group.scores[name]
            draw_scores(panel, values, middle, style[name])
            mean = number(float(values.mean()), largest)
            write(figure, WIDTH - 2, top + middle, mean, size=SMALL, ha="right")
            middle += _ROW
        middle += _BELOW - _ROW / 2
    return figure


def _set_limits(panel: Axes, groups: Sequence[Group], height: float) -> None:
    ends = [
        end for group in groups for values in group.scores.values() for end in (values.min(), values.max())
    ]
    low, high = float(min(ends)), float(max(ends))
    panel.set_xlim(low - 0.02 * (high - low), high + 0.02 * (high - low))
    panel.set_ylim(height, 0)
    panel.set_yticks([])
    panel.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
    panel.xaxis.set_major_formatter(FuncFormatter(short_tick))
