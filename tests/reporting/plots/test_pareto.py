import itertools

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.plots.pareto import front, pareto
from lit_xai.reporting.plots.style import look

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


def test_no_accuracy_no_plot(empty, changed, results):
    assert pareto(empty) == []
    table = results.table[results.table.metric != "accuracy"]
    training = results.training[results.training.key != "val/accuracy"]
    assert pareto(changed(table=table, training=training)) == []
