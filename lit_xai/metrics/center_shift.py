"""How far an explanation's centre of mass moves."""

from typing import Literal

import torch
from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import check_map_pair, check_reduce, map_pair
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def mass_center(maps: Tensor) -> Tensor:
    """Return the centre of mass of each map.

    Args:
        maps: Non-negative values, (N, H, W).

    Returns:
        Row and column, in pixels, (N, 2); NaN for a map of zeros.
    """
    rows = torch.arange(maps.shape[1], device=maps.device, dtype=maps.dtype)
    columns = torch.arange(maps.shape[2], device=maps.device, dtype=maps.dtype)
    mass = maps.sum(dim=(1, 2))
    return (
        torch.stack([(maps.sum(dim=2) * rows).sum(dim=1), (maps.sum(dim=1) * columns).sum(dim=1)], dim=1)
        / mass[:, None]
    )


def center_shift(first: Tensor, second: Tensor) -> Tensor:
    """Return how far an explanation's centre of mass moved (Ghorbani et al., 2019, arXiv 1710.10547).

    Deviation: the released code cuts both centres to whole pixels.

    Args:
        first: Non-negative maps, (N, H, W).
        second: Non-negative maps, (N, H, W).

    Returns:
        Euclidean distances, in pixels, (N,), float64; NaN where a map is all zero.

    Raises:
        ValueError: If the shapes differ, or a value is negative or not finite.

    Example:
        >>> corner, opposite = torch.eye(4)[[0]].view(1, 2, 2), torch.eye(4)[[3]].view(1, 2, 2)
        >>> center_shift(corner, opposite)
        tensor([1.4142], dtype=torch.float64)
    """
    check_map_pair(first, second)
    if bool((first < 0).any()) or bool((second < 0).any()):
        raise ValueError("Expected maps without negative values, but got some. Take their magnitudes.")
    shift = mass_center(first.double()) - mass_center(second.double())
    return shift.square().sum(dim=1).sqrt()


class CenterShift(SampleMetric):
    """Mean distance, in pixels, between the centres of mass before and after an attack.

    Args:
        reduce: From channels to pixels, as in `pixel_map`; a mass has no sign.

    Raises:
        ValueError: If `reduce` is unknown or keeps the sign.
    """

    higher_is_better = False
    compares_maps = True

    def __init__(self, reduce: Literal["abs_sum", "sum_abs"] = "abs_sum") -> None:
        super().__init__()
        check_reduce(reduce, ("abs_sum", "sum_abs"))
        self.reduce: Literal["abs_sum", "sum_abs"] = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return center_shift(*map_pair(result, self.reduce))
