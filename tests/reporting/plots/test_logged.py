import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lit_xai.reporting.plots.logged import grids, series

CELL = "robustness/ig/top_k"


def log(*rows):
    return pd.DataFrame(rows, columns=["checkpoint", "epoch", "key", "value"])


def test_a_series_has_the_last_value_of_an_epoch_in_order(changed):
    rows = [("pgd", 2, "a", 0.2), ("pgd", 1, "a", 0.1), ("pgd", 2, "a", 0.3), ("natural", 1, "b", 0.9)]
    found = series(changed(training=log(*rows)), "a")
    assert list(found) == ["pgd"]
    assert found["pgd"].epochs.tolist() == [1, 2]
    assert found["pgd"].values.tolist() == [0.1, 0.3]
    assert np.isnan(found["pgd"].reach).all()


def test_the_interval_is_that_of_the_scores_of_its_checkpoint_and_epoch(changed):
    scores = np.array([0.1, 0.4, 0.2, 0.9, 0.3])
    rows = [("pgd", 1, "a", 0.1), ("pgd", 2, "a", scores.mean()), ("natural", 2, "a", 0.3)]
    errors = [("natural", 2, "a_stderr", 0.03), ("pgd", 2, "a_stderr", stats.sem(scores))]
    counts = [(name, epoch, "a_count", 5.0) for name, epoch in (("natural", 1), ("pgd", 1), ("pgd", 2))]
    found = series(changed(training=log(*rows, *errors, *counts)), "a")
    low, high = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert found["pgd"].reach[1] == pytest.approx((high - low) / 2)
    # Unknown without both numbers.
    assert np.isnan([found["pgd"].reach[0], found["natural"].reach[0]]).all()


def test_a_grid_is_that_of_the_headline_metric(results):
    assert {name: (grid.metric, list(grid.attacks)) for name, grid in grids(results).items()} == {
        "integrated_gradients": ("top_k", ["random_sign", "top_k"])
    }


def test_another_metric_stands_in_but_no_companion_number(changed):
    rows = [
        ("pgd", 1, f"{CELL}/{name}", 0.5)
        for name in ("failed", "excluded", "diverse_count", "own", "own_kept", "own_stderr")
    ]
    assert grids(changed(training=log(*rows)))["ig"].metric == "diverse_count"
    assert grids(changed(training=log(*rows[:2], *rows[3:])))["ig"].metric == "own"
    assert grids(changed(training=log(*rows[:2]))) == {}


def test_a_metric_of_the_card_comes_before_one_that_is_logged_earlier(changed):
    rows = [("pgd", 1, f"{CELL}/{name}", 0.5) for name in ("own", "change", "lens_precision")]
    assert grids(changed(training=log(*rows)))["ig"].metric == "lens_precision"


def test_other_keys_are_no_grid(changed):
    rows = [
        ("pgd", 1, "robustness/time_share", 0.5),
        ("pgd", 1, "val/a/b/c", 0.5),
        ("other", 1, f"{CELL}/top_k", 1.0),
    ]
    assert grids(changed(training=log(*rows))) == {}
