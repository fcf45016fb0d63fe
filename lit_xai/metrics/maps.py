"""From signed attributions to maps over pixels, and the order of their pixels."""

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

from lit_xai.types import AttackResult

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
    check_reduce(reduce)
    if reduce == "abs_sum":
        return attribution.abs().sum(dim=1)
    total = attribution.sum(dim=1)
    return total.abs() if reduce == "sum_abs" else total


def map_pair(result: AttackResult, reduce: Reduce | None) -> tuple[Tensor, Tensor]:
    """Return the maps before and after an attack, (N, H, W), or as they are, (N, C, H, W), if None."""
    if reduce is None:
        return result.attribution, result.attribution_adv
    return pixel_map(result.attribution, reduce), pixel_map(result.attribution_adv, reduce)


def check_reduce(reduce: str, allowed: tuple[str, ...] = get_args(Reduce)) -> None:
    """Refuse an unknown way from channels to pixels.

    Raises:
        ValueError: If `reduce` is not among those allowed.
    """
    if reduce not in allowed:
        raise ValueError(f"Expected `reduce` as {' or '.join(allowed)}, but got {reduce}.")


def check_finite(values: Tensor, sample_id: Tensor | None = None, what: str = "maps") -> None:
    """Refuse values that cannot be compared.

    Args:
        values: (N, ...).
        sample_id: Positions in the data set, (N,), to name the sample by; by default its place in the batch.
        what: What the values are, for the message.

    Raises:
        ValueError: If a value is NaN or infinite.
    """
    # The extremes of all values are finite exactly if all are; one pass tells, without a copy.
    if values.numel() and not all(extreme.isfinite() for extreme in values.aminmax()):
        row = int((~values.isfinite()).flatten(1).any(dim=1).nonzero()[0])
        name = f"sample {row} of the batch" if sample_id is None else f"sample {sample_id[row].item()}"
        raise ValueError(f"Expected finite {what}, but got NaN or infinity for {name}.")


def check_pair(first: Tensor, second: Tensor) -> None:
    """Refuse maps that cannot be compared.

    Raises:
        ValueError: If the shapes differ or a value is NaN or infinite.
    """
    if first.shape != second.shape:
        raise ValueError(
            f"Expected maps of one shape, but got {tuple(first.shape)} and {tuple(second.shape)}."
        )
    check_finite(first)
    check_finite(second)


def check_map_pair(first: Tensor, second: Tensor) -> None:
    """Refuse maps over pixels that cannot be compared.

    Raises:
        ValueError: If the shapes differ or are not (N, H, W), or a value is NaN or infinite.
    """
    check_pair(first, second)
    check_maps(first)


def check_maps(maps: Tensor) -> None:
    """Refuse anything but maps over pixels.

    Raises:
        ValueError: If the shape is not (N, H, W).
    """
    if maps.ndim != 3:
        raise ValueError(f"Expected maps of shape (N, H, W), but got {tuple(maps.shape)}.")


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
    """Mark the k largest values of each map, ties by lowest flat index.

    Args:
        maps: Values, (N, H, W).
        k: Number of pixels.

    Returns:
        (N, H, W), bool.

    Raises:
        ValueError: If the shape is not (N, H, W) or a map has fewer than `k` pixels.
    """
    check_maps(maps)
    check_k(k, maps.shape[1] * maps.shape[2])
    values = maps.flatten(1)
    least = values.topk(k, dim=1, sorted=False).values.amin(dim=1, keepdim=True)
    chosen = values >= least
    if bool((chosen.sum(dim=1) > k).any()):
        larger, tied = values > least, values == least
        chosen = larger | (tied & (tied.cumsum(dim=1) <= k - larger.sum(dim=1, keepdim=True)))
    return chosen.view(maps.shape)


def smooth(maps: Tensor, w: int) -> Tensor:
    """Average each pixel over its (2w + 1) x (2w + 1) window, as if the map were zero outside.

    Args:
        maps: Values, (N, H, W).
        w: Half-width of the window, in pixels.

    Returns:
        Maps, (N, H, W), float64.

    Raises:
        ValueError: If the shape is not (N, H, W) or `w` is negative.
    """
    check_maps(maps)
    check_w(w)
    # Both keep ties: sums over windows, unlike running sums, keep exact zeros; double precision keeps sums of
    # single-precision values of about one size exact.
    values = maps.double()
    return functional.avg_pool2d(values[:, None], 2 * w + 1, stride=1, padding=w).squeeze(1) if w else values


def check_w(w: int) -> None:
    """Refuse a negative window.

    Raises:
        ValueError: If `w` is negative.
    """
    if w < 0:
        raise ValueError(f"Expected `w` of at least 0, but got {w}.")


def check_size(k: float) -> None:
    """Refuse what is neither a number of pixels nor a share of them.

    Raises:
        ValueError: If `k` is not positive, or above 1 and no whole number.
    """
    if not (0 < k < 1 or (k >= 1 and float(k).is_integer())):
        raise ValueError(f"Expected `k` as a number of pixels or a share in (0, 1), but got {k:g}.")


def size_of(k: float, maps: Tensor) -> int:
    """Return a number of pixels.

    Args:
        k: The number itself, or below 1 the share of the pixels, of which at least one is counted.
        maps: Values, (N, H, W).

    Example:
        >>> size_of(0.1, torch.zeros(1, 28, 28)), size_of(100, torch.zeros(1, 28, 28))
        (78, 100)
    """
    return max(1, round(k * maps.shape[1] * maps.shape[2])) if k < 1 else int(k)


def check_k(k: int, pixels: int | None = None) -> None:
    """Refuse a number of pixels that no map has.

    Raises:
        ValueError: If `k` is below 1 or above the number of pixels, where that is known.
    """
    if pixels is None and k < 1:
        raise ValueError(f"Expected `k` of at least 1, but got {k}.")
    if pixels is not None and not 1 <= k <= pixels:
        raise ValueError(f"Expected `k` in [1, {pixels}], but got {k}.")
