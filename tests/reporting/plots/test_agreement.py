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
    assert (plot.name, plot.title) == ("agreement", "Agreement of explanations: top k")


def test_a_missing_value_is_left_out_of_the_mean(changed, results):
    frame = pairs(["integrated_gradients", "saliency"])
    frame.loc[frame.sample_id == 1, "value"] = float("nan")
    (plot,) = agreement(changed(agreement=frame))
    assert [text.get_text() for text in plot.figure.axes[0].texts] == ["=", "0.01", "0.10", "="]


def test_the_first_metric_stands_in_for_the_headline_metric(changed):
    frame = pairs(["integrated_gradients", "saliency"], metric="lens_precision")
    assert agreement(changed(agreement=frame))[0].title == "Agreement of explanations: LENS precision"


def test_many_explanations_are_numbered_in_a_plot_for_each_checkpoint(changed, results):
    names = [f"explanation_{letter}" for letter in "abcde"]
    plots = agreement(changed(agreement=pairs(names), card=with_explanations(results, names)))
    assert [plot.name for plot in plots] == ["agreement-natural", "agreement-pgd"]
    panel = plots[0].figure.axes[0]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "2", "3", "4", "5"]
    assert panel.get_yticklabels()[4].get_text() == "explanation e  5"
    # Row 2, column 3.
    assert {text.get_position(): text.get_text() for text in panel.texts}[2, 1] == "0.12"


@pytest.mark.parametrize("names", [[], ["saliency"]])
def test_one_explanation_agrees_with_nothing(changed, results, names):
    assert agreement(changed(agreement=pairs(names), card=with_explanations(results, names))) == []
