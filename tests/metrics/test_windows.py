import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.metrics.windows import spaced, window_union

MASKS = arrays(bool, st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7)))
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)


def near(pixels, w, shape):
    return {
        (row, column)
        for row in range(shape[0])
        for column in range(shape[1])
        if any(abs(row - i) <= w and abs(column - j) <= w for i, j in pixels)
    }


def positions(mask):
    return {(row, column) for row, column in mask.nonzero().tolist()}


def kept_apart(indices, width, k, w):
    chosen = []
    for index in indices:
        row, column = divmod(index, width)
        apart = all(max(abs(row - i), abs(column - j)) > w for i, j in (divmod(c, width) for c in chosen))
        if apart and len(chosen) < k:
            chosen.append(index)
    return chosen


@EXAMPLES
@given(MASKS, st.integers(0, 8))
def test_union_equals_the_loop_over_windows(masks, w):
    unions = window_union(torch.from_numpy(masks), w)
    assert unions.dtype == torch.bool
    for mask, union in zip(torch.from_numpy(masks), unions, strict=True):
        assert positions(union) == near(positions(mask), w, mask.shape)


def test_union_equals_the_loop_on_a_larger_map():
    mask = torch.from_numpy(np.random.default_rng(0).random((1, 40, 33)) < 0.01)
    for w in (1, 3, 7):
        assert positions(window_union(mask, w)[0]) == near(positions(mask[0]), w, (40, 33))


@EXAMPLES
@given(MASKS, st.integers(0, 2), st.integers(0, 2))
def test_unions_grow_with_the_window(masks, w, further):
    masks = torch.from_numpy(masks)
    union = window_union(masks, w)
    assert not (masks & ~union).any()
    assert torch.equal(window_union(union, further), window_union(masks, w + further))
    assert torch.equal(window_union(masks, 0), masks)


@EXAMPLES
@given(MASKS, st.integers(0, 3))
def test_union_turns_with_the_mask_and_leaves_it_as_it_is(masks, w):
    masks = torch.from_numpy(masks)
    before = masks.clone()
    for turn in (lambda part: part.flip(1), lambda part: part.flip(2), lambda part: part.transpose(1, 2)):
        assert torch.equal(window_union(turn(masks), w), turn(window_union(masks, w)))
    assert torch.equal(masks, before)
    assert torch.equal(window_union(masks, w), torch.cat([window_union(row[None], w) for row in masks]))


def test_union_of_windows_at_corner_edge_and_centre():
    mask = torch.zeros(3, 5, 5, dtype=torch.bool)
    for sample, pixel in enumerate([(0, 0), (4, 2), (2, 2)]):
        mask[(sample, *pixel)] = True
    union = window_union(mask, 1)
    assert union.flatten(1).sum(dim=1).tolist() == [4, 6, 9]
    assert union[0, :2, :2].all()
    assert union[1, 3:, 1:4].all()
    assert union[2, 1:4, 1:4].all()


@pytest.mark.parametrize("w", [0, 1, 9])
def test_union_of_no_samples_and_of_no_pixels(w):
    assert window_union(torch.zeros(0, 3, 4, dtype=torch.bool), w).shape == (0, 3, 4)
    assert not window_union(torch.zeros(2, 3, 4, dtype=torch.bool), w).any()


@EXAMPLES
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 8), st.data())
def test_spaced_pixels_equal_the_loop(height, width, w, data):
    indices = data.draw(st.permutations(range(height * width)))[: data.draw(st.integers(0, height * width))]
    k = data.draw(st.integers(1, height * width))
    chosen = spaced(torch.tensor(indices, dtype=torch.int64), height, width, k=k, w=w)
    assert chosen.dtype == torch.int64
    assert chosen.tolist() == kept_apart(indices, width, k, w)


def test_spaced_pixels_of_a_larger_map_equal_the_loop():
    order = torch.from_numpy(np.random.default_rng(0).permutation(40 * 33))
    for k, w in [(20, 3), (1000, 1), (1000, 5), (1320, 0)]:
        assert spaced(order, 40, 33, k=k, w=w).tolist() == kept_apart(order.tolist(), 33, k, w)


def test_spaced_windows_end_at_the_border():
    order = torch.tensor([4, 5, 9, 10])
    # The last of row 0, the first of row 1, the last of row 1 and the first of row 2.
    assert spaced(order, 3, 5, k=4, w=1).tolist() == [4, 5]
    assert spaced(order, 3, 5, k=4, w=0).tolist() == [4, 5, 9, 10]
    for w in (4, 10**6):
        assert spaced(order, 3, 5, k=4, w=w).tolist() == [4]


def test_a_window_larger_than_the_map_leaves_one_pixel():
    assert spaced(torch.tensor([5, 0, 11]), 3, 4, k=3, w=10**6).tolist() == [5]
