import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.top_k import TopKIntersection, top_k_intersection
from tests.contracts import assert_metric_contract

PAIRS = arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(1, 5), st.integers(1, 6)),
    elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0]),
)


def top(values, k):
    return set(sorted(range(values.size), key=lambda index: (-values.flat[index], index))[:k])


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


@pytest.mark.parametrize("k", [1, 10, 63])
def test_metric_is_the_overlap_of_summed_magnitudes(model, result, k):
    maps = [values.abs().sum(dim=1).numpy() for values in (result.attribution, result.attribution_adv)]
    expected = [len(top(first, k) & top(second, k)) / k for first, second in zip(*maps, strict=True)]
    scores = assert_metric_contract(TopKIntersection(k=k), model, result)
    assert scores.tolist() == expected


def test_k_changes_the_score(model, result):
    scores = [TopKIntersection(k=k).scores(model, result, None).mean().item() for k in (1, 5, 20, 64)]
    assert len(set(scores)) == 4
    assert scores[-1] == 1


@settings(deadline=None, max_examples=50, derandomize=True)
@given(PAIRS, st.data())
def test_equals_a_loop_over_sets(pair, data):
    k = data.draw(st.integers(1, pair[0].size))
    first, second = torch.from_numpy(pair).split(1)
    assert top_k_intersection(first, second, k=k).item() == len(top(pair[0], k) & top(pair[1], k)) / k


def test_negative_values_are_ranked_below_zero():
    first = torch.tensor([[[-9.0, 0.0, 1.0, -1.0]]])
    second = torch.tensor([[[0.0, 0.0, 1.0, -1.0]]])
    assert top_k_intersection(first, second, k=2).item() == 0.5
    assert top_k_intersection(first, second, k=3).item() == pytest.approx(2 / 3)


def test_a_constant_map_is_its_first_pixels():
    constant, last = torch.ones(1, 2, 4), torch.arange(8.0).view(1, 2, 4)
    assert top_k_intersection(constant, constant, k=3).item() == 1
    assert top_k_intersection(constant, last, k=4).item() == 0
    assert top_k_intersection(constant, last, k=5).item() == pytest.approx(0.4)


def test_no_samples_give_no_scores():
    assert top_k_intersection(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2), k=2).shape == (0,)


def test_refuses_more_pixels_than_the_map_has(model, result):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65\."):
        TopKIntersection(k=65).scores(model, result, None)


def test_refuses_an_empty_set():
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        TopKIntersection(k=0)


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 2\) and \(1, 4, 1\)"):
        top_k_intersection(torch.zeros(1, 2, 2), torch.zeros(1, 4, 1), k=1)


def test_higher_is_better():
    assert TopKIntersection.higher_is_better is True
