import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.plots.trained import trained

CELL = "robustness/saliency"


def log(*rows):
    return pd.DataFrame(rows, columns=["checkpoint", "epoch", "key", "value"])


def test_a_regime_moves_as_the_mean_of_its_seeds(seeds):
    (plot,) = trained(seeds)
    rows = seeds.training[seeds.training.epoch == 3]
    own = rows[rows.checkpoint.str.startswith("pgd_")]
    accuracy = own[own.key == "val/accuracy"].value.mean()
    robustness = own[own.key == "robustness/integrated_gradients/random_sign/top_k"].value.mean()
    ends = [line for line in plot.figure.axes[0].lines if line.get_markersize() == 8]
    assert len(ends) == 3
    assert (ends[1].get_xdata()[0], ends[1].get_ydata()[0]) == pytest.approx((accuracy, robustness))
    assert "pgd (mean of 3 seeds) " in plot.alt
    assert plot.alt.endswith("Means of 60 samples.")


def test_epochs_that_a_seed_lacks_are_left_out(changed, seeds):
    training = seeds.training
    training = training[(training.checkpoint != "natural_5") | (training.epoch < 3)]
    (plot,) = trained(changed(card=seeds.card, training=training))
    path = plot.figure.axes[0].lines[0]
    assert len(path.get_xdata()) == 2
    assert "in epoch 2; pgd" in plot.alt


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_what_has_no_place_is_told(changed, value):
    rows = [("pgd", epoch, "val/accuracy", 0.5) for epoch in (1, 2, 3)]
    rows += [("pgd", epoch, f"{CELL}/a/top_k", found) for epoch, found in ((1, 0.3), (2, value), (3, 0.2))]
    (plot,) = trained(changed(training=log(*rows)))
    assert plot.figure.axes[0].lines[0].get_ydata() == pytest.approx([0.3, 0.2])
    assert "Not drawn: pgd, a, in epoch 2 (" in plot.alt


def test_nothing_finite_no_plot(changed):
    rows = [("pgd", 1, "val/accuracy", np.inf), ("pgd", 1, f"{CELL}/a/top_k", 0.5)]
    assert trained(changed(training=log(*rows))) == []
