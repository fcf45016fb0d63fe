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
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract

PAIRS = arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    elements=st.sampled_from([-2.0, -0.5, 0.0, 1.0, 3.0]),
)


def change(first, second):
    size = sum(abs(value) for value in first.flat)
    moved = sum(abs(value - other) for value, other in zip(first.flat, second.flat, strict=True))
    return 100 * moved / size if size else math.nan


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


def test_metric_equals_the_loop_on_signed_channels(model, result):
    maps = zip(result.attribution.numpy(), result.attribution_adv.numpy(), strict=True)
    scores = assert_metric_contract(ExplanationChange(), model, result)
    assert scores.tolist() == pytest.approx([change(*pair) for pair in maps], rel=1e-12)


@settings(deadline=None, max_examples=50, derandomize=True)
@given(PAIRS)
def test_equals_the_loop_on_any_shape(pair):
    first, second = torch.from_numpy(pair).split(1)
    expected = change(*pair)
    assert explanation_change(first, second).item() == pytest.approx(expected, rel=1e-12, nan_ok=True)


def test_it_is_relative_to_the_first():
    first, second = torch.tensor([[1.0, -3.0]]), torch.tensor([[-5.0, 3.0]])
    assert explanation_change(first, second).item() == 300
    assert explanation_change(second, first).item() == 150


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


def test_no_samples_give_no_scores():
    assert explanation_change(torch.zeros(0, 2), torch.zeros(0, 2)).shape == (0,)


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2\) and \(1, 3\)"):
        explanation_change(torch.zeros(1, 2), torch.zeros(1, 3))


def test_lower_is_better():
    assert ExplanationChange.higher_is_better is False
