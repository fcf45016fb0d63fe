import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.maps import (
    check_finite,
    check_k,
    check_map_pair,
    check_maps,
    check_pair,
    check_reduce,
    check_size,
    check_w,
    descending_rank,
    map_pair,
    pixel_map,
    size_of,
    smooth,
    top_k_mask,
)

# Ties and zeros of both signs, and values that single precision holds too.
VALUES = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.5, 3.0]) | st.floats(
    -4, 4, width=32, allow_subnormal=False
)
DTYPES = st.sampled_from([torch.float32, torch.float64])


def maps_of(samples):
    """Return a strategy for maps (samples, H, W): few values that repeat, or noise with some ties."""
    shapes = st.tuples(samples, st.integers(1, 7), st.integers(1, 8))
    noise = st.builds(
        lambda shape, seed: np.random.default_rng(seed).integers(-9, 10, shape) / 2,
        shapes,
        st.integers(0, 999),
    )
    return arrays(np.float64, shapes, elements=VALUES) | noise


MAPS = maps_of(st.integers(1, 3))
ATTRIBUTIONS = arrays(
    np.float64,
    st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 3), st.integers(1, 4)),
    elements=st.integers(-3, 3),
)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
REDUCTIONS = {
    "abs_sum": lambda attribution: attribution.abs().sum(dim=1).numpy(),
    "sum_abs": lambda attribution: attribution.sum(dim=1).abs().numpy(),
    "sum": lambda attribution: attribution.sum(dim=1).numpy(),
}


def smoothed(values, w):
    height, width = values.shape
    result = np.zeros_like(values)
    for row in range(height):
        for column in range(width):
            total = 0.0
            for i in range(max(row - w, 0), min(row + w + 1, height)):
                for j in range(max(column - w, 0), min(column + w + 1, width)):
                    total += values[i, j]
            result[row, column] = total / (2 * w + 1) ** 2
    return result


def order(values):
    return sorted(range(values.size), key=lambda index: (-values.flat[index], index))


def sparse_maps():
    """Return maps of 28 x 28 that are zero but for 40 values of any size, (2, 28, 28), float64."""
    generator = np.random.default_rng(0)
    maps = np.zeros((2, 784))
    for values in maps:
        values[generator.permutation(784)[:40]] = generator.normal(size=40) * 10.0 ** generator.integers(
            -9, 9, 40
        )
    return torch.from_numpy(maps).view(2, 28, 28)


@pytest.mark.parametrize(
    ("reduce", "expected"), [("abs_sum", [3.0, 7.0]), ("sum_abs", [1.0, 7.0]), ("sum", [-1.0, -7.0])]
)
def test_channels_are_reduced(reduce, expected):
    attribution = torch.tensor([[1.0, -3.0], [-2.0, -4.0]]).view(1, 2, 1, 2)
    assert pixel_map(attribution, reduce).tolist() == [[expected]]


@EXAMPLES
@given(ATTRIBUTIONS, DTYPES)
def test_reductions_equal_loops_over_channels(attribution, dtype):
    samples, _, height, width = attribution.shape
    loops = {
        "abs_sum": lambda channels: sum(abs(value) for value in channels),
        "sum_abs": lambda channels: abs(sum(channels)),
        "sum": sum,
    }
    for reduce, loop in loops.items():
        maps = pixel_map(torch.from_numpy(attribution).to(dtype), reduce)
        assert maps.dtype == dtype
        assert maps.shape == (samples, height, width)
        for n, i, j in np.ndindex(samples, height, width):
            assert maps[n, i, j].item() == loop(attribution[n, :, i, j].tolist())


def test_magnitudes_are_summed_by_default():
    attribution = torch.tensor([1.0, -2.0]).view(1, 2, 1, 1)
    assert pixel_map(attribution).item() == 3


def test_refuses_an_attribution_without_channels():
    with pytest.raises(ValueError, match=r"shape \(N, C, H, W\), but got \(2, 4, 4\)"):
        pixel_map(torch.zeros(2, 4, 4))


def test_refuses_an_unknown_reduction():
    with pytest.raises(ValueError, match="`reduce` as abs_sum or sum_abs or sum, but got max"):
        pixel_map(torch.zeros(1, 1, 2, 2), "max")
    with pytest.raises(ValueError, match="`reduce` as abs_sum or sum, but got sum_abs"):
        check_reduce("sum_abs", ("abs_sum", "sum"))
    check_reduce("sum", ("abs_sum", "sum"))


@pytest.mark.parametrize("reduce", [None, "abs_sum", "sum_abs", "sum"])
def test_both_maps_of_an_attack_are_reduced_alike(model, batch, reduce):
    result = run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)
    for maps, attribution in zip(
        map_pair(result, reduce), (result.attribution, result.attribution_adv), strict=True
    ):
        expected = attribution if reduce is None else torch.from_numpy(REDUCTIONS[reduce](attribution))
        assert torch.equal(maps, expected)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_names_its_sample(value):
    maps = torch.zeros(3, 2, 4)
    check_finite(maps)
    maps[1, 1, 2] = value
    with pytest.raises(ValueError, match=r"finite maps, but got NaN or infinity for sample 1 of the batch\."):
        check_finite(maps)
    with pytest.raises(ValueError, match=r"finite maps, but got NaN or infinity for sample 17\."):
        check_finite(maps, torch.tensor([4, 17, 0]))
    for pair in [(maps, maps.new_zeros(3, 2, 4)), (maps.new_zeros(3, 2, 4), maps)]:
        for check in (check_pair, check_map_pair):
            with pytest.raises(ValueError, match=r"finite maps, .* for sample 1 of the batch\."):
                check(*pair)
    with pytest.raises(ValueError, match=r"finite images, but got NaN or infinity for sample 17\."):
        check_finite(maps, torch.tensor([4, 17, 0]), "images")


@EXAMPLES
@given(MAPS, DTYPES)
def test_rank_is_the_place_in_a_stable_descending_order(maps, dtype):
    ranks = descending_rank(torch.from_numpy(maps).to(dtype))
    for values, rank in zip(maps, ranks, strict=True):
        assert [rank.flatten()[index].item() for index in order(values)] == list(range(values.size))


def test_ties_go_to_the_lowest_flat_index_on_a_large_map():
    maps = torch.zeros(1, 100, 100)
    maps[0, 50, 50] = 1
    expected = [50 * 100 + 50, *range(99)]
    assert top_k_mask(maps, 100).flatten().nonzero().flatten().tolist() == sorted(expected)


@EXAMPLES
@given(MAPS, DTYPES, st.data())
def test_mask_marks_the_first_k(maps, dtype, data):
    k = data.draw(st.integers(1, maps[0].size))
    masks = top_k_mask(torch.from_numpy(maps).to(dtype), k)
    assert masks.shape == maps.shape
    assert masks.dtype == torch.bool
    for values, mask in zip(maps, masks, strict=True):
        assert mask.flatten().nonzero().flatten().tolist() == sorted(order(values)[:k])


def test_double_precision_values_are_not_ties():
    maps = 1 + torch.arange(12, dtype=torch.float64).view(1, 3, 4) * 1e-14
    assert top_k_mask(maps, 2).flatten().nonzero().flatten().tolist() == [10, 11]
    assert descending_rank(maps).flatten().tolist() == list(range(12))[::-1]


def test_a_tie_in_one_sample_leaves_the_others_as_they_are():
    tied, distinct = torch.ones(1, 3, 4), torch.arange(12.0).view(1, 3, 4)
    masks = top_k_mask(torch.cat([distinct, tied, -distinct]), 5).flatten(1)
    assert [mask.nonzero().flatten().tolist() for mask in masks] == [
        [7, 8, 9, 10, 11],
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    ]


@EXAMPLES
@given(MAPS, st.integers(0, 2), st.data())
def test_a_batch_is_its_samples(maps, w, data):
    k = data.draw(st.integers(1, maps[0].size))
    maps = torch.from_numpy(maps)
    for function in (lambda part: top_k_mask(part, k), lambda part: smooth(part, w), descending_rank):
        assert torch.equal(function(maps), torch.cat([function(row[None]) for row in maps]))


@pytest.mark.parametrize("k", [0, -1, 7])
def test_refuses_a_set_that_is_empty_or_larger_than_the_map(k):
    with pytest.raises(ValueError, match=rf"Expected `k` in \[1, 6\], but got {k}\."):
        top_k_mask(torch.zeros(1, 2, 3), k)


def test_no_samples_have_no_maps():
    none = torch.zeros(0, 3, 4)
    assert top_k_mask(none, 2).shape == smooth(none, 1).shape == descending_rank(none).shape == (0, 3, 4)
    assert pixel_map(torch.zeros(0, 2, 3, 4)).shape == (0, 3, 4)
    check_map_pair(none, none)


@EXAMPLES
@given(MAPS, st.integers(0, 3))
def test_smoothing_equals_the_loop_bit_for_bit(maps, w):
    expected = torch.from_numpy(np.stack([smoothed(values, w) for values in maps]))
    assert torch.equal(smooth(torch.from_numpy(maps), w), expected)
    assert torch.equal(smooth(torch.from_numpy(maps).float(), w), expected)


@pytest.mark.parametrize("w", [1, 2, 3])
def test_smoothing_equals_the_loop_bit_for_bit_on_a_sparse_map(w):
    maps = sparse_maps()
    expected = np.stack([smoothed(values, w) for values in maps.numpy()])
    assert torch.equal(smooth(maps, w), torch.from_numpy(expected))


@pytest.mark.parametrize("w", [1, 2, 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_smoothing_keeps_exact_zeros(w, dtype):
    maps = sparse_maps()
    reached = torch.zeros(2, 28, 28, dtype=torch.bool)
    for sample, row, column in maps.nonzero().tolist():
        reached[sample, max(row - w, 0) : row + w + 1, max(column - w, 0) : column + w + 1] = True
    assert torch.equal(smooth(maps.to(dtype), w) != 0, reached)


def test_smoothing_keeps_the_ties_of_equal_windows():
    maps = torch.full((1, 12, 12), 0.1)
    maps[:, :, 6:] = 0.7
    inner = smooth(maps, 2)[:, 2:-2, 2:4]
    assert inner.unique().numel() == 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_windows_of_the_same_single_precision_values_stay_tied(dtype):
    blocks = torch.randn(200, 3, 3, generator=torch.Generator().manual_seed(0))
    means = smooth(torch.cat([blocks, blocks.flip(1, 2).mT], dim=2).to(dtype), 1)
    assert means.dtype == torch.float64
    assert torch.equal(means[:, 1, 1], means[:, 1, 4])


@EXAMPLES
@given(maps_of(st.just(2)))
def test_smoothing_brings_two_maps_closer(pair):
    """Proposition 3: a contraction in L2."""
    first, second = torch.from_numpy(pair).split(1)
    before = (first - second).norm()
    assert (smooth(first, 0) - smooth(second, 0)).norm() == before
    for w in (1, 2, 3):
        assert (smooth(first, w) - smooth(second, w)).norm() <= before * (1 + 1e-12)


@EXAMPLES
@given(
    arrays(
        np.float64, st.tuples(st.just(1), st.integers(1, 6), st.integers(1, 7)), elements=st.integers(-9, 9)
    )
)
def test_smoothing_turns_with_the_map(maps):
    maps = torch.from_numpy(maps)
    for turn in (lambda part: part.flip(1), lambda part: part.flip(2), lambda part: part.transpose(1, 2)):
        assert torch.equal(smooth(turn(maps), 1), turn(smooth(maps, 1)))


def test_refuses_a_negative_window_when_smoothing():
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -1\."):
        smooth(torch.zeros(1, 2, 2), -1)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 4, 5)])
def test_refuses_what_is_not_maps_over_pixels(shape):
    maps = torch.zeros(shape)
    for function in (check_maps, lambda maps: top_k_mask(maps, 1), lambda maps: smooth(maps, 1)):
        with pytest.raises(ValueError, match=rf"maps of shape \(N, H, W\), but got {re.escape(str(shape))}"):
            function(maps)
    with pytest.raises(ValueError, match=r"maps of shape \(N, H, W\), but got"):
        check_map_pair(maps, maps)
    check_maps(torch.zeros(2, 4, 5))


def test_refuses_maps_of_two_shapes():
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        check_pair(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2))
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(1, 2, 3\) and \(1, 3, 2\)"):
        check_map_pair(torch.zeros(1, 2, 3), torch.zeros(1, 3, 2))


def test_refuses_a_negative_w():
    with pytest.raises(ValueError, match=r"Expected `w` of at least 0, but got -2\."):
        check_w(-2)
    check_w(0)


def test_refuses_a_k_of_zero():
    with pytest.raises(ValueError, match=r"Expected `k` of at least 1, but got 0\."):
        check_k(0)
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 3\], but got 4\."):
        check_k(4, 3)
    check_k(1)
    check_k(3, 3)


@EXAMPLES
@given(st.floats(1e-9, 1, exclude_max=True), st.integers(1, 9), st.integers(1, 9))
def test_a_share_is_the_nearest_number_of_pixels_and_at_least_one(share, height, width):
    size = size_of(share, torch.zeros(2, height, width))
    assert isinstance(size, int)
    assert 1 <= size <= height * width
    # A product of two floats may be half a unit in the last place away.
    nearest = abs(size - Fraction(share) * height * width) <= Fraction(1, 2) + Fraction(1, 10**12)
    assert nearest or size == 1


@pytest.mark.parametrize(
    ("k", "size"), [(1, 1), (1.0, 1), (100, 100), (784.0, 784), (785, 785), (0.1, 78), (0.25, 196), (1e-9, 1)]
)
def test_a_number_from_one_is_a_number_of_pixels_and_below_a_share(k, size):
    found = size_of(k, torch.zeros(3, 28, 28))
    assert found == size
    assert isinstance(found, int)
    assert size_of(k, torch.zeros(0, 28, 28)) == size
    check_size(k)


@pytest.mark.parametrize(
    ("k", "shown"),
    [(0, "0"), (-1, "-1"), (-0.5, "-0.5"), (1.5, "1.5"), (float("nan"), "nan"), (float("inf"), "inf")],
)
def test_refuses_what_is_neither_a_number_nor_a_share(k, shown):
    with pytest.raises(
        ValueError, match=rf"`k` as a number of pixels or a share in \(0, 1\), but got {re.escape(shown)}\."
    ):
        check_size(k)
