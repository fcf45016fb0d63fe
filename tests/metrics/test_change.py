import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.change import ExplanationChange, explanation_change
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract

SIDE = st.integers(1, 4)
SHAPES = st.one_of(
    st.tuples(st.just(2), SIDE, SIDE),
    st.tuples(st.just(2), SIDE, SIDE, st.integers(1, 5)),
    st.tuples(st.just(2), SIDE, st.integers(1, 3), SIDE, SIDE),
)


def change(first, second):
    pairs = list(zip(map(float, first.flat), map(float, second.flat), strict=True))
    size = math.fsum(abs(value) for value, _ in pairs)
    return 100 * math.fsum(abs(value - other) for value, other in pairs) / size if size else math.nan


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


def test_metric_equals_the_loop_on_signed_channels(model, result):
    maps = zip(result.attribution.numpy(), result.attribution_adv.numpy(), strict=True)
    scores = assert_metric_contract(ExplanationChange(), model, result)
    assert scores.tolist() == pytest.approx([change(*pair) for pair in maps], rel=1e-12)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(data=st.data(), precision=st.sampled_from([np.float32, np.float64]))
def test_equals_the_loop_on_any_shape(data, precision):
    unit = data.draw(st.sampled_from([1, 1e-30 if precision == np.float32 else 1e-200]))
    elements = st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0]).map(lambda value: precision(value * unit))
    pair = data.draw(arrays(precision, SHAPES, elements=elements))
    expected = [change(*rows) for rows in zip(*pair, strict=True)]
    found = explanation_change(*torch.from_numpy(pair))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_it_is_relative_to_the_first():
    first, second = torch.tensor([[1.0, -3.0]]), torch.tensor([[-5.0, 3.0]])
    assert explanation_change(first, second).item() == 300
    assert explanation_change(second, first).item() == 150


def test_no_size_in_single_precision_overflows():
    tiny, large = torch.full((1, 20), 1e-39), torch.full((1, 20), 3e37)
    assert explanation_change(tiny, large).item() == pytest.approx(3e78, rel=1e-5)
    assert explanation_change(large, -large).item() == 200


def test_channels_do_not_cancel(model, result):
    attribution = torch.zeros_like(result.attribution)
    attribution[:, 0], attribution[:, 1] = 1, -1
    turned = replace(result, attribution=attribution, attribution_adv=-attribution)
    assert ExplanationChange().scores(model, turned, None).tolist() == [200] * 6


def test_zero_maps_are_left_out_of_the_mean_and_counted(model, result):
    attribution = result.attribution.clone()
    attribution[2] = 0
    metric = ExplanationChange()
    metric.update(model, replace(result, attribution=attribution), Noise(0, result.sample_id))
    defined = ExplanationChange().scores(model, result, None)[[0, 1, 3, 4, 5]]
    assert metric.summary().value == pytest.approx(defined.mean().item(), rel=1e-12)
    assert (metric.summary().count, metric.summary().undefined) == (5, 1)


def test_reduce_changes_the_score(model, result):
    ways = [None, "abs_sum", "sum_abs", "sum"]
    scores = [ExplanationChange(way).scores(model, result, None) for way in ways]
    for way, found in zip(ways[1:], scores[1:], strict=True):
        maps = (pixel_map(values, way).numpy() for values in (result.attribution, result.attribution_adv))
        assert found.tolist() == pytest.approx([change(*pair) for pair in zip(*maps, strict=True)], rel=1e-12)
    assert all((scores[a] != scores[b]).all() for a in range(4) for b in range(a))
    assert torch.equal(ExplanationChange().scores(model, result, None), scores[0])


def test_no_samples_give_no_scores():
    assert explanation_change(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2\) and \(1, 3\)"):
        explanation_change(torch.zeros(1, 2), torch.zeros(1, 3))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_maps_that_are_not_finite(value):
    maps = torch.ones(3, 2, 2)
    broken = maps.clone()
    broken[1, 0, 1] = value
    for pair in ((broken, maps), (maps, broken)):
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            explanation_change(*pair)


def test_refuses_an_unknown_reduction():
    with pytest.raises(ValueError, match="`reduce` as abs_sum or sum_abs or sum, but got max"):
        ExplanationChange("max")


def test_lower_is_better():
    assert ExplanationChange.higher_is_better is False


@pytest.mark.parametrize("size", [1e-38, 1e36])
def test_the_scale_of_single_precision_does_not_matter(size):
    first, second = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    found = explanation_change(size * first, size * second)
    assert found.tolist() == pytest.approx(explanation_change(first, second).tolist(), rel=1e-4)
