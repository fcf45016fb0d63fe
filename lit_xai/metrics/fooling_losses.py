"""How far a network's maps are from what fooling aims at (Heo et al., 2019, arXiv 1902.02041)."""

import torch
from torch import Tensor

from lit_xai.metrics.center_shift import mass_center
from lit_xai.metrics.maps import check_map_pair, top_k_mask
from lit_xai.metrics.rank import spearman

_TOP = 0.1
_FRAME = 7
_FARTHEST = 0.3


def heatmap(attribution: Tensor) -> Tensor:
    """Return the positive part of an attribution's sum over channels, scaled to [0, 1] map by map.

    Args:
        attribution: Signed values, (N, C, H, W).

    Returns:
        Maps, (N, H, W), float64; a constant one is all zero.
    """
    values = attribution.double().sum(dim=1).relu()
    if not len(values):
        return values
    values = values - values.amin(dim=(1, 2), keepdim=True)
    size = values.amax(dim=(1, 2), keepdim=True)
    return values / size.masked_fill(size == 0, 1.0)


def location_loss(maps: Tensor) -> Tensor:
    """Return the mean squared distance of maps (N, H, W) from a frame a seventh wide, (N,)."""
    height, width = maps.shape[1:]
    rows, columns = max(1, height // _FRAME), max(1, width // _FRAME)
    frame = torch.ones(height, width, dtype=maps.dtype, device=maps.device)
    frame[rows : height - rows, columns : width - columns] = 0
    return (frame - maps).square().mean(dim=(1, 2))


def top_k_loss(maps: Tensor, reference: Tensor) -> Tensor:
    """Return the mean square of maps (N, H, W) where the reference's are in their highest tenth, (N,)."""
    check_map_pair(maps, reference)
    k = max(1, round(_TOP * maps[0].numel())) if len(maps) else 1
    return (maps.square() * top_k_mask(reference, k)).sum(dim=(1, 2)) / k


def center_displacement(maps: Tensor, reference: Tensor) -> Tensor:
    """Return how far the centre of mass lies from the reference's, in sides of the map, (N,).

    NaN where a map is all zero.
    """
    check_map_pair(maps, reference)
    sides = torch.tensor(maps.shape[1:], dtype=maps.dtype, device=maps.device) - 1
    shift = (mass_center(maps) - mass_center(reference)) / sides.clamp_min(1)
    return shift.square().mean(dim=1).sqrt()


def center_reward(maps: Tensor, reference: Tensor) -> Tensor:
    """Return how far the centre of mass lies from the reference's along both axes together, to be trained.

    Each axis counts up to 0.3 of its side. At no distance, where a magnitude has no slope, the centre is sent
    down and to the right.

    Args:
        maps: Non-negative values, (N, H, W).
        reference: Non-negative values, (N, H, W).

    Returns:
        Sums of two distances in sides of the map, in [0, 0.6], (N,); 0, with no derivative, where a map is
        all zero.
    """
    check_map_pair(maps, reference)
    empty = (maps.sum(dim=(1, 2)) == 0) | (reference.sum(dim=(1, 2)) == 0)
    # Filled before the division: a derivative through 0 / 0 would be NaN, whatever hides it later.
    first, second = (
        mass_center(values.masked_fill(empty[:, None, None], 1.0)) for values in (maps, reference)
    )
    sides = torch.tensor(maps.shape[1:], dtype=maps.dtype, device=maps.device) - 1
    shift = (first - second) / sides.clamp_min(1)
    return torch.where(shift >= 0, shift, -shift).clamp_max(_FARTHEST).sum(dim=1)


def swap_gain(maps: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Return by how much maps rank like another class's rather than their own, in [-2, 2], (N,)."""
    return spearman(maps, other) - spearman(maps, own)
