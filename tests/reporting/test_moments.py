"""Moments of many groups at once, held against pandas and exact arithmetic."""

import math
import statistics

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.moments import column_moments, moments


def test_unsorted_groups_of_any_size_are_those_of_pandas():
    generator = np.random.default_rng(3)
    group = np.repeat([4, 0, 2, 5], [1, 7, 2, 30])[generator.permutation(40)]
    values = generator.normal(-5, 100, 40)
    found = moments(values, group, 7)
    expected = pd.Series(values).groupby(group).agg(["mean", "std", "count"]).reindex(range(7))
    np.testing.assert_allclose(found.mean, expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(found.deviation, expected["std"], rtol=1e-12)
    assert found.count.tolist() == [7, 0, 2, 0, 1, 30, 0]
    assert np.isnan(found.deviation).tolist() == [False, True, False, True, True, False, True]


def test_a_large_offset_costs_no_digits():
    values = [1e9 + 0.25, 1e9 + 0.5, 1e9 + 1.75]
    found = column_moments(values)
    assert found.mean[0] == statistics.fmean(values)
    assert found.deviation[0] == pytest.approx(statistics.stdev(values), rel=1e-12)


def test_equal_numbers_beside_other_groups_have_no_rounding():
    values = np.array([0.1, 7.0, 0.1, -3.0, 0.1])
    found = moments(values, np.array([1, 0, 1, 0, 1]), 2)
    assert found.mean.tolist() == [2.0, 0.1]
    assert found.deviation.tolist() == [math.sqrt(50), 0.0]


def test_nan_is_left_out_of_its_column_alone():
    columns = np.array([[1.0, np.nan, 4.0], [3.0, np.nan, np.nan], [8.0, np.nan, 6.0]])
    found = column_moments(columns)
    assert found.mean.tolist() == [4.0, pytest.approx(math.nan, nan_ok=True), 5.0]
    np.testing.assert_allclose(found.deviation, pd.DataFrame(columns).std(), rtol=1e-12)
    assert found.count.tolist() == [3, 0, 2]


@pytest.mark.parametrize(("shape", "groups"), [((0,), 1), ((0, 3), 3), ((5, 0), 0)])
def test_nothing_has_no_mean(shape, groups):
    found = column_moments(np.zeros(shape))
    assert found.count.tolist() == [0] * groups
    assert found.mean.shape == found.deviation.shape == (groups,)
    assert np.isnan([found.mean, found.deviation]).all()


@pytest.mark.parametrize(("values", "mean"), [([np.inf, np.inf], np.inf), ([np.inf, -np.inf], np.nan)])
@pytest.mark.filterwarnings("error")
def test_infinite_scores_make_no_noise(values, mean):
    found = column_moments(values)
    np.testing.assert_array_equal([found.mean[0], found.deviation[0]], [mean, np.nan])
    assert found.count[0] == 2
