import pandas as pd
import pytest

from lit_xai.reporting.plots.chosen import leading_attacks, shown_attacks
from lit_xai.reporting.plots.distributions import distributions
from lit_xai.reporting.plots.style import look


def test_the_headline_metric_of_every_explanation_comes_first(results):
    names = [plot.name for plot in distributions(results)]
    assert names[:3] == [
        "distribution-top_k-integrated_gradients",
        "distribution-top_k-saliency",
        "distribution-lens_precision-integrated_gradients",
    ]
    assert len(names) == 10


def test_every_metric_of_every_explanation_has_a_plot_and_later_ones_are_short(changed, results):
    again = [
        results.samples.assign(metric=[f"{name}{turn}" for name in results.samples["metric"]])
        for turn in "ab"
    ]
    metrics = {f"{name}{turn}": entry for turn in "ab" for name, entry in results.card["metrics"].items()}
    plots = distributions(changed(samples=pd.concat(again), card={**results.card, "metrics": metrics}))
    assert len(plots) == 20
    counts = [sum(text.get_fontweight() == "bold" for text in plot.figure.texts) for plot in plots]
    assert counts == [3] * 4 + [2] * 16
    assert ", 2 of 12. " in plots[4].alt


def test_short_plots_show_the_strongest_control_and_attack(results):
    shown = shown_attacks(results, "saliency")
    assert leading_attacks(results, "saliency", shown) == ["random_sign_eps_0_2", "exiaa_alpha_0_15_k_0_6"]
    assert leading_attacks(results, "saliency", ["top_k_eps_0_1", "top_k_eps_0_2"]) == ["top_k_eps_0_2"]
    assert leading_attacks(results, "saliency", []) == []


def infinite(results, part, value):
    samples = results.samples.copy()
    cell = (samples.metric == "top_k") & (samples.attack == "top_k_eps_0_2") & (samples.checkpoint == "pgd")
    cell &= samples.attribution == "saliency"
    samples.loc[cell[cell].index[:part], "value"] = value
    return samples, int(cell.sum())


@pytest.mark.parametrize(("value", "mean"), [(float("inf"), "\u221e"), (float("-inf"), "\u2212\u221e")])
def test_infinite_scores_are_told_but_not_drawn(changed, results, value, mean):
    samples, count = infinite(results, 3, value)
    plot = distributions(changed(samples=samples))[1]
    assert f"of {count} samples, 3 of them infinite and not drawn" in plot.alt
    assert f"pgd {mean} (" in plot.alt
    texts = [text.get_text() for text in plot.figure.texts]
    assert mean in texts
    assert "bar: middle half · mark: mean · infinite: not drawn" in texts
    # The mean has no mark.
    assert len([line for line in plot.figure.axes[0].lines if line.get_markersize() == 6.5]) == 5


def test_scores_that_are_all_infinite_are_told(changed, results):
    samples, count = infinite(results, None, float("inf"))
    assert f"pgd \u221e of {count} samples, none drawn" in distributions(changed(samples=samples))[1].alt


def test_undefined_scores_count_for_nothing(changed, results):
    samples, count = infinite(results, 2, float("nan"))
    plot = distributions(changed(samples=samples))[1]
    assert f"of {count - 2} samples" in plot.alt.split("Top-k attack")[1].split("pgd")[1]
    assert "infinite" not in plot.alt


def test_seeds_have_the_colour_of_their_regime_and_a_marker_of_their_own(seeds):
    plot = distributions(seeds)[0]
    marks = [line for line in plot.figure.axes[0].lines if line.get_markersize() == 6.5][:7]
    colours = [look(0).colour] * 3 + [look(1).colour] * 3 + [look(2).colour]
    assert [mark.get_color() for mark in marks] == colours
    assert [mark.get_marker() for mark in marks[:6]] == ["o", "s", "^"] * 2
    texts = [text.get_text() for text in plot.figure.texts[:6]]
    assert texts == ["natural", "pgd", "alone", "seed 3", "seed 5", "seed 11"]


def test_only_the_strongest_of_each_family_where_there_are_many(results):
    shown = ["random_sign_eps_0_2", "top_k_eps_0_2", "exiaa_alpha_0_15_k_0_6"]
    assert shown_attacks(results, "saliency") == shown
    plot = distributions(results)[0]
    texts = [text.get_text() for text in plot.figure.texts if text.get_fontweight() == "bold"]
    assert texts == ["random signs, eps 0.2", "top-k attack, eps 0.2", "eXIAA, alpha 0.15, k 0.6"]
    assert plot.title == "Distribution of top-k intersection: integrated gradients, strongest attacks"
    assert ", 3 of 12. " in plot.alt


def test_all_attacks_where_there_are_few_controls_first(changed, results):
    entries = results.card["attacks"]
    kept = ["unattacked", "top_k_eps_0_1", "top_k_eps_0_2", "random_sign_eps_0_1"]
    few = changed(card={**results.card, "attacks": {name: entries[name] for name in kept}})
    assert shown_attacks(few, "saliency") == ["random_sign_eps_0_1", "top_k_eps_0_1", "top_k_eps_0_2"]
    assert distributions(few)[0].title == "Distribution of top-k intersection: integrated gradients"


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
