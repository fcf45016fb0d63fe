"""Rank correlations, right for any number of ties and pixels."""

import torch
from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import Reduce, check_map_pair, check_reduce, check_w, map_pair, smooth
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def _constant(values: Tensor) -> Tensor:
    return (values == values[:, :1]).all(dim=1)


def _groups(*columns: Tensor) -> Tensor:
    """Number the runs of equal neighbours in sorted rows, (N, n), from 0."""
    starts = torch.zeros_like(columns[0], dtype=torch.bool)
    for column in columns:
        starts[:, 1:] |= column[:, 1:] != column[:, :-1]
    return starts.long().cumsum(dim=1)


def average_ranks(values: Tensor) -> Tensor:
    """Return the rank of each value, from 1, tied values sharing their mean rank.

    Args:
        values: (N, n).

    Returns:
        Ranks, (N, n), float64.

    Example:
        >>> average_ranks(torch.tensor([[5.0, 2.0, 5.0]]))
        tensor([[2.5000, 1.0000, 2.5000]], dtype=torch.float64)
    """
    ordered, order = values.sort(dim=1, stable=True)
    group = _groups(ordered)
    size = torch.zeros_like(group).scatter_add_(1, group, torch.ones_like(group))
    last = size.cumsum(dim=1)
    mean = (last.double() - (size.double() - 1) / 2).gather(1, group)
    return torch.empty_like(mean).scatter_(1, order, mean)


def _tied_pairs(group: Tensor) -> Tensor:
    size = torch.zeros_like(group).scatter_add_(1, group, torch.ones_like(group)).double()
    return (size * (size - 1) / 2).sum(dim=1)


def _inversions(values: Tensor) -> Tensor:
    """Count the pairs of each row (N, n) whose first value is the larger, by merging sorted halves."""
    rows, length = values.shape
    size = 1 << max(length - 1, 0).bit_length()
    padding = values.new_full((rows, size - length), torch.iinfo(values.dtype).max)
    merged = torch.cat([values, padding], dim=1)
    total = torch.zeros(rows, dtype=torch.float64, device=values.device)
    half = 1
    while half < size:
        left, right = merged.view(-1, 2, half).unbind(dim=1)
        greater = half - torch.searchsorted(left.contiguous(), right.contiguous(), right=True)
        total += greater.view(rows, size // 2).sum(dim=1)
        merged = merged.view(-1, 2 * half).sort(dim=1).values.view(rows, size)
        half *= 2
    return total


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return Spearman's rank correlation, with mean ranks for ties.

    Args:
        first: Maps, (N, H, W).
        second: Maps, (N, H, W).

    Returns:
        Correlations in [-1, 1], (N,), float64; NaN where a map is constant.

    Raises:
        ValueError: If the shapes differ or a value is not finite.
    """
    check_map_pair(first, second)
    ranks = [average_ranks(maps.flatten(1)) for maps in (first, second)]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    norms = centred[0].norm(dim=1) * centred[1].norm(dim=1)
    correlation = ((centred[0] * centred[1]).sum(dim=1) / norms).clamp(-1.0, 1.0)
    constant = _constant(first.flatten(1)) | _constant(second.flatten(1))
    masked: Tensor = correlation.masked_fill(constant, float("nan"))
    return masked


def kendall(first: Tensor, second: Tensor) -> Tensor:
    """Return Kendall's tau-b (Kendall, 1945), by counting discordant pairs in n log n steps (Knight, 1966).

    Args:
        first: Maps, (N, H, W).
        second: Maps, (N, H, W).

    Returns:
        Correlations in [-1, 1], (N,), float64; NaN where a map is constant.

    Raises:
        ValueError: If the shapes differ or a value is not finite.
    """
    check_map_pair(first, second)
    x, y = first.flatten(1), second.flatten(1)
    by_y = y.argsort(dim=1, stable=True)
    by_x_then_y = by_y.gather(1, x.gather(1, by_y).argsort(dim=1, stable=True))
    y_group = torch.empty_like(by_y).scatter_(1, by_y, _groups(y.gather(1, by_y)))
    x, y_group = x.gather(1, by_x_then_y), y_group.gather(1, by_x_then_y)
    x_tied, y_tied = _tied_pairs(_groups(x)), _tied_pairs(y_group)
    both_tied = _tied_pairs(_groups(x, y_group))
    pairs = x.shape[1] * (x.shape[1] - 1) / 2
    agreement = pairs - x_tied - y_tied + both_tied - 2 * _inversions(y_group)
    correlation: Tensor = agreement / ((pairs - x_tied).sqrt() * (pairs - y_tied).sqrt())
    return correlation.clamp(-1.0, 1.0)


def _windowed(correlation: Tensor, first: Tensor, second: Tensor) -> Tensor:
    # A constant map smoothed with zeros outside has a border; it still says nothing.
    constant = _constant(first.flatten(1)) | _constant(second.flatten(1))
    return correlation.masked_fill(constant, float("nan"))


def lens_spearman(first: Tensor, second: Tensor, *, w: int) -> Tensor:
    """Return Spearman's correlation of maps averaged over windows (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        first: Maps, (N, H, W).
        second: Maps, (N, H, W).
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels, zero outside the image; 0 for none.

    Returns:
        Correlations in [-1, 1], (N,), float64; NaN where a map is constant before it is smoothed.

    Raises:
        ValueError: If the shapes differ, a value is not finite or `w` is negative.
    """
    return _windowed(spearman(smooth(first, w), smooth(second, w)), first, second)


def lens_kendall(first: Tensor, second: Tensor, *, w: int) -> Tensor:
    """Return Kendall's tau-b of maps averaged over windows (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        first: Maps, (N, H, W).
        second: Maps, (N, H, W).
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels, zero outside the image; 0 for none.

    Returns:
        Correlations in [-1, 1], (N,), float64; NaN where a map is constant before it is smoothed.

    Raises:
        ValueError: If the shapes differ, a value is not finite or `w` is negative.
    """
    return _windowed(kendall(smooth(first, w), smooth(second, w)), first, second)


class Spearman(SampleMetric):
    """Mean Spearman correlation of the maps before and after an attack (Chen et al., 2019, arXiv 1905.09957).

    With `w` above 0 this is LENS-Spearman (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        w: Half-width of the windows that the maps are averaged over, in pixels.
        reduce: From channels to pixels, as in `pixel_map`.

    Raises:
        ValueError: If `w` is negative or `reduce` is unknown.
    """

    higher_is_better = True
    compares_maps = True

    def __init__(self, w: int = 0, *, reduce: Reduce = "abs_sum") -> None:
        super().__init__()
        check_w(w)
        check_reduce(reduce)
        self.w = w
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return lens_spearman(*map_pair(result, self.reduce), w=self.w)


class Kendall(SampleMetric):
    """Mean Kendall tau-b of the maps before and after an attack (Chen et al., 2019, arXiv 1905.09957).

    With `w` above 0 this is LENS-Kendall (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        w: Half-width of the windows that the maps are averaged over, in pixels.
        reduce: From channels to pixels, as in `pixel_map`.

    Raises:
        ValueError: If `w` is negative or `reduce` is unknown.
    """

    higher_is_better = True
    compares_maps = True

    def __init__(self, w: int = 0, *, reduce: Reduce = "abs_sum") -> None:
        super().__init__()
        check_w(w)
        check_reduce(reduce)
        self.w = w
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return lens_kendall(*map_pair(result, self.reduce), w=self.w)
