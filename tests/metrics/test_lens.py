import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.lens import LENSPrecision, LENSRecall, lens_precision, lens_recall, window_union
from lit_xai.metrics.top_k import top_k_intersection
from tests.contracts import assert_metric_contract

PAIRS = arrays(
    np.float64,
    st.tuples(st.just(2), st.integers(1, 6), st.integers(1, 7)),
    elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, 3.0, 4.0]),
)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)


def top(values, k):
    chosen = sorted(range(values.size), key=lambda index: (-values.flat[index], index))[:k]
    return {divmod(index, values.shape[1]) for index in chosen}


def near(pixels, w, shape):
    return {
        (row, column)
        for row in range(shape[0])
        for column in range(shape[1])
        if any(abs(row - i) <= w and abs(column - j) <= w for i, j in pixels)
    }


def precision(first, second, k, w):
    return len(top(first, k) & near(top(second, k), w, first.shape)) / k


def recall(first, second, k, w):
    return len(near(top(first, k), w, first.shape) & top(second, k)) / k


def spots(*pixels, shape=(5, 5)):
    maps = torch.zeros(1, *shape, dtype=torch.float64)
    for value, pixel in enumerate(pixels, start=1):
        maps[(0, *pixel)] = value
    return maps


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


@pytest.mark.parametrize(("metric", "reference"), [(LENSPrecision, precision), (LENSRecall, recall)])
@pytest.mark.parametrize(("k", "w"), [(5, 0), (6, 1), (3, 2)])
def test_metric_equals_the_loop_on_summed_magnitudes(model, result, metric, reference, k, w):
    maps = [values.abs().sum(dim=1).numpy() for values in (result.attribution, result.attribution_adv)]
    expected = [reference(first, second, k, w) for first, second in zip(*maps, strict=True)]
    scores = assert_metric_contract(metric(k=k, w=w), model, result)
    assert scores.tolist() == expected


@pytest.mark.parametrize("metric", [LENSPrecision, LENSRecall])
def test_every_option_changes_the_score(model, result, metric):
    before = metric(k=5, w=1).scores(model, result, None)
    for options in ({"k": 6, "w": 1}, {"k": 5, "w": 0}):
        assert not torch.equal(metric(**options).scores(model, result, None), before)


def test_the_default_is_a_window_of_three():
    for metric in (LENSPrecision, LENSRecall):
        assert (metric().k, metric().w) == (100, 1)


@EXAMPLES
@given(PAIRS, st.integers(0, 3), st.data())
def test_equals_the_definition(pair, w, data):
    k = data.draw(st.integers(1, pair[0].size))
    first, second = torch.from_numpy(pair).split(1)
    assert lens_precision(first, second, k=k, w=w).item() == precision(*pair, k, w)
    assert lens_recall(first, second, k=k, w=w).item() == recall(*pair, k, w)


@EXAMPLES
@given(PAIRS, st.data())
def test_no_window_gives_the_top_k_intersection(pair, data):
    k = data.draw(st.integers(1, pair[0].size))
    first, second = torch.from_numpy(pair).split(1)
    expected = top_k_intersection(first, second, k=k)
    assert torch.equal(lens_precision(first, second, k=k, w=0), expected)
    assert torch.equal(lens_recall(first, second, k=k, w=0), expected)


def test_precision_and_recall_are_not_the_same():
    first = spots((0, 0), (0, 1), (0, 2))
    second = spots((1, 1), (4, 3), (4, 4))
    assert lens_precision(first, second, k=3, w=1).item() == 1
    assert lens_recall(first, second, k=3, w=1).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize(("column", "expected"), [(1, 1.0), (2, 0.0)])
def test_a_shift_of_w_is_forgiven_and_one_more_is_not(column, expected):
    assert lens_precision(spots((2, 0)), spots((2, column)), k=1, w=1).item() == expected
    assert lens_recall(spots((2, 0)), spots((2, column)), k=1, w=1).item() == expected


def test_windows_are_cut_at_the_border_and_do_not_wrap():
    corner, opposite = spots((0, 0)), spots((4, 4))
    assert lens_precision(corner, opposite, k=1, w=3).item() == 0
    assert lens_precision(corner, spots((1, 4)), k=1, w=1).item() == 0
    assert lens_precision(corner, opposite, k=1, w=4).item() == 1


def test_union_of_windows_at_corner_edge_and_centre():
    mask = torch.zeros(3, 5, 5, dtype=torch.bool)
    for sample, pixel in enumerate([(0, 0), (4, 2), (2, 2)]):
        mask[(sample, *pixel)] = True
    union = window_union(mask, 1)
    assert union.flatten(1).sum(dim=1).tolist() == [4, 6, 9]
    assert union[0, :2, :2].all()
    assert union[1, 3:, 1:4].all()
    assert union[2, 1:4, 1:4].all()


def test_no_samples_give_no_scores():
    assert lens_precision(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3), k=2, w=1).shape == (0,)
    assert lens_recall(torch.zeros(0, 3, 3), torch.zeros(0, 3, 3), k=2, w=1).shape == (0,)


@pytest.mark.parametrize("function", [lens_precision, lens_recall])
def test_functions_refuse_what_does_not_fit(function):
    maps = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, \d, \d\) and \(1, \d, \d\)"):
        function(maps, maps.view(1, 3, 2), k=1, w=1)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 6\], but got 7\."):
        function(maps, maps, k=7, w=1)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        function(maps, maps, k=1, w=-1)


@pytest.mark.parametrize("metric", [LENSPrecision, LENSRecall])
def test_metrics_refuse_what_does_not_fit(model, result, metric):
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        metric(k=0)
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        metric(w=-1)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 100\."):
        metric().scores(model, result, None)


@pytest.mark.parametrize("metric", [LENSPrecision, LENSRecall])
def test_higher_is_better(metric):
    assert metric.higher_is_better is True
