"""How far an explanation's centre of mass moves."""

import torch
from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import check_pair, pixel_map
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
        Euclidean distances, in pixels, (N,).

    Raises:
        ValueError: If the shapes differ.

    Example:
        >>> corner, opposite = torch.eye(4)[[0]].view(1, 2, 2), torch.eye(4)[[3]].view(1, 2, 2)
        >>> center_shift(corner, opposite)
        tensor([1.4142])
    """
    check_pair(first, second)
    distance: Tensor = (mass_center(first) - mass_center(second)).norm(dim=1)
    return distance


class CenterShift(SampleMetric):
    """Mean distance, in pixels, between the centres of mass before and after an attack."""

    higher_is_better = False

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return center_shift(pixel_map(result.attribution), pixel_map(result.attribution_adv))
