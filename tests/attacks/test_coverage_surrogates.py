import math

import pytest
import scipy.optimize
import scipy.special
import torch
from torch import Tensor

from lit_xai.attacks.coverage_surrogates import (
    Coverage,
    HingedMargin,
    LogRatio,
    NoisyOr,
    SigmoidMembership,
    SoftTopK,
)
from lit_xai.metrics.lens import lens_precision
from lit_xai.metrics.maps import top_k_mask
from lit_xai.metrics.windows import window_union
from tests.contracts import assert_directional

SHARES = [SigmoidMembership(), LogRatio(), NoisyOr(), SoftTopK()]
SURROGATES = [*SHARES, HingedMargin()]


def random_maps(seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    """Return skewed values above 0, (3, 6, 7)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(3, 6, 7, generator=generator, dtype=torch.float64).pow(3).add(1e-3).to(dtype)


def window(values: list[list[float]], row: int, column: int, w: int) -> list[float]:
    """Return the values of a window, cut at the border."""
    return [
        values[y][x]
        for y in range(max(0, row - w), min(len(values), row + w + 1))
        for x in range(max(0, column - w), min(len(values[0]), column + w + 1))
    ]


def sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def covered_by_hand(surrogate: Coverage, values: list[float], least: float, t: float, shift: float) -> float:
    """Return how far a pixel is covered by the values of its window, from the formulas."""
    ratios = [value / least for value in values]
    match surrogate:
        case SigmoidMembership():
            return max(sigmoid((ratio - 1) / t) for ratio in ratios)
        case HingedMargin():
            return max(0.0, max(ratios) - 1 + t)
        case LogRatio():
            odds = sum(ratio ** (1 / t) for ratio in ratios)
            return odds / (1 + odds)
        case NoisyOr():
            return 1 - math.prod(1 - sigmoid((ratio - 1) / t) for ratio in ratios)
    return 1 - math.prod(1 - sigmoid((ratio - shift) / t) for ratio in ratios)


def thresholds_by_hand(maps: Tensor, k: int) -> list[float]:
    """Return the middle between the k-th largest value and the next of each map."""
    ordered = [sorted(one.flatten().tolist(), reverse=True) for one in maps]
    return [(one[k - 1] + (one[k] if k < len(one) else 0.0)) / 2 for one in ordered]


@pytest.mark.parametrize(("k", "w", "temperature"), [(1, 0, 0.3), (5, 1, 0.3), (9, 2, 0.6), (30, 1, 0.1)])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_equals_a_loop_over_pixels(surrogate, k, w, temperature):
    maps = random_maps()
    found = surrogate.covered(maps, k=k, w=w, temperature=temperature)
    for one, least, result in zip(maps, thresholds_by_hand(maps, k), found, strict=True):
        ratios = (one / least).flatten().numpy()

        def excess(shift: float, ratios=ratios) -> float:
            return float(scipy.special.expit((ratios - shift) / temperature).sum() - k)

        shift = scipy.optimize.brentq(excess, -100.0, ratios.max() + 100.0, xtol=1e-14)
        expected = [
            [
                covered_by_hand(surrogate, window(one.tolist(), row, column, w), least, temperature, shift)
                for column in range(7)
            ]
            for row in range(6)
        ]
        torch.testing.assert_close(result, torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("k", "w"), [(1, 1), (5, 1), (9, 0), (9, 2), (42, 1)])
@pytest.mark.parametrize("surrogate", SHARES)
def test_without_temperature_it_is_the_lens_precision(surrogate, k, w):
    clean, attacked = random_maps(0), random_maps(1)
    covered = surrogate.covered(attacked, k=k, w=w, temperature=1e-6)
    found = (covered * top_k_mask(clean, k)).sum(dim=(1, 2)) / k
    torch.testing.assert_close(found, lens_precision(clean, attacked, k=k, w=w), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("k", "w"), [(5, 1), (9, 2)])
def test_without_temperature_the_margin_is_above_zero_exactly_near_the_largest(k, w):
    maps = random_maps()
    found = HingedMargin().covered(maps, k=k, w=w, temperature=1e-9)
    assert torch.equal(found > 1e-8, window_union(top_k_mask(maps, k), w))


@pytest.mark.parametrize("w", [0, 1])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_slope_equals_finite_differences(surrogate, w):
    maps, k = random_maps(), 7
    weight = torch.rand(maps.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    # The two values around the threshold would move it, which the slope leaves out.
    free = ~(top_k_mask(maps, k + 1) & ~top_k_mask(maps, k - 1))

    def value(point: Tensor) -> Tensor:
        return (weight * surrogate.covered(point, k=k, w=w, temperature=0.4)).sum()

    leaf = maps.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(value(leaf), leaf)
    for seed in range(3):
        direction = torch.randn(
            maps.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
        )
        direction *= free
        assert_directional(
            lambda step, towards=direction: value(maps + step * towards), gradient, direction, step=1e-6
        )
    assert gradient.abs().max() > 0.1


def spike(height: float) -> Tensor:
    """Return a map of two spikes above a ramp, (1, 5, 5); a window of 1 around the centre holds only one."""
    maps = torch.linspace(0.1, 0.2, 25, dtype=torch.float64).view(1, 5, 5).clone()
    maps[0, 2, 1], maps[0, 0, 4] = height, 1.0
    return maps


def slope_at_centre(surrogate: Coverage, maps: Tensor, k: int = 2) -> Tensor:
    leaf = maps.clone().requires_grad_()
    covered = surrogate.covered(leaf, k=k, w=1, temperature=0.3)
    (gradient,) = torch.autograd.grad(covered[0, 2, 2], leaf)
    return gradient[0]


@pytest.mark.parametrize(
    ("surrogate", "moving"),
    [(SigmoidMembership(), 1), (HingedMargin(), 1), (LogRatio(), 9), (NoisyOr(), 9), (SoftTopK(), 25)],
)
def test_which_pixels_have_a_slope(surrogate, moving):
    gradient = slope_at_centre(surrogate, spike(0.9))
    assert (gradient != 0).sum() == moving
    assert gradient[2, 1] > 0


def test_what_is_no_longer_covered_has_no_margin_and_no_slope():
    maps = spike(0.11)
    covered = HingedMargin().covered(maps, k=1, w=1, temperature=0.3)
    assert covered[0, 2, 2] == 0
    assert covered[0, 1, 4] > 0
    assert slope_at_centre(HingedMargin(), maps, k=1).abs().max() == 0


def test_other_pixels_rise_at_the_cost_of_the_set():
    gradient = slope_at_centre(SoftTopK(), spike(0.9))
    inside = torch.zeros(5, 5, dtype=torch.bool)
    inside[1:4, 1:4] = True
    assert (gradient[~inside] < 0).all()
    # Added to all pixels alike, an amount changes nothing but the scale, which is held fixed.
    assert abs(gradient.sum()) < 1e-9 * gradient.abs().sum()


@pytest.mark.parametrize("k", [1, 9, 41])
def test_memberships_sum_to_k(k):
    members = SoftTopK().covered(random_maps(), k=k, w=0, temperature=0.3)
    torch.testing.assert_close(members.sum(dim=(1, 2)), torch.full((3,), float(k)).double())


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_the_scale_of_a_map_does_not_matter(surrogate):
    first, second = (
        surrogate.covered(scale * random_maps(), k=5, w=1, temperature=0.3) for scale in (1.0, 1e-6)
    )
    torch.testing.assert_close(second, first, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("temperature", [1e-3, 0.3])
@pytest.mark.parametrize("surrogate", SURROGATES)
def test_maps_with_few_values_stay_finite(surrogate, temperature):
    maps = torch.zeros(3, 6, 7)
    maps[1, 2, 2], maps[2, :2] = 1.0, 0.5
    leaf = maps.requires_grad_()
    covered = surrogate.covered(leaf, k=5, w=1, temperature=temperature)
    (gradient,) = torch.autograd.grad(covered.sum(), leaf)
    assert covered.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_a_map_alone_is_covered_as_in_a_batch(surrogate):
    maps = random_maps()
    together = surrogate.covered(maps, k=5, w=1, temperature=0.3)
    for row in range(len(maps)):
        alone = surrogate.covered(maps[[row]], k=5, w=1, temperature=0.3)
        torch.testing.assert_close(alone, together[[row]], rtol=0, atol=1e-12)
    assert surrogate.covered(maps[:0], k=5, w=1, temperature=0.3).shape == (0, 6, 7)


@pytest.mark.parametrize("surrogate", SURROGATES)
def test_windows_larger_than_the_map_hold_all_of_it(surrogate):
    found = surrogate.covered(random_maps(), k=5, w=9, temperature=0.3)
    torch.testing.assert_close(found, found[:, :1, :1].expand_as(found), rtol=1e-9, atol=1e-12)
