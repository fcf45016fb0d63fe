import math

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.center_shift import CenterShift, center_shift, mass_center
from tests.contracts import assert_metric_contract

PAIRS = arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 7)),
    elements=st.sampled_from([0.0, 0.25, 1.0, 3.0]),
)


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
@given(PAIRS)
def test_equals_scipy_on_any_shape(pair):
    assume(pair[0].any() and pair[1].any())
    centers = [scipy.ndimage.center_of_mass(values) for values in pair]
    first, second = torch.from_numpy(pair).split(1)
    assert mass_center(first)[0].tolist() == pytest.approx(centers[0], rel=0, abs=1e-12)
    assert center_shift(first, second).item() == pytest.approx(math.dist(*centers), rel=0, abs=1e-12)


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


def test_no_samples_give_no_scores():
    assert center_shift(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2)).shape == (0,)


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        center_shift(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2))


def test_lower_is_better():
    assert CenterShift.higher_is_better is False
