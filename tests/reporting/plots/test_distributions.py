import pandas as pd
import pytest

from lit_xai.reporting.plots.distributions import distributions, shown_attacks
from lit_xai.reporting.plots.style import look


def test_the_headline_metric_of_every_explanation_comes_first(results):
    names = [plot.name for plot in distributions(results)]
    assert names[:3] == [
        "distribution-top_k-integrated_gradients",
        "distribution-top_k-saliency",
        "distribution-lens_precision-integrated_gradients",
    ]
    assert len(names) == 10


def test_at_most_twelve_plots(changed, results):
    again = [
        results.samples.assign(metric=[f"{name}{turn}" for name in results.samples["metric"]])
        for turn in "ab"
    ]
    metrics = {f"{name}{turn}": entry for turn in "ab" for name, entry in results.card["metrics"].items()}
    plots = distributions(changed(samples=pd.concat(again), card={**results.card, "metrics": metrics}))
    assert len(plots) == 12


def test_only_the_strongest_of_each_family_where_there_are_many(results):
    shown = ["random_sign_eps_0_2", "top_k_eps_0_2", "exiaa_alpha_0_15_k_0_6"]
    assert shown_attacks(results, "saliency") == shown
    plot = distributions(results)[0]
    texts = [text.get_text() for text in plot.figure.texts if text.get_fontweight() == "bold"]
    assert texts == ["random sign, eps 0.2", "top k, eps 0.2", "eXIAA, alpha 0.15, k 0.6"]
    assert plot.title == "Distribution of top k: integrated gradients, strongest attacks"
    assert ", 3 of 12. " in plot.alt


def test_all_attacks_where_there_are_few_controls_first(changed, results):
    entries = results.card["attacks"]
    kept = ["unattacked", "top_k_eps_0_1", "top_k_eps_0_2", "random_sign_eps_0_1"]
    few = changed(card={**results.card, "attacks": {name: entries[name] for name in kept}})
    assert shown_attacks(few, "saliency") == ["random_sign_eps_0_1", "top_k_eps_0_1", "top_k_eps_0_2"]
    assert distributions(few)[0].title == "Distribution of top k: integrated gradients"


def test_eight_of_many_families_and_all_kinds_of_control(changed, results, mean):
    entries = {name: {**entry, "sweep": None} for name, entry in results.card["attacks"].items()}
    shown = shown_attacks(changed(card={**results.card, "attacks": entries}), "saliency")
    values = {
        name: mean("natural", "saliency", name, "top_k") + mean("pgd", "saliency", name, "top_k")
        for name in entries
        if name.startswith(("top_k", "exiaa"))
    }
    strongest = sorted(values, key=values.get)[:5]
    assert shown[:3] == [f"random_sign_eps_0_{radius}" for radius in ("05", "1", "2")]
    assert set(shown[3:]) == set(strongest)


def test_a_row_has_the_mean_of_its_samples_in_the_colour_of_its_checkpoint(results, mean):
    plot = distributions(results)[1]
    marks = [line for line in plot.figure.axes[0].lines if line.get_markersize() == 6.5]
    expected = [
        mean(checkpoint, "saliency", attack, "top_k")
        for attack in shown_attacks(results, "saliency")
        for checkpoint in ("natural", "pgd")
    ]
    assert [mark.get_xdata()[0] for mark in marks] == pytest.approx(expected)
    assert [mark.get_color() for mark in marks] == [look(0).colour, look(1).colour] * 3
    assert f"natural {expected[0]:.2f} (" in plot.alt
    heights = [mark.get_ydata()[0] for mark in marks]
    assert heights == sorted(heights)


def test_a_constant_metric_has_no_plot(changed, results):
    samples = results.samples.copy()
    samples.loc[samples["metric"] == "top_k", "value"] = 0.5
    samples.loc[samples["metric"] == "change", "value"] = float("nan")
    names = [plot.name for plot in distributions(changed(samples=samples))]
    assert [name for name in names if "-top_k-" in name or "-change-" in name] == []
    assert len(names) == 6


def test_no_samples_no_plots(empty):
    assert distributions(empty) == []
