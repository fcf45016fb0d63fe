import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.plots.agreement import agreement


def pairs(names, checkpoints=("natural", "pgd"), metric="top_k"):
    rows = [
        (checkpoint, first, second, metric, sample, 0.1 * row + 0.01 * column + 0.002 * sample)
        for checkpoint in checkpoints
        for row, first in enumerate(names)
        for column, second in enumerate(names)
        if first != second
        for sample in (0, 1)
    ]
    return pd.DataFrame(rows, columns=["checkpoint", "first", "second", "metric", "sample_id", "value"])


def with_explanations(results, names):
    return {**results.card, "attributions": {name: {} for name in names}}


def test_a_matrix_is_asymmetric_and_the_first_of_a_pair_is_its_row(results):
    (plot,) = agreement(results)
    frame = results.agreement
    cell = (frame.checkpoint == "pgd") & (frame["first"] == "saliency") & (frame.metric == "top_k")
    expected = frame[cell]["value"].mean()
    other = frame[(frame.checkpoint == "pgd") & (frame["first"] != "saliency") & (frame.metric == "top_k")][
        "value"
    ].mean()
    texts = [text.get_text() for text in plot.figure.axes[1].texts]
    assert texts == ["=", f"{other:.2f}", f"{expected:.2f}", "="]
    assert f"{expected:.2f} (saliency, integrated gradients)" in plot.alt
    assert (plot.name, plot.title) == ("agreement", "Agreement of explanations: top-k intersection")


def test_a_missing_value_is_left_out_of_the_mean(changed, results):
    frame = pairs(["integrated_gradients", "saliency"])
    frame.loc[frame.sample_id == 1, "value"] = float("nan")
    (plot,) = agreement(changed(agreement=frame))
    assert [text.get_text() for text in plot.figure.axes[0].texts] == ["=", "0.01", "0.10", "="]


def test_the_first_metric_stands_in_for_the_headline_metric(changed):
    frame = pairs(["integrated_gradients", "saliency"], metric="lens_precision")
    assert agreement(changed(agreement=frame))[0].title == "Agreement of explanations: LENS precision"


def test_many_explanations_have_letters_in_a_plot_for_each_checkpoint(changed, results):
    names = [f"explanation_{letter}" for letter in "abcde"]
    plots = agreement(changed(agreement=pairs(names), card=with_explanations(results, names)))
    assert [plot.name for plot in plots] == ["agreement-natural", "agreement-pgd"]
    panel = plots[0].figure.axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["A", "B", "C", "D", "E"]
    assert panel.get_yticklabels()[4].get_text() == "explanation e  E"
    # Row 2, column 3.
    assert {text.get_position(): text.get_text() for text in panel.texts}[2, 1] == "0.12"


def test_two_explanations_have_their_full_names(results):
    (plot,) = agreement(results)
    panel = plot.figure.axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["integrated\ngradients", "saliency"]
    assert [label.get_text() for label in panel.get_yticklabels()] == ["integrated gradients", "saliency"]


def test_letters_go_on_after_z(changed, results):
    names = [f"explanation_{place}" for place in range(28)]
    plot = agreement(changed(agreement=pairs(names, ("pgd",)), card=with_explanations(results, names)))[0]
    labels = [label.get_text() for label in plot.figure.axes[0].get_xticklabels()]
    assert labels[0] == "A"
    assert labels[24:] == ["Y", "Z", "AA", "AB"]


@pytest.mark.parametrize(("value", "sign"), [(np.inf, "\u221e"), (-np.inf, "\u2212\u221e")])
def test_an_infinite_mean_is_told(changed, value, sign):
    frame = pairs(["integrated_gradients", "saliency"])
    frame.loc[(frame["first"] == "saliency") & (frame.checkpoint == "pgd"), "value"] = value
    (plot,) = agreement(changed(agreement=frame))
    assert [text.get_text() for text in plot.figure.axes[1].texts] == ["=", "0.01", sign, "="]
    assert "Not drawn: pgd, saliency and integrated gradients (" in plot.alt
    assert "pgd: 0.01 (integrated gradients, saliency)." in plot.alt
    assert agreement(changed(agreement=frame.assign(value=value))) == []


def test_seeds_are_averaged(seeds):
    (plot,) = agreement(seeds)
    frame = seeds.agreement
    cell = frame.checkpoint.isin(["pgd_3", "pgd_5", "pgd_11"]) & (frame["first"] == "saliency")
    value = (
        frame[cell & (frame.metric == "top_k")].groupby("checkpoint", observed=True)["value"].mean().mean()
    )
    assert plot.figure.axes[1].texts[2].get_text() == f"{value:.2f}"
    assert len(plot.figure.axes) == 3
    assert "pgd (mean of 3 seeds): from" in plot.alt
    assert plot.alt.endswith("Means of 12 samples.")


@pytest.mark.parametrize("names", [[], ["saliency"]])
def test_one_explanation_agrees_with_nothing(changed, results, names):
    assert agreement(changed(agreement=pairs(names), card=with_explanations(results, names))) == []
