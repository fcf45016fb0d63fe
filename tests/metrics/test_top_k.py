from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.top_k import TopKIntersection, top_k_intersection
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract
from tests.metrics.test_lens import DISTINCT, EXAMPLES, PAIRS, assert_every_option_matters, top
from tests.metrics.test_maps import DTYPES, REDUCTIONS, maps_of


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize("k", [1, 10, 63])
def test_metric_is_the_overlap_of_the_reduced_maps(model, result, k, reduce):
    maps = [REDUCTIONS[reduce](values) for values in (result.attribution, result.attribution_adv)]
    expected = [len(top(first, k) & top(second, k)) / k for first, second in zip(*maps, strict=True)]
    scores = assert_metric_contract(TopKIntersection(k=k, reduce=reduce), model, result)
    assert scores.tolist() == expected


def test_every_option_changes_the_score(model, result):
    assert_every_option_matters(
        TopKIntersection,
        {"k": 10, "reduce": "abs_sum"},
        {"k": [9, 11], "reduce": ["sum_abs", "sum"]},
        lambda metric: metric.scores(model, result, None),
    )
    assert TopKIntersection(k=64).scores(model, result, None).tolist() == [1] * 6


def test_the_default_is_a_hundred_pixels_of_summed_magnitudes():
    assert (TopKIntersection().k, TopKIntersection().reduce) == (100, "abs_sum")


@EXAMPLES
@given(PAIRS, DTYPES, st.data())
def test_equals_a_loop_over_sets(pair, dtype, data):
    k = data.draw(st.integers(1, pair[0].size))
    first, second = torch.from_numpy(pair).to(dtype).split(1)
    score = top_k_intersection(first, second, k=k)
    assert score.dtype == torch.float64
    assert score.item() == len(top(pair[0], k) & top(pair[1], k)) / k
    assert torch.equal(top_k_intersection(second, first, k=k), score)


@EXAMPLES
@given(maps_of(st.just(6)), st.data())
def test_a_batch_is_its_samples(maps, data):
    k = data.draw(st.integers(1, maps[0].size))
    first, second = torch.from_numpy(maps).split(3)
    whole = top_k_intersection(first, second, k=k)
    alone = [top_k_intersection(*rows, k=k) for rows in zip(first[:, None], second[:, None], strict=True)]
    assert torch.equal(whole, torch.cat(alone))


@EXAMPLES
@given(DISTINCT, st.data())
def test_turning_both_maps_or_stretching_their_values_changes_nothing(pair, data):
    k = data.draw(st.integers(1, pair[0].size))
    first, second = torch.from_numpy(pair).split(1)
    score = top_k_intersection(first, second, k=k)
    assert torch.equal(top_k_intersection(first.flip(1, 2), second.flip(1, 2), k=k), score)
    assert torch.equal(top_k_intersection(first.mT, second.mT, k=k), score)
    assert torch.equal(top_k_intersection(first**3 - 5, 2 * second, k=k), score)


def test_negative_values_are_ranked_below_zero():
    first = torch.tensor([[[-9.0, 0.0, 1.0, -1.0]]])
    second = torch.tensor([[[0.0, 0.0, 1.0, -1.0]]])
    assert top_k_intersection(first, second, k=2).item() == 0.5
    assert top_k_intersection(first, second, k=3).item() == 2 / 3


def test_a_constant_map_is_its_first_pixels():
    constant, last = torch.ones(1, 2, 4), torch.arange(8.0).view(1, 2, 4)
    assert top_k_intersection(constant, constant, k=3).item() == 1
    assert top_k_intersection(constant, last, k=4).item() == 0
    assert top_k_intersection(constant, last, k=5).item() == 0.4


def test_no_samples_give_no_scores():
    assert top_k_intersection(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2), k=2).shape == (0,)


def test_refuses_more_pixels_than_the_map_has(model, result):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65\."):
        TopKIntersection(k=65).scores(model, result, None)


def test_refuses_an_empty_set_and_an_unknown_reduction():
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        TopKIntersection(k=0)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 4\], but got 0\."):
        top_k_intersection(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), k=0)
    with pytest.raises(ValueError, match="Expected `reduce` as abs_sum or sum_abs or sum, but got max"):
        TopKIntersection(reduce="max")


def test_refuses_maps_of_two_shapes_or_without_pixels():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 2\) and \(1, 4, 1\)"):
        top_k_intersection(torch.zeros(1, 2, 2), torch.zeros(1, 4, 1), k=1)
    with pytest.raises(ValueError, match=r"maps of shape \(N, H, W\), but got \(2, 2\)"):
        top_k_intersection(torch.zeros(2, 2), torch.zeros(2, 2), k=1)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_map_that_cannot_be_ranked_names_its_sample(model, result, value):
    broken = torch.zeros(3, 2, 2)
    broken[1, 0, 1] = value
    for pair in [(broken, torch.zeros(3, 2, 2)), (torch.zeros(3, 2, 2), broken)]:
        with pytest.raises(ValueError, match="got NaN or infinity for sample 1 of the batch"):
            top_k_intersection(*pair, k=1)
    attribution = result.attribution.clone()
    attribution[4, 1, 2, 3] = value
    for name in ("attribution", "attribution_adv"):
        with pytest.raises(ValueError, match=rf"infinity for sample {result.sample_id[4].item()}\."):
            TopKIntersection(k=3).update(
                model, replace(result, **{name: attribution}), Noise(0, result.sample_id)
            )


def test_higher_is_better():
    assert TopKIntersection.higher_is_better is True
