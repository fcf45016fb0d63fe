"""Set overlap that forgives small shifts (Kamath et al., 2024, arXiv 2312.10534)."""

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import check_k, check_pair, check_w, pixel_map, top_k_mask
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def window_union(mask: Tensor, w: int) -> Tensor:
    """Return the union of the windows around marked pixels, cut at the border.

    Args:
        mask: (N, H, W), bool.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.

    Returns:
        (N, H, W), bool.
    """
    return functional.max_pool2d(mask[:, None].float(), 2 * w + 1, stride=1, padding=w).squeeze(1) > 0


def lens_precision(first: Tensor, second: Tensor, *, k: int, w: int) -> Tensor:
    """Return the share of the first map's top k that lies near the second map's top k (w-LENS-precision).

    Args:
        first: Maps of clean images, ranked by signed value, ties by lowest flat index, (N, H, W).
        second: Maps of attacked images, (N, H, W).
        k: Number of pixels.
        w: Half-width of the windows, in pixels; 0 gives the top-k intersection.

    Returns:
        Shares in [0, 1], (N,).

    Raises:
        ValueError: If the shapes differ, a map has fewer than `k` pixels, or `w` is negative.
    """
    check_pair(first, second)
    check_w(w)
    near = top_k_mask(first, k) & window_union(top_k_mask(second, k), w)
    return near.flatten(1).sum(dim=1).to(first.dtype) / k


def lens_recall(first: Tensor, second: Tensor, *, k: int, w: int) -> Tensor:
    """Return the share of the second map's top k that lies near the first map's top k (w-LENS-recall).

    The names are the paper's; in terms of retrieval, with the clean set as the relevant one, they are
    exchanged.

    Args:
        first: Maps of clean images, ranked by signed value, ties by lowest flat index, (N, H, W).
        second: Maps of attacked images, (N, H, W).
        k: Number of pixels.
        w: Half-width of the windows, in pixels; 0 gives the top-k intersection.

    Returns:
        Shares in [0, 1], (N,).

    Raises:
        ValueError: If the shapes differ, a map has fewer than `k` pixels, or `w` is negative.
    """
    check_pair(first, second)
    return lens_precision(second, first, k=k, w=w)


class LENSPrecision(SampleMetric):
    """Mean w-LENS-precision of the maps before and after an attack (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        k: Number of pixels.
        w: Half-width of the windows, in pixels; 0 gives the top-k intersection.

    Raises:
        ValueError: If `k` is below 1 or `w` is negative.
    """

    higher_is_better = True

    def __init__(self, k: int = 100, w: int = 1) -> None:
        super().__init__()
        check_k(k)
        check_w(w)
        self.k = k
        self.w = w

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        first, second = pixel_map(result.attribution), pixel_map(result.attribution_adv)
        return lens_precision(first, second, k=self.k, w=self.w)


class LENSRecall(SampleMetric):
    """Mean w-LENS-recall of the maps before and after an attack (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        k: Number of pixels.
        w: Half-width of the windows, in pixels; 0 gives the top-k intersection.

    Raises:
        ValueError: If `k` is below 1 or `w` is negative.
    """

    higher_is_better = True

    def __init__(self, k: int = 100, w: int = 1) -> None:
        super().__init__()
        check_k(k)
        check_w(w)
        self.k = k
        self.w = w

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        first, second = pixel_map(result.attribution), pixel_map(result.attribution_adv)
        return lens_recall(first, second, k=self.k, w=self.w)
