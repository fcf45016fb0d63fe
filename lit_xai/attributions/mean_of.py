"""Aggregates of several explanations."""

import math
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Self

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, safe_root, warn_of_zeros
from lit_xai.noise import Noise
from lit_xai.types import Donors


def shares(attribution: Tensor) -> Tensor:
    """Return each pixel's share of the magnitude of a map.

    Args:
        attribution: Signed maps, (N, C, H, W).

    Returns:
        Non-negative maps that sum to one, (N, 1, H, W); zeros where a map is zero.
    """
    magnitude = attribution.abs().sum(dim=1, keepdim=True)
    total = magnitude.sum(dim=(2, 3), keepdim=True)
    return magnitude / torch.where(total > 0, total, 1.0)


def variance_weighted(members: Tensor, spread: float) -> Tensor:
    """Return the mean of maps, divided by how much they differ at each pixel.

    Args:
        members: Maps that sum to one, (J, N, 1, H, W).
        spread: Added to the standard deviation of each pixel, in mean standard deviations of the image.

    Returns:
        Maps that sum to one, (N, 1, H, W).
    """
    scaled = members * math.prod(members.shape[-2:])
    # From differences of pairs, so that equal members have no deviation, not even one of rounding.
    variance = sum((one - other) ** 2 for one, other in combinations(scaled, 2)) / len(scaled) ** 2
    deviation = safe_root(torch.as_tensor(variance))
    typical = deviation.mean(dim=(2, 3), keepdim=True)
    floor = torch.finfo(scaled.dtype).eps ** 0.5
    return shares(scaled.mean(dim=0) / (deviation + spread * typical + floor))


@dataclass(frozen=True)
class MeanOf(Attribution):
    """Explain by the mean of several explanations, Agg-Mean (Rieger and Hansen, 2020, arXiv 2007.06381).

    Each member's magnitudes are summed over channels and divided by their sum over pixels. Members draw
    independently of each other. Deviation: the members are the user's to choose. A member whose map is zero
    adds nothing, and a warning counts it.

    Args:
        members: The methods, at least two.

    Raises:
        ValueError: If there are fewer than two members.
    """

    members: tuple[Attribution, ...]

    def __post_init__(self) -> None:
        if len(self.members) < 2:
            raise ValueError(
                f"Expected at least 2 `members`, but got {len(self.members)}. Use the method itself."
            )

    @property
    def differentiable(self) -> bool:
        return all(member.differentiable for member in self.members)

    def prepare(self, model: nn.Module, donors: Donors) -> Self:
        return replace(self, members=tuple(member.prepare(model, donors) for member in self.members))

    def coarse(self, points: int) -> Self:
        return replace(self, members=tuple(member.coarse(points) for member in self.members))

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        with torch.set_grad_enabled(self.differentiable and torch.is_grad_enabled()):
            maps = [
                shares(member.attribute(model, image, target, noise.child(str(index))))
                for index, member in enumerate(self.members)
            ]
            members = torch.stack(maps)
            present = members.detach().bool().flatten(2).any(dim=2).all(dim=0)
            warn_of_zeros(present, "a map of each member", "Such a map adds nothing.")
            return self._aggregate(members)

    def _aggregate(self, members: Tensor) -> Tensor:
        return members.mean(dim=0)


@dataclass(frozen=True)
class VarianceWeightedMean(MeanOf):
    """Explain where several explanations agree, Agg-Var (Rieger and Hansen, 2019, arXiv 1903.00519).

    The mean of the members is divided by their standard deviation at each pixel plus a constant. Ours, where
    the source leaves it open: the constant is `spread` times the mean deviation over the pixels of the same
    image, so that a map depends on no other image; the result is divided by its sum. A floor under the
    divisor, the square root of the machine's precision relative to the mean of a map, makes equal members
    give their mean.

    Args:
        members: The methods, at least two.
        spread: The constant, in mean standard deviations of the image. Large values approach `MeanOf`.

    Raises:
        ValueError: If there are fewer than two members, or `spread` is not above 0.
    """

    spread: float = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.spread > 0:
            raise ValueError(f"Expected `spread` above 0, but got {self.spread:g}.")

    def _aggregate(self, members: Tensor) -> Tensor:
        return variance_weighted(members, self.spread)
