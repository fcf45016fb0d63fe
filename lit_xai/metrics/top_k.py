"""How many of the most important pixels stay the most important."""

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import Reduce, check_k, check_map_pair, check_reduce, map_pair, top_k_mask
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def top_k_intersection(first: Tensor, second: Tensor, *, k: int) -> Tensor:
    """Return the share of the k largest values that two maps share (Ghorbani et al., 2019, arXiv 1710.10547).

    Args:
        first: Maps, ranked by signed value, ties by lowest flat index, (N, H, W).
        second: Maps, (N, H, W).
        k: Number of pixels.

    Returns:
        Shares in [0, 1], (N,), float64.

    Raises:
        ValueError: If the shapes differ, a map has fewer than `k` pixels or a value is not finite.

    Example:
        >>> import torch
        >>> first = torch.tensor([[[4.0, 3.0], [2.0, 1.0]]])
        >>> top_k_intersection(first, first.flip(2), k=1), top_k_intersection(first, first.flip(2), k=2)
        (tensor([0.], dtype=torch.float64), tensor([1.], dtype=torch.float64))
    """
    check_map_pair(first, second)
    common = top_k_mask(first, k) & top_k_mask(second, k)
    return common.flatten(1).sum(dim=1).double() / k


class TopKIntersection(SampleMetric):
    """Mean share of the k most important pixels that an attack leaves among them (Ghorbani et al., 2019).

    Args:
        k: Number of pixels; 100 for images of 28 or 32 pixels and 1000 for larger ones in the literature.
        reduce: From channels to pixels, as in `pixel_map`.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = True
    compares_maps = True

    def __init__(self, k: int = 100, *, reduce: Reduce = "abs_sum") -> None:
        super().__init__()
        check_k(k)
        check_reduce(reduce)
        self.k = k
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return top_k_intersection(*map_pair(result, self.reduce), k=self.k)
