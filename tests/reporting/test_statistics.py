import numpy as np
import pytest
from scipy import stats

from lit_xai.reporting.moments import column_moments, moments
from lit_xai.reporting.statistics import (
    bootstrap_intervals,
    holm,
    mean_interval,
    paired_difference,
    welch_difference,
    wilson_intervals,
)

NAN = float("nan")


def generator(seed=0):
    return np.random.default_rng(seed)


def close(found, expected, tolerance=1e-10):
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_moments_of_groups_are_those_of_numpy():
    values, group = generator().random(50) - 0.3, generator(1).integers(0, 4, 50)
    found = moments(values, group, 5)
    for place in range(4):
        chosen = values[group == place]
        close(found.mean[place], chosen.mean())
        close(found.deviation[place], chosen.std(ddof=1))
        assert found.count[place] == len(chosen)
    assert np.isnan([found.mean[4], found.deviation[4]]).all()
    assert found.count[4] == 0


def test_moments_of_equal_numbers_have_no_rounding():
    found = column_moments(np.full((37, 2), (0.1, -1 / 3)))
    assert found.mean.tolist() == [0.1, -1 / 3]
    assert found.deviation.tolist() == [0, 0]


def test_a_share_is_its_count_over_all():
    correct = generator().random(1000) < 0.8
    assert column_moments(correct).mean[0] == correct.sum() / 1000


def test_an_infinite_score_makes_the_mean_infinite():
    assert column_moments([1.0, np.inf]).mean[0] == np.inf
    assert column_moments([1.0, -np.inf]).mean[0] == -np.inf


@pytest.mark.parametrize("shape", ["exponential", "uniform", "shares"])
def test_bootstrap_intervals_are_those_of_scipy(shape):
    draw = {"exponential": generator().exponential, "uniform": generator().random}
    values = draw[shape](size=(40, 3)) if shape in draw else (generator().random((40, 3)) < 0.2) * 1.0
    low, high = bootstrap_intervals(values, resamples=50_000)
    for column in range(3):
        reference = stats.bootstrap(
            (values[:, column],), np.mean, method="BCa", n_resamples=50_000, rng=generator(1)
        ).confidence_interval
        # Both are drawn: an end has a standard error of about 1.3 % of the mean's own.
        tolerance = 0.06 * values[:, column].std() / 40**0.5
        assert abs(low[column] - reference.low) < tolerance
        assert abs(high[column] - reference.high) < tolerance


def test_bootstrap_intervals_are_corrected_for_skewness():
    values = generator().exponential(size=40)
    drawn = values[generator(1).integers(0, 40, (50_000, 40))].mean(axis=1)
    low, high = bootstrap_intervals(values, resamples=50_000)
    shift = 0.1 * values.std() / 40**0.5
    assert low > np.quantile(drawn, 0.025) + shift
    assert high > np.quantile(drawn, 0.975) + shift


def test_bootstrap_intervals_cover_the_mean_at_their_rate():
    # Skewness 1.5, as of scores with a floor.
    values = generator().beta(0.4, 2, size=(150, 2000))
    low, high = bootstrap_intervals(values, resamples=1000)
    covered = ((low <= 0.4 / 2.4) & (high >= 0.4 / 2.4)).mean()
    assert abs(covered - 0.95) < 3 * (0.95 * 0.05 / 2000) ** 0.5


def test_the_level_is_the_bootstrap_interval_s():
    values = generator().random(30)
    half, whole = bootstrap_intervals(values, level=0.5), bootstrap_intervals(values, level=0.95)
    ratio = (half[1] - half[0]) / (whole[1] - whole[0])
    assert ratio == pytest.approx(stats.norm.ppf(0.75) / stats.norm.ppf(0.975), rel=0.05)


def test_an_interval_depends_on_its_own_scores_only():
    values = generator().exponential(size=(60, 200))
    values[generator(1).random((60, 200)) < 0.2] = NAN
    low, high = bootstrap_intervals(values)
    for column in (0, 7, 199):
        alone = bootstrap_intervals(values[~np.isnan(values[:, column]), column])
        assert (low[column], high[column]) == alone
    again = bootstrap_intervals(values)
    assert low.tobytes() == again[0].tobytes()
    assert high.tobytes() == again[1].tobytes()


def test_the_seed_is_the_bootstrap_s():
    values = generator().random(30)
    assert bootstrap_intervals(values) == bootstrap_intervals(values, seed=0)
    assert bootstrap_intervals(values) != bootstrap_intervals(values, seed=1)


def test_bootstrap_intervals_do_not_depend_on_unit_and_origin():
    values = generator().random(30)
    low, high = bootstrap_intervals(values)
    close(bootstrap_intervals(1000 * values - 7), (1000 * low - 7, 1000 * high - 7), 1e-8)


def test_mirrored_scores_have_mirrored_intervals():
    # Few levels that are no binary fractions: many resampled means equal the mean but for rounding.
    values = generator().integers(0, 8, (20, 50)) / 7
    low, high = bootstrap_intervals(values)
    close(bootstrap_intervals(1 - values), (1 - high, 1 - low), 1e-6)


def test_bootstrap_intervals_without_spread_or_scores():
    values = np.full((5, 6), NAN)
    values[:, 0] = 0.1
    values[:2, 1] = -1 / 3
    values[0, 2] = 1.0
    values[:, 4] = (1, 2, np.inf, 3, 4)
    values[:, 5] = (1, 2, 3, 4, 5)
    low, high = bootstrap_intervals(values)
    np.testing.assert_array_equal(low[:5], [0.1, -1 / 3, NAN, NAN, NAN])
    np.testing.assert_array_equal(high[:5], [0.1, -1 / 3, NAN, NAN, NAN])
    assert 1 < low[5] < 3 < high[5] < 5
    assert all(end.shape == (0,) for end in bootstrap_intervals(np.empty((5, 0))))
    assert np.isnan(bootstrap_intervals(np.empty((0, 3)))).all()


def test_many_samples_are_resampled_in_parts():
    correct = (generator().random(30_000) < 0.3) * 1.0
    low, high = bootstrap_intervals(correct, resamples=400)
    half = 1.96 * (0.3 * 0.7 / 30_000) ** 0.5
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    assert low < correct.mean() < high


def test_intervals_of_means_are_student_s():
    values = generator().random((12, 2))
    low, high = mean_interval(column_moments(values))
    for column in range(2):
        close((low[column], high[column]), stats.ttest_1samp(values[:, column], 0).confidence_interval())
    assert np.isnan(mean_interval(column_moments([1.0]))).all()


def test_paired_difference_is_the_paired_t_test():
    first, second = generator().random((2, 30, 4))
    found = paired_difference(first, second)
    reference = stats.ttest_rel(second, first)
    close(found.statistic, reference.statistic)
    close(found.p, reference.pvalue)
    interval = reference.confidence_interval()
    close((found.low, found.high), (interval.low, interval.high))
    close(found.difference, (second - first).mean(axis=0))
    close(found.effect, (second - first).mean(axis=0) / (second - first).std(axis=0, ddof=1))
    assert found.n.tolist() == [30] * 4


def test_pairs_with_an_undefined_score_are_left_out():
    first, second = generator().random((2, 10))
    first[3], second[5] = NAN, NAN
    kept = np.delete(np.arange(10), [3, 5])
    assert paired_difference(first, second) == paired_difference(first[kept], second[kept])
    assert paired_difference(first, second).n == 8


@pytest.mark.parametrize("size", [1, 2, 150])
def test_equal_scores_show_no_difference(size):
    scores = generator().random(size)
    found = paired_difference(scores, scores)
    assert (found.difference, found.p, found.effect, found.statistic, found.n) == (0, 1, 0, 0, size)


def test_rounding_is_no_difference():
    found = paired_difference(np.full(5, 0.3), np.full(5, 0.1 + 0.2))
    assert (found.difference, found.p, found.effect) == (0, 1, 0)


def test_a_difference_without_spread_is_judged_by_its_sign():
    found = paired_difference(np.zeros(6), np.full(6, -2.0))
    assert (found.difference, found.low, found.high, found.effect) == (-2, -2, -2, -np.inf)
    assert found.p == stats.binomtest(0, 6).pvalue == 2 / 64


def test_too_few_pairs_say_nothing():
    one, none = paired_difference([1.0], [3.0]), paired_difference([NAN], [3.0])
    assert (one.difference, one.n, none.n) == (2, 1, 0)
    assert np.isnan([one.low, one.high, one.p, one.effect]).all()
    assert np.isnan([none.difference, none.low, none.p, none.effect]).all()


def test_a_null_of_skewed_differences_is_rejected_at_the_stated_rate():
    scores = np.minimum(generator().exponential(size=(150, 4000)), 4) / 4
    mean = (1 - np.exp(-4)) / 4
    assert stats.skew(scores.ravel()) == pytest.approx(1.4, abs=0.05)
    p = paired_difference(np.zeros_like(scores), scores - mean).p
    assert abs((p < 0.05).mean() - 0.05) < 3 * (0.05 * 0.95 / 4000) ** 0.5
    small = paired_difference(np.zeros((5, 4000)), scores[:5] - mean).p
    assert (small < 0.05).mean() == pytest.approx(0.11, abs=0.02)


def test_a_null_of_symmetric_differences_is_rejected_at_the_stated_rate_for_few_pairs():
    first, second = generator().beta(2, 5, size=(2, 8, 4000))
    rejected = (paired_difference(first, second).p < 0.05).mean()
    assert abs(rejected - 0.05) < 3 * (0.05 * 0.95 / 4000) ** 0.5


def test_welch_difference_is_welch_s_t_test():
    first, second = generator().random((5, 3)), 2 * generator(1).random((4, 3))
    found = welch_difference(first, second)
    reference = stats.ttest_ind(second, first, equal_var=False)
    close(found.statistic, reference.statistic)
    close(found.p, reference.pvalue)
    interval = reference.confidence_interval()
    close((found.low, found.high), (interval.low, interval.high))
    close(found.difference, second.mean(axis=0) - first.mean(axis=0))
    assert found.n.tolist() == [9] * 3


def test_hedges_g_by_hand():
    # Means 2 and 5, variances 1 and 4, pooled (2 * 1 + 2 * 4) / 4 = 2.5, four degrees of freedom:
    # the factor is Gamma(2) / (sqrt(2) Gamma(3 / 2)) = 0.797885.
    found = welch_difference([1.0, 2.0, 3.0], [3.0, 5.0, 7.0])
    assert found.effect == pytest.approx(3 / 2.5**0.5 * 0.7978845608, rel=1e-9)


def test_hedges_g_is_unbiased():
    first, second = generator().normal(size=(2, 3, 20_000))
    effect = welch_difference(first, second + 1).effect
    assert effect.mean() == pytest.approx(1, abs=4 * effect.std() / 20_000**0.5)


def test_undefined_units_are_left_out():
    assert welch_difference([1.0, NAN, 2.0], [3.0, 5.0]) == welch_difference([1.0, 2.0], [3.0, 5.0])


def test_units_without_spread():
    same = welch_difference([0.1] * 3, [0.1] * 2)
    assert (same.difference, same.p, same.effect, same.low, same.high) == (0, 1, 0, 0, 0)
    apart = welch_difference([1.0] * 3, [2.0] * 2)
    # Two of the ten ways to choose three of five are as far apart.
    assert (apart.difference, apart.p, apart.effect) == (1, pytest.approx(0.2), np.inf)
    # Spread on one side only: 1.5 apart with a standard error of 0.5 and one degree of freedom.
    assert welch_difference([1.0, 1.0], [2.0, 3.0]).p == pytest.approx(2 * stats.t.sf(3, 1))


@pytest.mark.parametrize(
    ("first", "second"), [([1.0], [2.0, 3.0]), ([1.0, 2.0], [NAN, 3.0]), ([], [1.0, 2.0])]
)
def test_one_unit_says_nothing(first, second):
    found = welch_difference(first, second)
    assert np.isnan([found.low, found.high, found.p, found.effect]).all()


def test_holm_by_hand():
    # Ordered 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, then the running maximum.
    close(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    close(holm([0.5, 0.6]), [1.0, 1.0])
    close(holm([0.01, 0.01, 1.0]), [0.03, 0.03, 1.0])


def test_holm_leaves_undefined_tests_out():
    np.testing.assert_allclose(holm([NAN, 0.02, NAN, 0.01]), [NAN, 0.02, NAN, 0.02])
    assert holm([]).shape == (0,)
    assert np.isnan(holm([NAN])).all()


def test_holm_keeps_the_error_of_a_family():
    p = generator().random((2000, 20))
    errors = np.array([(holm(row) < 0.05).any() for row in p]).mean()
    assert abs(errors - 0.05) < 3 * (0.05 * 0.95 / 2000) ** 0.5


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_shares_have_wilson_s_interval(level):
    pairs = [(0, 5), (5, 5), (3, 7), (50, 99), (999, 1000)]
    low, high = wilson_intervals(
        [ones / count for ones, count in pairs], [count for _, count in pairs], level
    )
    expected = [stats.binomtest(ones, count).proportion_ci(level, method="wilson") for ones, count in pairs]
    np.testing.assert_allclose(low, [interval.low for interval in expected], atol=1e-15)
    np.testing.assert_allclose(high, [interval.high for interval in expected], atol=1e-15)
    assert (low[0], high[1]) == (0, 1)
    assert np.isnan(wilson_intervals(NAN, 0)).all()
