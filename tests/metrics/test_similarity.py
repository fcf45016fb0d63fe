import math
import warnings
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import scipy.spatial.distance
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.similarity import Cosine, Pearson, cosine, pearson
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract

EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
ROWS, SIDE = st.integers(1, 3), st.integers(1, 4)
SHAPES = st.one_of(
    st.tuples(st.just(2), ROWS, st.just(1), st.integers(1, 9)),
    st.tuples(st.just(2), ROWS, SIDE, SIDE),
    st.tuples(st.just(2), ROWS, st.integers(1, 3), SIDE, SIDE),
)
VALUES = [-2.0, -1.0, -0.0, 0.0, 0.5, 1.0, 3.0]


def fractions(values):
    return [Fraction(float(value)) for value in values.flat]


def exact_cosine(first, second):
    """The cosine from exact sums of exact products: only the last root is rounded."""
    product, own, other = (
        sum(a * b for a, b in zip(*pair, strict=True))
        for pair in ((first, second), (first, first), (second, second))
    )
    return math.copysign(math.sqrt(product**2 / (own * other)), product) if own and other else math.nan


def loop_cosine(first, second):
    return exact_cosine(fractions(first), fractions(second))


def loop_pearson(first, second):
    centred = []
    for values in (fractions(first), fractions(second)):
        mean = sum(values) / len(values)
        centred.append([value - mean for value in values])
    return exact_cosine(*centred)


def scipy_cosine(first, second):
    return 1 - scipy.spatial.distance.cosine(first.ravel(), second.ravel())


def scipy_pearson(first, second):
    return scipy.stats.pearsonr(first.ravel(), second.ravel()).statistic


BOTH = pytest.mark.parametrize(
    ("function", "metric", "loop", "reference", "reduce"),
    [
        (cosine, Cosine, loop_cosine, scipy_cosine, None),
        (pearson, Pearson, loop_pearson, scipy_pearson, "abs_sum"),
    ],
    ids=["cosine", "pearson"],
)


def assert_equal(found, expected):
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)


def maps_of(result, reduce):
    maps = (result.attribution, result.attribution_adv)
    return maps if reduce is None else tuple(pixel_map(values, reduce) for values in maps)


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


@BOTH
@EXAMPLES
@given(data=st.data(), precision=st.sampled_from([np.float32, np.float64]))
def test_equals_the_loop(function, metric, loop, reference, reduce, data, precision):
    # Their squares underflow, in single precision already those of the first.
    tiny = [1e-30, 2e-30, -1e-30] if precision == np.float32 else [1e-200, 2e-200, -1e-200, 3e-308]
    elements = st.sampled_from(data.draw(st.sampled_from([VALUES, tiny, [*tiny, 0.0], [*tiny, *VALUES]])))
    pair = data.draw(arrays(precision, SHAPES, elements=elements.map(precision)))
    found = function(*torch.from_numpy(pair))
    assert_equal(found, [loop(*rows) for rows in zip(*pair, strict=True)])
    assert found[~found.isnan()].abs().le(1).all()


@BOTH
@EXAMPLES
@given(pair=arrays(np.float64, SHAPES, elements=st.sampled_from(VALUES)))
def test_equals_scipy(function, metric, loop, reference, reduce, pair):
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        # SciPy refuses to correlate single values.
        expected = [
            reference(*rows) if rows[0].size > 1 or function is cosine else math.nan
            for rows in zip(*pair, strict=True)
        ]
    assert_equal(function(*torch.from_numpy(pair)), expected)


@BOTH
def test_metric_equals_scipy(model, result, function, metric, loop, reference, reduce):
    maps = (values.numpy() for values in maps_of(result, reduce))
    expected = [reference(*rows) for rows in zip(*maps, strict=True)]
    assert_equal(assert_metric_contract(metric(), model, result), expected)


def test_the_angle_is_between_all_values_of_all_channels():
    first, second = torch.zeros(2, 1, 2, 1, 2)
    first[0, 0, 0, 0], second[0, 0, 0, 0], second[0, 1, 0, 1] = 2, 3, -4
    assert cosine(first, second).item() == pytest.approx(0.6, abs=1e-15)


@BOTH
@EXAMPLES
@given(pair=arrays(np.float64, SHAPES, elements=st.integers(-3, 3)), power=st.integers(-600, 600))
def test_scale_changes_nothing_but_the_sign(function, metric, loop, reference, reduce, pair, power):
    first, second = torch.from_numpy(pair)
    before = function(first, second)
    assert_equal(function(first * 2.0**power, second * 0.3), before.tolist())
    assert_equal(function(-first, second * 7), (-before).tolist())


@EXAMPLES
@given(pair=arrays(np.float64, SHAPES, elements=st.integers(-3, 3)))
def test_shift_changes_nothing_for_pearson(pair):
    first, second = torch.from_numpy(pair)
    assert_equal(pearson(first + 3.25, second - 100.5), pearson(first, second).tolist())


def test_shift_changes_the_cosine():
    first, second = torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, 1.0]])
    assert cosine(first, second).item() == 0
    assert cosine(first + 1, second).item() == pytest.approx(math.sqrt(0.5), abs=1e-15)


@BOTH
def test_a_map_agrees_with_itself_by_exactly_one(function, metric, loop, reference, reduce):
    maps = torch.from_numpy(np.random.default_rng(0).normal(size=(200, 3, 5)))
    for same, sign in ((maps, 1), (3 * maps, 1), (-0.1 * maps, -1)):
        found = sign * function(maps, same)
        assert ((found > 1 - 1e-12) & (found <= 1)).all()


@BOTH
def test_a_map_of_zeros_is_undefined(function, metric, loop, reference, reduce):
    zeros, varied = torch.zeros(1, 2, 3), torch.arange(6.0).view(1, 2, 3)
    for first, second in [(zeros, varied), (varied, zeros), (zeros, zeros)]:
        assert function(first, second).isnan().all()


@pytest.mark.parametrize("value", [0.3, -0.1, 1e-30, 1e30])
def test_a_constant_map_has_a_direction_but_no_correlation(value):
    # The mean of 0.1 over seven pixels is not 0.1.
    constant = torch.full((1, 1, 7), value, dtype=torch.float64)
    varied = torch.arange(7.0, dtype=torch.float64).view(1, 1, 7)
    for first, second in [(constant, varied), (varied, constant), (constant, constant)]:
        assert pearson(first, second).isnan().all()
    expected = math.copysign(21 / math.sqrt(7 * 91), value)
    assert cosine(constant, varied).item() == pytest.approx(expected, abs=1e-12)


@BOTH
def test_undefined_samples_are_left_out_of_the_mean_and_counted(
    model, result, function, metric, loop, reference, reduce
):
    attribution = result.attribution.clone()
    attribution[[1, 4]] = 0
    counted = metric()
    counted.update(model, replace(result, attribution=attribution), Noise(0, result.sample_id))
    defined = metric().scores(model, result, None)[[0, 2, 3, 5]]
    assert counted.summary().value == pytest.approx(defined.mean().item(), abs=1e-12)
    assert (counted.summary().count, counted.summary().undefined) == (4, 2)


@BOTH
def test_reduce_changes_the_score(model, result, function, metric, loop, reference, reduce):
    ways = [None, "abs_sum", "sum_abs", "sum"]
    scores = [metric(way).scores(model, result, None) for way in ways]
    for way, found in zip(ways, scores, strict=True):
        assert torch.equal(found, function(*maps_of(result, way)))
    assert all((scores[a] != scores[b]).all() for a in range(4) for b in range(a))
    assert torch.equal(metric().scores(model, result, None), scores[ways.index(reduce)])


@BOTH
def test_no_samples_give_no_scores(function, metric, loop, reference, reduce):
    found = function(torch.zeros(0, 2, 3), torch.zeros(0, 2, 3))
    assert (found.shape, found.dtype) == ((0,), torch.float64)


@BOTH
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_what_does_not_fit(function, metric, loop, reference, reduce, value):
    maps = torch.ones(3, 2, 3)
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(3, 2, 3\) and \(3, 6\)"):
        function(maps, maps.view(3, 6))
    broken = maps.clone()
    broken[1, 1, 2] = value
    for pair in ((broken, maps), (maps, broken)):
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            function(*pair)
    with pytest.raises(ValueError, match="`reduce` as abs_sum or sum_abs or sum, but got max"):
        metric(reduce="max")


@BOTH
def test_higher_is_better(function, metric, loop, reference, reduce):
    assert metric.higher_is_better is True
