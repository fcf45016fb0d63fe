"""From signed attributions to maps over pixels, and the order of their pixels."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Reduce = Literal["abs_sum", "sum_abs", "sum"]


def pixel_map(attribution: Tensor, reduce: Reduce = "abs_sum") -> Tensor:
    """Reduce an attribution over its channels.

    Args:
        attribution: Signed values, (N, C, H, W).
        reduce: `abs_sum` sums magnitudes, `sum_abs` takes the magnitude of the sum, `sum` keeps the sign.

    Returns:
        Maps, (N, H, W).

    Raises:
        ValueError: If the shape is not (N, C, H, W) or `reduce` is unknown.
    """
    if attribution.ndim != 4:
        raise ValueError(
            f"Expected an attribution of shape (N, C, H, W), but got {tuple(attribution.shape)}."
        )
    if reduce == "abs_sum":
        return attribution.abs().sum(dim=1)
    if reduce == "sum_abs":
        return attribution.sum(dim=1).abs()
    if reduce == "sum":
        return attribution.sum(dim=1)
    raise ValueError(f"Expected `reduce` as abs_sum, sum_abs or sum, but got {reduce}.")


def check_pair(first: Tensor, second: Tensor) -> None:
    """Refuse maps of different shapes.

    Raises:
        ValueError: If the shapes differ.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"Expected maps of one shape, but got {tuple(first.shape)} and {tuple(second.shape)}."
        )


def descending_rank(maps: Tensor) -> Tensor:
    """Return each pixel's place when pixels are sorted by value, the largest first.

    Ties go to the lowest flat index, which `torch.topk` does not promise.

    Args:
        maps: Values, (N, ...).

    Returns:
        Places from 0 within each sample, (N, ...), int64.
    """
    order = maps.flatten(1).argsort(dim=1, descending=True, stable=True)
    place = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, place).view(maps.shape)


def top_k_mask(maps: Tensor, k: int) -> Tensor:
    """Mark the k largest values of each map.

    Args:
        maps: Values, (N, H, W).
        k: Number of pixels.

    Returns:
        (N, H, W), bool.

    Raises:
        ValueError: If a map has fewer than `k` pixels.
    """
    pixels = maps.shape[1] * maps.shape[2]
    if not 1 <= k <= pixels:
        raise ValueError(f"Expected `k` in [1, {pixels}], but got {k}.")
    return descending_rank(maps) < k


def smooth(maps: Tensor, w: int) -> Tensor:
    """Average each pixel over its (2w + 1) x (2w + 1) window, as if the map were zero outside.

    Args:
        maps: Values, (N, H, W).
        w: Half-width of the window, in pixels.

    Returns:
        Maps, (N, H, W).

    Raises:
        ValueError: If `w` is negative.
    """
    check_w(w)
    # Sums over windows, unlike running sums, keep exact zeros and so exact ties.
    return functional.avg_pool2d(maps[:, None], 2 * w + 1, stride=1, padding=w).squeeze(1) if w else maps


def check_w(w: int) -> None:
    """Refuse a negative window.

    Raises:
        ValueError: If `w` is negative.
    """
    if w < 0:
        raise ValueError(f"Expected `w` of at least 0, but got {w}.")


def check_k(k: int) -> None:
    """Refuse an empty set.

    Raises:
        ValueError: If `k` is below 1.
    """
    if k < 1:
        raise ValueError(f"Expected `k` of at least 1, but got {k}.")
