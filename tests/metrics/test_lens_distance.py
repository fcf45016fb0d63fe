from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.lens import Neighbourhoods, lens_distance, lens_precision, lens_recall
from lit_xai.metrics.lens_distance import CombinedLENSDistance, LENSDistance, combined_lens_distance
from lit_xai.noise import Noise
from tests.contracts import assert_metric_contract
from tests.metrics.test_lens import (
    DISTINCT,
    EXAMPLES,
    MAY_LACK_PIXELS,
    OPTIONS,
    PAIRS,
    assert_every_option_matters,
    greedy,
    shares,
    some_k,
    spots,
    top,
)
from tests.metrics.test_maps import DTYPES, REDUCTIONS

WEIGHTS = st.floats(0.125, 2)


def difference(first, second, k):
    """Return the size of the symmetric difference of two top-k sets, divided by k."""
    return len(top(first, k) ^ top(second, k)) / k


def combined(first, second, k_weights, w_weights):
    return sum(
        k_weight * w_weight * shares(first, second, k=k, w=w)[2]
        for k, k_weight in k_weights.items()
        for w, w_weight in w_weights.items()
    )


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


@EXAMPLES
@given(PAIRS, st.integers(0, 3), OPTIONS, DTYPES, st.data())
@MAY_LACK_PIXELS
def test_equals_the_definition(pair, w, options, dtype, data):
    k = data.draw(some_k(pair[0]))
    first, second = torch.from_numpy(pair).to(dtype).split(1)
    distance = lens_distance(first, second, k=k, w=w, **options)
    assert distance.dtype == torch.float64
    assert distance.tolist() == [shares(*pair, k=k, w=w, **options)[2]]


@EXAMPLES
@given(PAIRS, st.integers(0, 3), st.data())
def test_plain_distance_is_two_less_precision_and_recall(pair, w, data):
    k = data.draw(some_k(pair[0]))
    first, second = torch.from_numpy(pair).split(1)
    similarity = lens_precision(first, second, k=k, w=w) + lens_recall(first, second, k=k, w=w)
    assert lens_distance(first, second, k=k, w=w).item() == pytest.approx(
        2 - similarity.item(), rel=0, abs=1e-12
    )


def test_pixels_that_do_not_fit_are_not_far():
    maps = torch.arange(9.0).view(1, 3, 3)
    with pytest.warns(UserWarning, match="Expected 9 pixels"):
        assert lens_distance(maps, maps, k=9, w=1, diverse=True).item() == 0
    with pytest.warns(UserWarning, match="Expected 9 pixels"):
        assert lens_precision(maps, maps, k=9, w=1, diverse=True).item() == 4 / 9


@EXAMPLES
@given(PAIRS, st.data())
def test_falls_with_the_window_from_the_symmetric_difference(pair, data):
    """Proposition 1."""
    k = data.draw(some_k(pair[0]))
    first, second = torch.from_numpy(pair).split(1)
    values = [lens_distance(first, second, k=k, w=w).item() for w in range(8)]
    assert values == sorted(values, reverse=True)
    assert values[0] == difference(*pair, k)
    assert values[-1] == 0


@EXAMPLES
@given(PAIRS, st.integers(0, 3), st.data())
@MAY_LACK_PIXELS
def test_diverse_distance_is_at_most_the_symmetric_difference(pair, w, data):
    k = data.draw(some_k(pair[0]))
    bound = len(greedy(pair[0], k, w) ^ greedy(pair[1], k, w)) / k
    first, second = torch.from_numpy(pair).split(1)
    assert lens_distance(first, second, k=k, w=w, diverse=True).item() <= bound + 1e-12


@EXAMPLES
@given(DISTINCT, st.integers(0, 3), OPTIONS, st.data())
@MAY_LACK_PIXELS
def test_is_symmetric_and_turns_with_the_maps(pair, w, options, data):
    options = {"k": data.draw(some_k(pair[0])), "w": w, **options}
    first, second = torch.from_numpy(pair).split(1)
    distance = lens_distance(first, second, **options)
    assert torch.equal(lens_distance(second, first, **options), distance)
    assert torch.equal(lens_distance(first.mT, second.mT, **options), distance)
    assert torch.equal(lens_distance(first.flip(1), second.flip(1), **options), distance)
    assert lens_distance(first, first, **options).item() == 0


def test_far_apart_is_two():
    assert lens_distance(spots((0, 0)), spots((4, 4)), k=1, w=3).item() == 2
    assert lens_distance(spots((0, 0)), spots((4, 4)), k=1, w=4).item() == 0


@EXAMPLES
@given(PAIRS, DTYPES, st.dictionaries(st.integers(0, 3), WEIGHTS, min_size=1), st.data())
def test_combined_equals_the_sum_and_stays_below_its_bound(pair, dtype, w_weights, data):
    """Proposition 2."""
    k_weights = data.draw(st.dictionaries(some_k(pair[0]), WEIGHTS, min_size=1, max_size=3))
    first, second = torch.from_numpy(pair).to(dtype).split(1)
    distance = combined_lens_distance(first, second, k_weights=k_weights, w_weights=w_weights)
    assert distance.dtype == torch.float64
    assert distance.item() == pytest.approx(combined(*pair, k_weights, w_weights), rel=1e-12, abs=0)
    bound = sum(weight * difference(*pair, k) for k, weight in k_weights.items())
    assert distance.item() <= bound * sum(w_weights.values()) * (1 + 1e-12)
    only_here = combined_lens_distance(
        first, second, k_weights=k_weights, w_weights=dict.fromkeys(w_weights, 0) | {0: 0.75}
    )
    assert only_here.item() == pytest.approx(0.75 * bound, rel=1e-12, abs=0)


def test_combined_distances_of_a_batch_are_those_of_its_samples():
    first, second = torch.from_numpy(np.random.default_rng(0).integers(-3, 4, (2, 5, 6, 7)).astype(float))
    options = {"k_weights": {3: 1.0, 9: 0.5}, "w_weights": {0: 1.0, 2: 0.5}}
    whole = combined_lens_distance(first, second, **options)
    alone = [
        combined_lens_distance(*rows, **options) for rows in zip(first[:, None], second[:, None], strict=True)
    ]
    assert torch.equal(whole, torch.cat(alone))
    assert torch.equal(whole, combined_lens_distance(second, first, **options))
    assert whole.unique().numel() > 1


def test_hand_computed_combination():
    first, second = spots((0, 3), (0, 0), shape=(1, 6)), spots((0, 5), (0, 1), shape=(1, 6))
    # The largest values: 0 and 1. The two largest: {0, 3} and {1, 5}.
    # d_1 is 2, 0, 0 for w = 0, 1, 2, and d_2 is 2 / 2 + 2 / 2, 1 / 2 + 1 / 2, 0.
    found = combined_lens_distance(first, second, k_weights={1: 4, 2: 3}, w_weights={0: 0.5, 1: 0.25, 2: 9})
    assert found.item() == 4 * 0.5 * 2 + 3 * (0.5 * 2 + 0.25 * 1)


def test_no_samples_give_no_scores():
    none = torch.zeros(0, 3, 3)
    assert lens_distance(none, none, k=2, w=1).shape == (0,)
    assert lens_distance(none, none, k=2, w=1, diverse=True).shape == (0,)
    assert combined_lens_distance(none, none, k_weights={2: 1}, w_weights={0: 1}).shape == (0,)


@pytest.mark.parametrize("reduce", REDUCTIONS)
@pytest.mark.parametrize(
    "options",
    [
        {"k": 6, "w": 1},
        {"k": 13, "w": 1, "diverse": True},
        {"k": 13, "w": 1, "diverse": True, "divide_by": "found"},
    ],
    ids=str,
)
@MAY_LACK_PIXELS
def test_metric_equals_the_loop_on_reduced_maps(model, result, options, reduce):
    maps = [REDUCTIONS[reduce](values) for values in (result.attribution, result.attribution_adv)]
    expected = [shares(*pair, **options)[2] for pair in zip(*maps, strict=True)]
    scores = assert_metric_contract(LENSDistance(**options, reduce=reduce), model, result)
    assert scores.tolist() == expected


@pytest.mark.parametrize("reduce", REDUCTIONS)
def test_combined_metric_equals_the_loop_on_reduced_maps(model, result, reduce):
    options = {"k_weights": {5: 1.0, 20: 0.5}, "w_weights": {0: 1.0, 1: 0.25}}
    maps = [REDUCTIONS[reduce](values) for values in (result.attribution, result.attribution_adv)]
    expected = [combined(*pair, **options) for pair in zip(*maps, strict=True)]
    scores = assert_metric_contract(CombinedLENSDistance(**options, reduce=reduce), model, result)
    assert scores.tolist() == pytest.approx(expected, rel=1e-12)


@MAY_LACK_PIXELS
def test_every_option_changes_the_score(model, result):
    assert_every_option_matters(
        LENSDistance,
        {"k": 13, "w": 1, "diverse": True},
        {
            "k": [5, 15],
            "w": [0, 2],
            "diverse": [False],
            "divide_by": ["found"],
            "reduce": ["sum_abs", "sum"],
        },
        lambda metric: metric.scores(model, result, None),
    )


def test_every_option_changes_the_combined_score(model, result):
    assert_every_option_matters(
        CombinedLENSDistance,
        {"k_weights": {5: 1.0, 20: 0.5}, "w_weights": {0: 1.0, 1: 0.5}},
        {
            "k_weights": [{5: 1.0, 20: 0.25}, {5: 1.0}, {5: 1.0, 19: 0.5}],
            "w_weights": [{0: 1.0, 1: 0.25}, {1: 0.5}, {0: 1.0, 2: 0.5}],
            "reduce": ["sum_abs", "sum"],
        },
        lambda metric: metric.scores(model, result, None),
    )


def test_defaults():
    assert LENSDistance().windows == Neighbourhoods(100, 1, diverse=False, divide_by="k")
    assert CombinedLENSDistance().k_weights == {50: 1.0, 100: 0.5, 200: 0.25}
    assert CombinedLENSDistance().w_weights == {0: 1.0, 1: 0.5, 2: 0.25}
    assert LENSDistance().reduce == CombinedLENSDistance().reduce == "abs_sum"


def test_later_changes_of_the_weights_do_not_reach_the_metric():
    weights = {5: 1.0}
    metric = CombinedLENSDistance(weights, weights)
    weights[6] = 1.0
    assert metric.k_weights == metric.w_weights == {5: 1.0}


@pytest.mark.parametrize("name", ["k_weights", "w_weights"])
@pytest.mark.parametrize(
    "weights", [{}, {1: 0.0}, {1: -1.0}, {1: 1.0, 2: -0.5}, {1: float("nan")}, {1: float("inf")}]
)
def test_refuses_weights_that_make_no_distance(name, weights):
    options = {"k_weights": {1: 1.0}, "w_weights": {1: 1.0}, name: weights}
    with pytest.raises(
        ValueError, match=rf"Expected finite `{name}` of at least 0 and one above it, but got {{"
    ):
        combined_lens_distance(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3), **options)
    with pytest.raises(
        ValueError, match=rf"Expected finite `{name}` of at least 0 and one above it, but got {{"
    ):
        CombinedLENSDistance(**options)


def test_refuses_what_does_not_fit(model, result):
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        CombinedLENSDistance({0: 1.0}, {1: 1.0})
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        CombinedLENSDistance({1: 1.0}, {-1: 1.0})
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        LENSDistance(k=0)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        LENSDistance(w=-1)
    with pytest.raises(ValueError, match="only diverse sets lack pixels"):
        LENSDistance(divide_by="found")
    for metric in (LENSDistance, CombinedLENSDistance):
        with pytest.raises(ValueError, match="Expected `reduce` as abs_sum or sum_abs or sum, but got max"):
            metric(reduce="max")
        with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 100\."):
            metric().scores(model, result, None)
    maps = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        combined_lens_distance(maps, maps.view(1, 3, 2), k_weights={1: 1}, w_weights={0: 1})


@pytest.mark.parametrize(
    "metric", [LENSDistance(k=5), CombinedLENSDistance({5: 1.0}, {0: 1.0})], ids=["one", "combined"]
)
def test_an_update_names_the_sample_whose_map_is_not_finite(model, result, metric):
    broken = result.attribution_adv.clone()
    broken[3, 1, 0, 0] = float("nan")
    with pytest.raises(ValueError, match=rf"NaN or infinity for sample {result.sample_id[3].item()}\."):
        metric.update(model, replace(result, attribution_adv=broken), Noise(0, result.sample_id))


def test_lower_is_better():
    assert LENSDistance.higher_is_better is CombinedLENSDistance.higher_is_better is False
