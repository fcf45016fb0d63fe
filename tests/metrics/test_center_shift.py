import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.center_shift import CenterShift, center_shift, mass_center
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract

SHAPES = st.tuples(st.just(2), st.integers(1, 4), st.integers(1, 6), st.integers(1, 7))


def center(values):
    """The centre by a loop, over numbers of any size."""
    pixels = [(row, column, float(value)) for (row, column), value in np.ndenumerate(values)]
    mass = math.fsum(value for *_, value in pixels)
    places = [math.fsum(place[axis] * place[2] for place in pixels) for axis in (0, 1)]
    return [place / mass if mass else math.nan for place in places]


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


def test_metric_equals_scipy_on_summed_magnitudes(model, result):
    maps = [values.abs().sum(dim=1).numpy() for values in (result.attribution, result.attribution_adv)]
    expected = [
        math.dist(scipy.ndimage.center_of_mass(first), scipy.ndimage.center_of_mass(second))
        for first, second in zip(*maps, strict=True)
    ]
    scores = assert_metric_contract(CenterShift(), model, result)
    assert scores.tolist() == pytest.approx(expected, rel=0, abs=1e-12)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(data=st.data(), precision=st.sampled_from([np.float32, np.float64]))
def test_equals_the_loop_on_any_shape(data, precision):
    unit = data.draw(st.sampled_from([1, 1e-30 if precision == np.float32 else 1e-200]))
    elements = st.sampled_from([0.0, 0.25, 1.0, 3.0]).map(lambda value: precision(value * unit))
    pair = data.draw(arrays(precision, SHAPES, elements=elements))
    tolerance = {"rel": 0, "abs": 1e-12, "nan_ok": True}
    centers = [[center(values) for values in maps] for maps in pair]
    first, second = torch.from_numpy(pair)
    for found, expected in zip(mass_center(first.double()).tolist(), centers[0], strict=True):
        assert found == pytest.approx(expected, **tolerance)
    found = center_shift(first, second)
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(
        [math.dist(*both) for both in zip(*centers, strict=True)], **tolerance
    )


def test_centre_is_row_then_column():
    maps = torch.zeros(1, 3, 5)
    maps[0, 2, 4], maps[0, 2, 0] = 3, 1
    assert mass_center(maps).tolist() == [[2, 3]]


def test_a_shift_is_as_long_as_the_hypotenuse():
    first, second = torch.zeros(2, 1, 6, 6)
    first[0, 1, 1] = 0.2
    second[0, 4, 5] = 7
    assert center_shift(first, second).item() == 5


def test_a_map_of_zeros_has_no_centre():
    zeros, ones = torch.zeros(1, 2, 2), torch.ones(1, 2, 2)
    assert mass_center(zeros).isnan().all()
    assert center_shift(zeros, ones).isnan().all()
    assert center_shift(ones, zeros).isnan().all()


def test_zero_maps_are_left_out_of_the_mean_and_counted(model, result):
    attribution_adv = result.attribution_adv.clone()
    attribution_adv[[0, 5]] = 0
    metric = CenterShift()
    metric.update(model, replace(result, attribution_adv=attribution_adv), Noise(0, result.sample_id))
    defined = CenterShift().scores(model, result, None)[1:5]
    assert metric.summary().value == pytest.approx(defined.mean().item(), rel=1e-12)
    assert (metric.summary().count, metric.summary().undefined) == (4, 2)


def test_reduce_changes_the_score(model, result):
    scores = [CenterShift(way).scores(model, result, None) for way in ("abs_sum", "sum_abs")]
    maps = (pixel_map(values, "sum_abs") for values in (result.attribution, result.attribution_adv))
    assert torch.equal(scores[1], center_shift(*maps))
    assert (scores[0] != scores[1]).all()
    assert torch.equal(CenterShift().scores(model, result, None), scores[0])


@pytest.mark.parametrize("reduce", ["sum", "max", None])
def test_refuses_a_reduction_that_keeps_the_sign_or_is_unknown(reduce):
    with pytest.raises(ValueError, match=f"`reduce` as abs_sum or sum_abs, but got {reduce}"):
        CenterShift(reduce)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_refuses_maps_that_are_not_finite(value):
    maps = torch.ones(3, 2, 2)
    broken = maps.clone()
    broken[1, 0, 1] = value
    for pair in ((broken, maps), (maps, broken)):
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            center_shift(*pair)


def test_refuses_a_negative_mass():
    maps = torch.ones(2, 2, 3)
    signed = maps.clone()
    signed[1, 0, 2] = -1e-6
    for pair in ((maps, signed), (signed, maps)):
        with pytest.raises(
            ValueError, match=r"without negative values, but got some\. Take their magnitudes"
        ):
            center_shift(*pair)


def test_refuses_attributions_with_channels():
    with pytest.raises(ValueError, match=r"maps of shape \(N, H, W\), but got \(1, 1, 2, 3\)"):
        center_shift(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 3))


def test_no_samples_give_no_scores():
    assert center_shift(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2)).shape == (0,)


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        center_shift(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2))


def test_lower_is_better():
    assert CenterShift.higher_is_better is False


@pytest.mark.parametrize("size", [1e-38, 1e36])
def test_the_scale_of_single_precision_does_not_matter(size):
    first, second = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    found = center_shift(size * first, size * second)
    assert found.tolist() == pytest.approx(center_shift(first, second).tolist(), rel=1e-4)
