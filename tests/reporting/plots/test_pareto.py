import itertools

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.plots.pareto import front, pareto
from lit_xai.reporting.plots.style import look
from lit_xai.reporting.plots.units import Means, units
from lit_xai.reporting.plots.words import number

CELL = "robustness/saliency"


def marks(panel):
    return [
        (line.get_color(), line.get_marker(), line.get_xdata()[0], line.get_ydata()[0])
        for line in panel.lines
        if line.get_markersize() == 8 and line.get_marker() != "None"
    ]


@pytest.mark.parametrize("direction", [1, -1])
def test_a_front_is_what_no_other_point_beats(direction):
    generator = np.random.default_rng(0)
    accuracy, robustness = generator.random((2, 40)).round(1)
    kept = front(accuracy, robustness, direction)
    expected = set()
    for point in zip(accuracy, direction * robustness, strict=True):
        others = zip(accuracy, direction * robustness, strict=True)
        if not any(a >= point[0] and r >= point[1] and (a, r) != point for a, r in others):
            expected.add(point)
    assert {(accuracy[place], direction * robustness[place]) for place in kept} == expected
    assert all(accuracy[a] < accuracy[b] for a, b in itertools.pairwise(kept))


def test_a_point_is_accuracy_and_robustness_under_the_strongest_attack(results, mean):
    plots = pareto(results)
    assert [plot.name for plot in plots] == [
        "pareto-integrated_gradients",
        "pareto-saliency",
        "pareto-epochs-integrated_gradients",
    ]
    attack = "exiaa_alpha_0_15_k_0_6"
    expected = [
        (
            *look(place)[:2],
            mean(name, "none", "unattacked", "accuracy"),
            mean(name, "saliency", attack, "top_k"),
        )
        for place, name in enumerate(("natural", "pgd"))
    ]
    assert marks(plots[1].figure.axes[0]) == expected
    assert f"natural {expected[0][3]:.2f} under eXIAA, alpha 0.15, k 0.6 at a test accuracy" in plots[1].alt
    assert [text.get_text() for text in plots[1].figure.axes[0].texts] == ["natural", "pgd"]


def test_intervals_are_bars(results, mean):
    panel = pareto(results)[1].figure.axes[0]
    across, up = panel.lines[:2]
    accuracy = ("natural", "none", "unattacked", "accuracy")
    robust = ("natural", "saliency", "exiaa_alpha_0_15_k_0_6", "top_k")
    assert list(across.get_xdata()) == [mean(*accuracy, "low"), mean(*accuracy, "high")]
    assert list(up.get_ydata()) == [mean(*robust, "low"), mean(*robust, "high")]


def test_a_path_is_that_under_the_attack_that_ends_worst(changed):
    rows = [("natural", epoch, "val/accuracy", 0.5 + 0.1 * epoch) for epoch in (1, 2, 3)]
    logged = {"unattacked": (0.0, 0.0), "a": (0.1, 0.6), "b": (0.9, 0.4), "c": (0.9, 0.5)}
    for attack, values in logged.items():
        rows += [
            ("natural", epoch, f"{CELL}/{attack}/top_k", value)
            for epoch, value in zip((1, 2), values, strict=True)
        ]
    log = pd.DataFrame(rows, columns=["checkpoint", "epoch", "key", "value"])
    plot = pareto(changed(training=log))[-1]
    path, last = plot.figure.axes[0].lines
    assert path.get_xdata() == pytest.approx([0.6, 0.7])
    assert list(path.get_ydata()) == [0.9, 0.4]
    assert (last.get_xdata()[0], last.get_ydata()[0]) == (0.7, 0.4)
    assert plot.alt.endswith("natural 0.40 under b at a validation accuracy of 0.700 in epoch 2.")


def test_a_metric_without_a_direction_has_no_strongest_attack(changed, results):
    metrics = {"top_k": {"higher_is_better": None}}
    assert pareto(changed(card={**results.card, "metrics": metrics})) == []


def test_lower_may_be_better(changed, results, mean):
    metrics = {"change": results.card["metrics"]["change"]}
    plot = pareto(changed(card={**results.card, "metrics": metrics}))[0]
    worst = mean("natural", "integrated_gradients", "exiaa_alpha_0_15_k_0_6", "change")
    assert marks(plot.figure.axes[0])[0][3] == worst


def test_a_regime_is_one_point_with_its_seeds_beside(seeds):
    plot = pareto(seeds)[0]
    panel = plot.figure.axes[0]
    means, found = Means(seeds), units(seeds)
    accuracies = [means.of(unit, "none", "unattacked", "accuracy") for unit in found]
    robust = [means.strongest(unit, "integrated_gradients")[0] for unit in found]
    places = [(x.value, y.value) for x, y in zip(accuracies, robust, strict=True)]
    assert [mark[2:] for mark in marks(panel)] == places
    small = [line for line in panel.lines if line.get_markersize() == 4.5]
    assert [(line.get_color(), line.get_marker()) for line in small] == [
        (look(place).colour, marker) for place in (0, 1) for marker in "os^"
    ]
    first = seeds.cell("natural_3", "none", "unattacked", "accuracy")["value"]
    assert small[0].get_xdata()[0] == first
    bars = [tuple(line.get_ydata()) for line in panel.lines if line.get_linewidth() == 1.2]
    assert (robust[0].low, robust[0].high) in bars
    assert [text.get_text() for text in panel.texts] == ["natural", "pgd", "alone"]
    assert f"natural (mean of 3 seeds) {number(robust[0].value)} ({number(robust[0].low)} to" in plot.alt
    corners = panel.lines[-1].get_xdata()
    assert set(corners[1:]) <= {x for x, _ in places}


@pytest.mark.parametrize("column", ["value", "low", "high"])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_only_finite_points_are_drawn(changed, results, column, value):
    table = results.table.copy()
    cell = (table.checkpoint == "natural") & (table.attribution == "saliency") & (table.metric == "top_k")
    table.loc[cell, column] = value
    plot = pareto(changed(table=table))[1]
    assert len(marks(plot.figure.axes[0])) == (1 if column == "value" else 2)
    lost = column == "value" and not np.isnan(value)
    assert ("Not drawn: natural under " in plot.alt) == lost
    bars = [line for line in plot.figure.axes[0].lines if line.get_linewidth() == 1.2]
    assert len(bars) == (2 if column == "value" else 3)


def test_names_do_not_lie_on_intervals(changed, results):
    table = results.table.copy()
    cells = {"natural": (0.8, 0.50, 0.52), "pgd": (0.9, 0.513, 0.6)}
    for name, (accuracy, value, high) in cells.items():
        own = table.checkpoint == name
        table.loc[own & (table.metric == "accuracy"), ["value", "low", "high"]] = accuracy, 0.7, 1.0
        table.loc[own & (table.metric == "top_k"), ["value", "low", "high"]] = value, 0.3, high
    panel = pareto(changed(table=table))[0].figure.axes[0]
    assert panel.texts[0].xyann[1] == -11


def test_an_accuracy_without_a_place_is_told(changed, results):
    table = results.table.copy()
    table.loc[(table.checkpoint == "natural") & (table.metric == "accuracy"), "value"] = np.inf
    assert "Not drawn: natural for its accuracy (infinite)." in pareto(changed(table=table))[1].alt


def test_numbers_of_samples_stand_beside(results):
    counts = results.table[(results.table.metric == "top_k") & (results.table.attribution == "saliency")]
    counts = sorted(counts[counts.attack == "exiaa_alpha_0_15_k_0_6"]["count"])
    words = f"Robustness is of {counts[0]} to {counts[1]} samples. Accuracy is of 400 samples."
    assert pareto(results)[1].alt.endswith(words)


def test_no_accuracy_no_plot(empty, changed, results):
    assert pareto(empty) == []
    table = results.table[results.table.metric != "accuracy"]
    training = results.training[results.training.key != "val/accuracy"]
    assert pareto(changed(table=table, training=training)) == []
