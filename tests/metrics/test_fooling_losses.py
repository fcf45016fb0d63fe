import math
import warnings

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.metrics.fooling_losses import (
    center_displacement,
    center_reward,
    heatmap,
    location_loss,
    swap_gain,
    top_k_loss,
)

SIDES = st.integers(1, 16)
VALUES = st.sampled_from([0.0, 0.25, 0.5, 1.0])
PAIRS = arrays(np.float64, st.tuples(st.just(2), SIDES, SIDES), elements=VALUES)
TRIPLES = arrays(np.float64, st.tuples(st.just(3), SIDES, SIDES), elements=VALUES)
SIGNED = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), SIDES, SIDES),
    elements=st.sampled_from([-2.0, -0.0, 0.0, 0.5, 3.0]),
)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
PAIRED = [top_k_loss, center_displacement, center_reward]


def written_heatmap(values):
    """Return one map (H, W) of an attribution (C, H, W)."""
    positive = [
        [max(0.0, sum(pixel)) for pixel in zip(*rows, strict=True)] for rows in zip(*values, strict=True)
    ]
    low, high = np.min(positive), np.max(positive)
    return (np.array(positive) - low) / (high - low) if high > low else np.zeros_like(positive)


def written_location(values):
    height, width = values.shape
    total = 0.0
    for (row, column), value in np.ndenumerate(values):
        near_rows = min(row, height - 1 - row) < max(1, height // 7)
        outside = near_rows or min(column, width - 1 - column) < max(1, width // 7)
        total += (outside - value) ** 2
    return total / values.size


def written_top_k(values, reference):
    order = sorted(range(reference.size), key=lambda index: (-reference.flat[index], index))
    chosen = order[: max(1, round(reference.size / 10))]
    return sum(values.flat[index] ** 2 for index in chosen) / len(chosen)


def written_displacement(values, reference):
    if not values.any() or not reference.any():
        return math.nan
    shifts = []
    for axis, side in enumerate(values.shape):
        places = np.arange(side)
        masses = [maps.sum(axis=1 - axis) for maps in (values, reference)]
        first, second = (np.average(places, weights=mass) for mass in masses)
        shifts.append((first - second) / (side - 1) if side > 1 else 0.0)
    return math.sqrt((shifts[0] ** 2 + shifts[1] ** 2) / 2)


def written_reward(values, reference):
    if not values.any() or not reference.any():
        return 0.0
    total = 0.0
    for axis, side in enumerate(values.shape):
        first, second = (
            np.average(np.arange(side), weights=maps.sum(axis=1 - axis)) for maps in (values, reference)
        )
        total += min(0.3, abs(first - second) / max(side - 1, 1))
    return total


def written_gain(values, own, other):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        first, second = (
            scipy.stats.spearmanr(values.ravel(), maps.ravel()).statistic if maps.size > 1 else math.nan
            for maps in (other, own)
        )
    return first - second


def assert_equal(found, expected):
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)


@EXAMPLES
@given(values=SIGNED)
def test_heatmap_equals_the_loop(values):
    found = heatmap(torch.from_numpy(values)[None])
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found[0], written_heatmap(values), rtol=0, atol=1e-15)


def test_heatmap_by_hand():
    values = torch.tensor([[[[1.0, -3.0]], [[2.0, 1.0]]], [[[2.0, 5.0]], [[2.0, 1.0]]]])
    # Sums 3 and -2, rectified and scaled; then 4 and 6.
    assert heatmap(values).tolist() == [[[1.0, 0.0]], [[0.0, 1.0]]]
    third = torch.tensor([[[[1.0, 2.0, 5.0]]]])
    assert heatmap(third).tolist() == [[[0.0, 0.25, 1.0]]]
    assert heatmap(third).dtype == torch.float64


@pytest.mark.parametrize("value", [0.0, -1.5, 2.0, 1e-30])
def test_a_constant_map_is_all_zero(value):
    assert torch.equal(heatmap(torch.full((2, 3, 4, 5), value)), torch.zeros(2, 4, 5).double())


def test_samples_are_scaled_by_themselves():
    values = torch.randn(5, 2, 6, 9, generator=torch.Generator().manual_seed(0))
    size = torch.tensor([1e-6, 0.5, 1.0, 30.0, 1e8]).view(-1, 1, 1, 1)
    found = heatmap(size * values)
    torch.testing.assert_close(found, heatmap(values), rtol=0, atol=1e-6)
    assert found.amax(dim=(1, 2)).tolist() == [1.0] * 5
    assert found.amin(dim=(1, 2)).tolist() == [0.0] * 5


@EXAMPLES
@given(pair=PAIRS)
def test_location_equals_the_loop(pair):
    assert_equal(location_loss(torch.from_numpy(pair)), [written_location(values) for values in pair])


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(7, 7, 1, 1), (14, 14, 2, 2), (13, 13, 1, 1), (7, 21, 1, 3), (28, 6, 4, 1), (6, 6, 1, 1)],
)
def test_the_frame_is_a_seventh_wide(height, width, rows, columns):
    frame = np.pad(
        np.zeros((height - 2 * rows, width - 2 * columns)), ((rows,) * 2, (columns,) * 2), constant_values=1
    )
    assert_equal(
        location_loss(torch.from_numpy(np.stack([frame, 1 - frame, 0 * frame]))), [0, 1, frame.mean()]
    )


def test_the_frame_of_seven_by_seven_by_hand():
    maps = torch.zeros(1, 7, 7).double()
    assert location_loss(maps).item() == pytest.approx(24 / 49, abs=1e-15)
    maps[0, 0, 3] = 0.5
    maps[0, 3, 3] = 1.0
    assert location_loss(maps).item() == pytest.approx((23 + 0.25 + 1) / 49, abs=1e-15)


@EXAMPLES
@given(pair=PAIRS)
def test_top_k_equals_the_loop_with_ties(pair):
    first, second = torch.from_numpy(pair).split(1)
    assert_equal(top_k_loss(first, second), [written_top_k(*pair)])


def test_top_k_by_hand():
    reference = torch.zeros(1, 4, 5).double()
    reference[0, 0, 4], reference[0, 3, 0] = 0.3, 0.2
    maps = torch.full((1, 4, 5), 0.9, dtype=torch.float64)
    maps[0, 0, 4], maps[0, 3, 0] = 0.5, 0.1
    assert top_k_loss(maps, reference).item() == pytest.approx((0.25 + 0.01) / 2, abs=1e-15)
    assert top_k_loss(maps, maps).item() == pytest.approx(0.81, abs=1e-15)


@EXAMPLES
@given(pair=PAIRS)
def test_displacement_equals_the_loop(pair):
    first, second = torch.from_numpy(pair).split(1)
    assert_equal(center_displacement(first, second), [written_displacement(*pair)])
    assert_equal(center_displacement(second, first), [written_displacement(*pair)])


@EXAMPLES
@given(pair=PAIRS)
def test_reward_equals_the_loop(pair):
    first, second = torch.from_numpy(pair).split(1)
    assert_equal(center_reward(first, second), [written_reward(*pair)])


def test_the_reward_grows_up_to_its_bound_along_each_axis():
    maps, reference = torch.zeros(2, 3, 11, 21).double()
    reference[:, 5, 10] = 0.7
    # A centre moved by 2 and 6 pixels of 10 and 20, then by 4 along the first axis, then both up and left.
    maps[0, 7, 16] = maps[1, 9, 16] = maps[2, 3, 5] = 1.0
    maps.requires_grad_()
    reward = center_reward(maps, reference)
    assert_equal(reward.detach(), [0.2 + 0.3, 0.3 + 0.3, 0.2 + 0.25])
    (slope,) = torch.autograd.grad(reward.sum(), maps)
    # Mass one pixel further moves a centre of mass 1 by a pixel; beyond the bound nothing counts.
    assert slope[0, 8, 16].item() == pytest.approx(0.1, abs=1e-12)
    assert slope[1, 10, 16].item() == 0
    assert slope[2, 3, 4].item() == pytest.approx(0.05, abs=1e-12)


def test_where_the_centres_agree_the_reward_lies_down_and_to_the_right():
    maps = torch.zeros(1, 5, 9).double()
    maps[0, 2, 4] = 1.0
    point = maps.clone().requires_grad_()
    reward = center_reward(point, maps)
    (slope,) = torch.autograd.grad(reward.sum(), point)
    assert reward.item() == 0
    assert slope[0, 3, 4].item() == pytest.approx(1 / 4, abs=1e-12)
    assert slope[0, 2, 5].item() == pytest.approx(1 / 8, abs=1e-12)
    assert slope[0, 1, 4].item() == pytest.approx(-1 / 4, abs=1e-12)


def test_maps_of_zeros_have_no_reward_and_no_slope():
    zeros, ones = torch.zeros(1, 4, 5).double(), torch.ones(1, 4, 5).double()
    for first, second in [(zeros, ones), (ones, zeros), (zeros, zeros)]:
        point = first.clone().requires_grad_()
        reward = center_reward(point, second)
        reward.sum().backward()
        assert reward.item() == 0
        assert torch.equal(point.grad, zeros)


@pytest.mark.parametrize(("height", "width"), [(7, 7), (3, 11), (2, 2)])
def test_the_way_from_corner_to_corner_is_one(height, width):
    first, second = torch.zeros(2, 1, height, width).double()
    first[0, 0, 0] = second[0, -1, -1] = 0.4
    assert center_displacement(first, second).item() == pytest.approx(1, abs=1e-15)
    along = torch.zeros_like(first)
    along[0, 0, -1] = 1.0
    assert center_displacement(first, along).item() == pytest.approx(math.sqrt(0.5), abs=1e-15)


def test_a_map_of_zeros_has_no_centre():
    zeros, ones = torch.zeros(1, 4, 5).double(), torch.ones(1, 4, 5).double()
    for first, second in [(zeros, ones), (ones, zeros), (zeros, zeros)]:
        assert center_displacement(first, second).isnan().all()


@EXAMPLES
@given(triple=TRIPLES)
def test_gain_equals_scipy(triple):
    maps = torch.from_numpy(triple).split(1)
    assert_equal(swap_gain(*maps), [written_gain(*triple)])


def test_the_gain_of_a_whole_swap_is_two():
    own = torch.arange(12.0).view(1, 3, 4).double()
    other = own.max() - own
    assert_equal(torch.cat([swap_gain(maps, own, other) for maps in (other, own)]), [2, -2])
    assert swap_gain(torch.ones_like(own), own, other).isnan().all()
    assert swap_gain(own, own, torch.ones_like(own)).isnan().all()


def test_samples_do_not_mix():
    maps, own, other = np.random.default_rng(0).random((3, 4, 9, 16))
    tensors = [torch.from_numpy(values) for values in (maps, own, other)]
    assert_equal(location_loss(tensors[0]), [written_location(values) for values in maps])
    pairs = list(zip(maps, own, strict=True))
    assert_equal(top_k_loss(*tensors[:2]), [written_top_k(*pair) for pair in pairs])
    assert_equal(center_displacement(*tensors[:2]), [written_displacement(*pair) for pair in pairs])
    triples = zip(maps, own, other, strict=True)
    assert_equal(swap_gain(*tensors), [written_gain(*triple) for triple in triples])


def test_no_samples_give_no_losses():
    none = torch.zeros(0, 3, 3).double()
    assert heatmap(torch.zeros(0, 2, 3, 3)).shape == (0, 3, 3)
    assert location_loss(none).shape == (0,)
    assert swap_gain(none, none, none).shape == (0,)
    for loss in PAIRED:
        assert loss(none, none).shape == (0,)


@pytest.mark.parametrize("loss", [*PAIRED, lambda maps, own: swap_gain(maps, own, maps)])
def test_refuses_what_does_not_fit(loss):
    maps = torch.zeros(1, 2, 3)
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        loss(maps, maps.view(1, 3, 2))
    with pytest.raises(ValueError, match="finite maps, but got NaN or infinity for sample 0"):
        loss(maps, maps / 0)
