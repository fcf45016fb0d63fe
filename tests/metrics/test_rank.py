import math
import re
import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.rank import (
    Kendall,
    Spearman,
    average_ranks,
    kendall,
    lens_kendall,
    lens_spearman,
    spearman,
)
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract

SHAPES = st.tuples(st.just(2), st.integers(1, 4), st.integers(1, 5), st.integers(1, 7))
PRECISION = st.sampled_from([np.float32, np.float64])
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
BOTH = pytest.mark.parametrize(
    ("function", "lens", "metric", "reference"),
    [
        (spearman, lens_spearman, Spearman, scipy.stats.spearmanr),
        (kendall, lens_kendall, Kendall, scipy.stats.kendalltau),
    ],
    ids=["spearman", "kendall"],
)


def smoothed(values, w):
    padded = np.pad(values, w)
    return (
        np.array(
            [
                [padded[row : row + 2 * w + 1, column : column + 2 * w + 1].sum() for column in range(width)]
                for height, width in [values.shape]
                for row in range(height)
            ]
        )
        / (2 * w + 1) ** 2
    )


def correlation(reference, first, second):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(reference(first.ravel(), second.ravel()).statistic)


def assert_equal(found, expected):
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


@BOTH
@pytest.mark.parametrize("w", [0, 1, 2])
def test_metric_equals_scipy_on_summed_magnitudes(model, result, function, lens, metric, reference, w):
    maps = [values.abs().sum(dim=1).numpy() for values in (result.attribution, result.attribution_adv)]
    expected = [
        correlation(reference, smoothed(first, w), smoothed(second, w))
        for first, second in zip(*maps, strict=True)
    ]
    assert_equal(assert_metric_contract(metric(w=w), model, result), expected)


@BOTH
def test_w_changes_the_score(model, result, function, lens, metric, reference):
    plain, smooth = (metric(w=w).scores(model, result, None) for w in (0, 1))
    assert (plain != smooth).all()
    assert torch.equal(metric().scores(model, result, None), plain)


@BOTH
@EXAMPLES
@given(data=st.data(), precision=PRECISION)
def test_equals_scipy_with_ties(function, lens, metric, reference, data, precision):
    tiny = 1e-300 if precision == np.float64 else 1e-40
    elements = st.sampled_from([-2.0, -1.0, -0.0, 0.0, tiny, 2 * tiny, 0.5, 3.0]).map(precision)
    pair = data.draw(arrays(precision, SHAPES, elements=elements))
    expected = [correlation(reference, *rows) for rows in zip(*pair, strict=True)]
    assert_equal(function(*torch.from_numpy(pair)), expected)


@BOTH
@EXAMPLES
@given(data=st.data(), precision=PRECISION, w=st.integers(0, 2))
def test_windowed_equals_scipy_on_the_looped_mean(function, lens, metric, reference, data, precision, w):
    pair = data.draw(arrays(precision, SHAPES, elements=st.integers(-2, 2)))
    expected = [
        math.nan
        if any(values.min() == values.max() for values in rows)
        else correlation(reference, *(smoothed(values.astype(np.float64), w) for values in rows))
        for rows in zip(*pair, strict=True)
    ]
    assert_equal(lens(*torch.from_numpy(pair), w=w), expected)


@BOTH
def test_equals_scipy_on_150528_values_half_of_them_tied(function, lens, metric, reference):
    generator = np.random.default_rng(0)
    first = generator.normal(size=150_528)
    second = 0.5 * first + generator.normal(size=150_528)
    for values in (first, second):
        values[generator.permutation(150_528)[:75_264]] = 0
    pair = torch.from_numpy(np.stack([first, second])).view(2, 1, 224, 672)
    assert_equal(function(*pair), [correlation(reference, first, second)])


@BOTH
def test_samples_do_not_mix(function, lens, metric, reference):
    maps = np.random.default_rng(0).integers(-3, 4, (2, 5, 6, 9)).astype(float)
    expected = [correlation(reference, first, second) for first, second in zip(*maps, strict=True)]
    assert_equal(function(*torch.from_numpy(maps)), expected)


def test_hand_computed_ties():
    first = torch.tensor([[[1.0, 2.0, 2.0, 3.0]]])
    second = torch.tensor([[[1.0, 3.0, 2.0, 4.0]]])
    # Five pairs agree, none disagrees, one is tied in the first map.
    assert kendall(first, second).item() == pytest.approx(5 / math.sqrt(5 * 6), abs=1e-15)
    assert spearman(first, second).item() == pytest.approx(4.5 / math.sqrt(4.5 * 5), abs=1e-15)
    assert average_ranks(first[0]).tolist() == [[1, 2.5, 2.5, 4]]


@BOTH
@pytest.mark.parametrize("pixels", [2, 3, 4, 7, 30, 1000])
def test_a_map_agrees_with_itself_by_exactly_one(function, lens, metric, reference, pixels):
    maps = torch.arange(float(pixels)).view(1, 1, pixels)
    assert 1 - 1e-12 < function(maps, maps).item() <= 1
    assert -1 <= function(maps, -maps).item() < -1 + 1e-12


@BOTH
def test_a_growing_function_changes_nothing(function, lens, metric, reference):
    first, second = torch.from_numpy(np.random.default_rng(1).normal(size=(2, 3, 5, 5)))
    assert torch.equal(function(first.exp(), second**3), function(first, second))


@BOTH
def test_reduce_changes_the_score(model, result, function, lens, metric, reference):
    ways = ["abs_sum", "sum_abs", "sum"]
    scores = [metric(reduce=way).scores(model, result, None) for way in ways]
    for way, found in zip(ways, scores, strict=True):
        maps = (pixel_map(values, way) for values in (result.attribution, result.attribution_adv))
        assert torch.equal(found, function(*maps))
    assert all((scores[a] != scores[b]).all() for a in range(3) for b in range(a))
    assert torch.equal(metric().scores(model, result, None), scores[0])


@BOTH
@pytest.mark.parametrize("w", [0, 1])
def test_a_constant_map_has_no_correlation(function, lens, metric, reference, w):
    constant, varied = torch.full((1, 5, 5), 0.3), torch.arange(25.0).view(1, 5, 5)
    for first, second in [(constant, varied), (varied, constant), (constant, constant)]:
        assert lens(first, second, w=w).isnan().all()


@BOTH
def test_a_map_that_smoothing_makes_constant_has_no_correlation(function, lens, metric, reference):
    first, second = torch.tensor([[[1.0, 2.0]]]), torch.tensor([[[2.0, 1.0]]])
    assert lens(first, second, w=0).item() == pytest.approx(-1, abs=1e-12)
    assert lens(first, second, w=1).isnan().all()


@BOTH
def test_constant_maps_are_left_out_of_the_mean_and_counted(model, result, function, lens, metric, reference):
    attribution = result.attribution.clone()
    attribution[[1, 4]] = 0
    broken = replace(result, attribution=attribution)
    counted = metric(w=1)
    counted.update(model, broken, Noise(0, broken.sample_id))
    defined = metric(w=1).scores(model, result, None)[[0, 2, 3, 5]]
    assert counted.summary().value == pytest.approx(defined.mean().item(), abs=1e-12)
    assert (counted.summary().count, counted.summary().undefined) == (4, 2)


@BOTH
def test_no_samples_give_no_scores(function, lens, metric, reference):
    assert function(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3)).shape == (0,)
    assert lens(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3), w=1).shape == (0,)


@BOTH
def test_refuses_what_does_not_fit(function, lens, metric, reference):
    maps = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        function(maps, maps.view(1, 3, 2))
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        lens(maps, maps.view(1, 3, 2), w=1)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        lens(maps, maps, w=-1)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -3\."):
        metric(w=-3)
    with pytest.raises(ValueError, match="`reduce` as abs_sum or sum_abs or sum, but got max"):
        metric(reduce="max")


@BOTH
@pytest.mark.parametrize("shape", [(2, 6), (2, 1, 2, 3)])
def test_refuses_anything_but_maps_over_pixels(function, lens, metric, reference, shape):
    values = torch.arange(12.0).view(shape)
    message = rf"maps of shape \(N, H, W\), but got {re.escape(str(shape))}"
    with pytest.raises(ValueError, match=message):
        function(values, values)
    with pytest.raises(ValueError, match=message):
        lens(values, values, w=1)


@BOTH
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_maps_that_are_not_finite(function, lens, metric, reference, value):
    maps = torch.arange(18.0).view(3, 2, 3)
    broken = maps.clone()
    broken[1, 1, 2] = value
    for pair in ((broken, maps), (maps, broken)):
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            function(*pair)
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            lens(*pair, w=1)


@BOTH
def test_higher_is_better(function, lens, metric, reference):
    assert metric.higher_is_better is True


@BOTH
@pytest.mark.parametrize("w", [0, 1, 2])
def test_single_precision_keeps_the_ties_of_the_values_it_holds(function, lens, metric, reference, w):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randint(4, (2, 5, 12, 12), generator=generator) * 0.1
    found = lens(*maps.float(), w=w)
    assert torch.equal(found, lens(*maps.float().double(), w=w))
    assert_equal(lens(*maps.float().flip(2, 3), w=w), found.tolist())


@BOTH
def test_refuses_attributions_of_several_channels(function, lens, metric, reference):
    for score in (function, partial(lens, w=1)):
        with pytest.raises(ValueError, match=r"maps of shape \(N, H, W\), but got \(2, 3, 4, 4\)"):
            score(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4))
