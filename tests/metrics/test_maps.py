import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.metrics.maps import (
    check_k,
    check_pair,
    check_w,
    descending_rank,
    pixel_map,
    smooth,
    top_k_mask,
)

MAPS = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 6)),
    elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.25, 1.0, 3.0]),
)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)


def smoothed(values, w):
    height, width = values.shape
    result = np.zeros_like(values)
    for row in range(height):
        for column in range(width):
            for i in range(row - w, row + w + 1):
                for j in range(column - w, column + w + 1):
                    inside = 0 <= i < height and 0 <= j < width
                    result[row, column] += values[i, j] / (2 * w + 1) ** 2 if inside else 0
    return result


def order(values):
    return sorted(range(values.size), key=lambda index: (-values.flat[index], index))


@pytest.mark.parametrize(
    ("reduce", "expected"), [("abs_sum", [3.0, 7.0]), ("sum_abs", [1.0, 7.0]), ("sum", [-1.0, -7.0])]
)
def test_channels_are_reduced(reduce, expected):
    attribution = torch.tensor([[1.0, -3.0], [-2.0, -4.0]]).view(1, 2, 1, 2)
    assert pixel_map(attribution, reduce).tolist() == [[expected]]


def test_magnitudes_are_summed_by_default():
    attribution = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    assert pixel_map(attribution).item() == 3


def test_refuses_an_attribution_without_channels():
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), but got \(2, 4, 4\)"):
        pixel_map(torch.zeros(2, 4, 4))


def test_refuses_an_unknown_reduction():
    with pytest.raises(ValueError, match="`reduce` as abs_sum, sum_abs or sum, but got max"):
        pixel_map(torch.zeros(1, 1, 2, 2), "max")


@EXAMPLES
@given(MAPS)
def test_rank_is_the_place_in_a_stable_descending_order(maps):
    ranks = descending_rank(torch.from_numpy(maps))
    for values, rank in zip(maps, ranks, strict=True):
        assert [rank.flatten()[index].item() for index in order(values)] == list(range(values.size))


def test_ties_go_to_the_lowest_flat_index_on_a_large_map():
    maps = torch.zeros(1, 100, 100)
    maps[0, 50, 50] = 1
    expected = [50 * 100 + 50, *range(99)]
    assert top_k_mask(maps, 100).flatten().nonzero().flatten().tolist() == sorted(expected)


@EXAMPLES
@given(MAPS, st.data())
def test_mask_marks_the_first_k(maps, data):
    k = data.draw(st.integers(1, maps[0].size))
    masks = top_k_mask(torch.from_numpy(maps), k)
    assert masks.shape == maps.shape
    for values, mask in zip(maps, masks, strict=True):
        assert mask.flatten().nonzero().flatten().tolist() == sorted(order(values)[:k])


@pytest.mark.parametrize("k", [0, -1, 7])
def test_refuses_a_set_that_is_empty_or_larger_than_the_map(k):
    with pytest.raises(ValueError, match=rf"Expected `k` in \[1, 6\], but got {k}\."):
        top_k_mask(torch.zeros(1, 2, 3), k)


@EXAMPLES
@given(MAPS, st.integers(0, 3))
def test_smoothing_divides_by_the_whole_window(maps, w):
    expected = torch.from_numpy(np.stack([smoothed(values, w) for values in maps]))
    torch.testing.assert_close(smooth(torch.from_numpy(maps), w), expected, rtol=0, atol=1e-12)


def test_smoothing_keeps_the_ties_of_equal_windows():
    maps = torch.full((1, 12, 12), 0.1)
    maps[:, :, 6:] = 0.7
    inner = smooth(maps, 2)[:, 2:-2, 2:4]
    assert inner.unique().numel() == 1


def test_refuses_a_negative_window_when_smoothing():
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        smooth(torch.zeros(1, 2, 2), -1)


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        check_pair(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2))


def test_refuses_a_negative_w():
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -2\."):
        check_w(-2)


def test_refuses_a_k_of_zero():
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        check_k(0)
