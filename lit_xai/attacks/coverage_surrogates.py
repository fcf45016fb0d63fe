"""Smooth stand-ins for the question whether a pixel lies near the largest values of a map."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

_LARGEST_EXPONENT = 60.0
_BISECTIONS = 60


class Coverage(ABC):
    """How far pixels lie in windows around the k largest values of a map, with a slope: frozen settings."""

    @abstractmethod
    def covered(self, maps: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
        """Return how far each pixel lies in the window of one of the k largest values.

        Args:
            maps: Values of at least 0, (N, H, W).
            k: Number of pixels.
            w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels; 0 asks for the k pixels themselves.
            temperature: Softness, above 0, as a share of the middle between the k-th largest value and the
                next, which the classes call c.

        Returns:
            Values of at least 0, differentiable in the maps, (N, H, W). As the temperature falls they tend to
            1 in the windows of the k largest values and to 0 elsewhere, unless the class says otherwise.
        """


@dataclass(frozen=True)
class SigmoidMembership(Coverage):
    """The largest sigmoid((a / c - 1) / T) of the window; c is held fixed.

    Only the largest value of a window has a slope.
    """

    def covered(self, maps: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
        return torch.sigmoid((_largest(_relative(maps, k), w) - 1) / temperature)


@dataclass(frozen=True)
class HingedMargin(Coverage):
    """How far the window's largest a / c exceeds 1 - T; c is held fixed.

    Only pixels that are still covered have a slope, the same for all of them. An amount, not a share: as the
    temperature falls it stays above 0 in the windows of the k largest values alone.
    """

    def covered(self, maps: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
        return (_largest(_relative(maps, k), w) - 1 + temperature).relu()


@dataclass(frozen=True)
class LogRatio(Coverage):
    """The window's odds, the sum of (a / c) ** (1 / T), over one plus the odds; c is held fixed.

    This is the sigmoid of the logsumexp of log(a / c) / T: every value of the window has a slope, and small
    ones, being compared by their ratio, a large one.
    """

    def covered(self, maps: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
        ratio = _relative(maps, k)
        exponent = ratio.clamp_min(torch.finfo(ratio.dtype).tiny).log() / temperature
        # Beyond this the share is 1 and its slope 0 in any case.
        odds = _total(exponent.clamp_max(_LARGEST_EXPONENT).exp(), w)
        return odds / (1 + odds)


@dataclass(frozen=True)
class NoisyOr(Coverage):
    """The probability of one pixel at least, if each joined with sigmoid((a / c - 1) / T); c is held fixed.

    Every value of the window has a slope, so pixels that are covered twice are uncovered on both sides.
    """

    def covered(self, maps: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
        return _any((_relative(maps, k) - 1) / temperature, w)


@dataclass(frozen=True)
class SoftTopK(Coverage):
    """`NoisyOr` of memberships that sum to k: sigmoid((a / c - t) / T), t solved for and differentiated.

    A pixel is pushed out of the set by its own fall and by the rise of all others near the threshold, which a
    fixed threshold does not see. With `k` the number of all pixels there is no such threshold.
    """

    def covered(self, maps: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
        exponent = _relative(maps, k) / temperature
        return _any(exponent - _threshold(exponent, k), w)


def _relative(maps: Tensor, k: int) -> Tensor:
    values = functional.pad(maps.detach().flatten(1), (0, 1))
    middle = values.topk(k + 1, dim=1).values[:, -2:].mean(dim=1).view(-1, 1, 1)
    # A map of fewer than k values above 0 has no threshold above 0.
    kind, largest = torch.finfo(maps.dtype), maps.detach().amax(dim=(1, 2), keepdim=True)
    return maps / torch.maximum(middle, kind.eps * largest).clamp_min(kind.tiny**0.5)


def _largest(values: Tensor, w: int) -> Tensor:
    return functional.max_pool2d(values[:, None], 2 * w + 1, stride=1, padding=w).squeeze(1)


def _total(values: Tensor, w: int) -> Tensor:
    side = 2 * w + 1
    return functional.avg_pool2d(values[:, None], side, stride=1, padding=w, divisor_override=1).squeeze(1)


def _any(exponent: Tensor, w: int) -> Tensor:
    # The logarithm of 1 - sigmoid(x) is -softplus(x).
    return -torch.expm1(-_total(functional.softplus(exponent), w))


def _threshold(exponent: Tensor, k: int) -> Tensor:
    """Return t such that the sigmoids of `exponent` - t sum to k, with its slope, (N, 1, 1)."""
    values, pixels = exponent.detach().flatten(1), exponent.shape[1] * exponent.shape[2]
    low = values.amin(dim=1, keepdim=True) - pixels
    high = values.amax(dim=1, keepdim=True) + pixels
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        above = torch.sigmoid(values - middle).sum(dim=1, keepdim=True) > k
        low, high = torch.where(above, middle, low), torch.where(above, high, middle)
    share = torch.sigmoid(values - high)
    slope = share * (1 - share)
    slope = slope / slope.sum(dim=1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    # The sum stays k, so t moves by the mean of the movements, weighted by the sigmoids' slopes.
    return (high + (slope * (exponent.flatten(1) - values)).sum(dim=1, keepdim=True)).unsqueeze(2)
