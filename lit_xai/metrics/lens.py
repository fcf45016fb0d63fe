"""Set overlap that forgives small shifts (Kamath et al., 2024, arXiv 2312.10534)."""

import warnings
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import (
    Reduce,
    check_finite,
    check_k,
    check_map_pair,
    check_maps,
    check_reduce,
    check_w,
    map_pair,
    top_k_mask,
)
from lit_xai.metrics.windows import spaced, window_union
from lit_xai.noise import Noise
from lit_xai.types import AttackResult

DivideBy = Literal["k", "found"]


def diverse_top_k_mask(maps: Tensor, *, k: int, w: int) -> Tensor:
    """Mark the k largest values of each map of which none lies in another's window.

    The greedy choice of the paper: the largest value that is left, ties by lowest flat index, forbids its
    window; and again, until k are found or none is left. The released code differs: it passes over the second
    choice, never takes the first pixel, and lets windows wrap around rows. The paper's claim that the choice
    has the largest possible sum does not hold: of (0.9, 1, 0.9) and w = 1 it takes the middle alone.

    Args:
        maps: Values, (N, H, W). The choice is made on the host, some milliseconds for a map of 224 x 224.
        k: Number of pixels.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels; 0 gives the top k.

    Returns:
        (N, H, W), bool. Fewer than `k` are marked, under a warning, where no more fit.

    Raises:
        ValueError: If a map has fewer than `k` pixels or a value is not finite, or `w` is negative.
    """
    check_maps(maps)
    check_w(w)
    check_finite(maps)
    height, width = maps.shape[1:]
    check_k(k, height * width)
    mask = torch.zeros(len(maps), height * width, dtype=torch.bool)
    lacking, reach = list(range(len(maps))), min(4 * k, height * width)
    while lacking:
        orders = _leading(maps[lacking], reach).cpu()
        for row, order in zip(lacking, orders, strict=True):
            mask[row, spaced(order, height, width, k=k, w=w)] = True
        found = mask.sum(dim=1)
        lacking = [row for row in lacking if found[row] < k] if reach < height * width else []
        reach = min(4 * reach, height * width)
    if bool((mask.sum(dim=1) < k).any()):
        warnings.warn(
            f"Expected {k} pixels with none in another's window of {2 * w + 1} x {2 * w + 1}, but fewer fit "
            f"into maps of {height} x {width}. Lower `k` or `w`, or divide by the number found.",
            UserWarning,
            stacklevel=2,
        )
    return mask.view(maps.shape).to(maps.device)


def _leading(maps: Tensor, size: int) -> Tensor:
    """Return the flat indices of each map's largest values in their order, (N, size), int64."""
    places = top_k_mask(maps, size).flatten(1).nonzero()[:, 1].view(len(maps), size)
    order = maps.flatten(1).gather(1, places).argsort(dim=1, descending=True, stable=True)
    return places.gather(1, order)


@dataclass(frozen=True)
class Neighbourhoods:
    """Top-k sets and their windows: what precision, recall and distance have in common.

    Args:
        k: Number of pixels.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.
        diverse: Whether no pixel of a set may lie in another's window.
        divide_by: What a share of a set is a share of: `k`, or the number of pixels `found`.

    Raises:
        ValueError: If `k` is below 1, `w` is negative, or `divide_by` is unknown or has no effect.
    """

    k: int
    w: int
    diverse: bool = False
    divide_by: DivideBy = "k"

    def __post_init__(self) -> None:
        check_k(self.k)
        check_w(self.w)
        if self.divide_by not in ("k", "found"):
            raise ValueError(f"Expected `divide_by` as k or found, but got {self.divide_by}.")
        if self.divide_by == "found" and not self.diverse:
            raise ValueError("Expected `divide_by` as k, but got found: only diverse sets lack pixels.")

    def precision(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the share of the first map's set that lies in the windows of the second's, (N,), float64."""
        chosen, others = self._sets(first, second)
        return self._share(chosen & window_union(others, self.w), chosen)

    def recall(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the share of the second map's set that lies in the windows of the first's, (N,), float64."""
        return self.precision(second, first)

    def distance(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the shares of both sets outside the windows of the other, added, (N,), float64."""
        sets = self._sets(first, second)
        far = [chosen & ~window_union(others, self.w) for chosen, others in (sets, reversed(sets))]
        return self._share(far[0], sets[0]) + self._share(far[1], sets[1])

    def _sets(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        check_map_pair(first, second)
        if self.diverse:
            both = diverse_top_k_mask(torch.cat([first, second]), k=self.k, w=self.w)
            return both[: len(first)], both[len(first) :]
        return top_k_mask(first, self.k), top_k_mask(second, self.k)

    def _share(self, part: Tensor, chosen: Tensor) -> Tensor:
        size = chosen.flatten(1).sum(dim=1) if self.divide_by == "found" else self.k
        return part.flatten(1).sum(dim=1).double() / size


def lens_precision(
    first: Tensor, second: Tensor, *, k: int, w: int, diverse: bool = False, divide_by: DivideBy = "k"
) -> Tensor:
    """Return the share of the first map's top k that lies near the second map's top k (w-LENS-precision).

    Args:
        first: Maps of clean images, ranked by signed value, ties by lowest flat index, (N, H, W).
        second: Maps of attacked images, (N, H, W).
        k: Number of pixels.
        w: Half-width of the windows, in pixels; 0 gives the top-k intersection.
        diverse: Whether the sets are diverse ones (see `diverse_top_k_mask`). Where fewer than `k` fit, every
            pixel lies in the window of one of them, so the share says nothing about the other map.
        divide_by: `k`, or the number of pixels `found` where fewer than `k` diverse ones fit.

    Returns:
        Shares in [0, 1], (N,), float64.

    Raises:
        ValueError: If the maps do not fit each other, `k` or `w`, or an option has no effect.
    """
    return Neighbourhoods(k, w, diverse, divide_by).precision(first, second)


def lens_recall(
    first: Tensor, second: Tensor, *, k: int, w: int, diverse: bool = False, divide_by: DivideBy = "k"
) -> Tensor:
    """Return the share of the second map's top k that lies near the first map's top k (w-LENS-recall).

    The names are the paper's; in terms of retrieval, with the clean set as the relevant one, they are
    exchanged. Arguments, returns and errors are those of `lens_precision`.
    """
    return Neighbourhoods(k, w, diverse, divide_by).recall(first, second)


def lens_distance(
    first: Tensor, second: Tensor, *, k: int, w: int, diverse: bool = False, divide_by: DivideBy = "k"
) -> Tensor:
    """Return the shares of both maps' top k that lie far from the other's, added (section 3.1).

    Of plain sets this is 2 - precision - recall. Arguments and errors are those of `lens_precision`.

    Returns:
        Distances in [0, 2], (N,), float64.
    """
    return Neighbourhoods(k, w, diverse, divide_by).distance(first, second)


class LENSMetric(SampleMetric):
    """What scores of two sets and their windows have in common; `LENSPrecision` documents the options."""

    compares_maps = True

    def __init__(
        self,
        k: int = 100,
        w: int = 1,
        *,
        diverse: bool = False,
        divide_by: DivideBy = "k",
        reduce: Reduce = "abs_sum",
    ) -> None:
        super().__init__()
        check_reduce(reduce)
        self.windows = Neighbourhoods(k, w, diverse, divide_by)
        self.reduce = reduce


class LENSPrecision(LENSMetric):
    """Mean w-LENS-precision of the maps before and after an attack (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        k: Number of pixels.
        w: Half-width of the windows, in pixels; 0 gives the top-k intersection.
        diverse: Whether the sets are diverse ones; `DiverseCount` says how many pixels they hold.
        divide_by: `k`, or the number of pixels `found` where fewer than `k` diverse ones fit.
        reduce: From channels to pixels, as in `pixel_map`.

    Raises:
        ValueError: If an option is out of its range or has no effect.
    """

    higher_is_better = True

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self.windows.precision(*map_pair(result, self.reduce))


class LENSRecall(LENSMetric):
    """Mean w-LENS-recall of the maps before and after an attack (Kamath et al., 2024, arXiv 2312.10534).

    Options and errors are those of `LENSPrecision`.
    """

    higher_is_better = True

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self.windows.recall(*map_pair(result, self.reduce))
