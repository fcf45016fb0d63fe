"""How many important pixels fit without lying in each other's windows."""

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.lens import diverse_top_k_mask
from lit_xai.metrics.maps import Reduce, check_k, check_reduce, check_w, pixel_map
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


class DiverseCount(SampleMetric):
    """Mean number of pixels in the attacked map's diverse top k (Kamath et al., 2024, arXiv 2312.10534).

    The companion of the diverse forms of `LENSPrecision`, `LENSRecall` and `LENSDistance`: below `k`, more
    pixels did not fit. Under `Unattacked` it counts those of the clean map.

    Args:
        k: Number of pixels.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.
        reduce: From channels to pixels, as in `pixel_map`.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = True

    def __init__(self, k: int = 100, w: int = 1, *, reduce: Reduce = "abs_sum") -> None:
        super().__init__()
        check_k(k)
        check_w(w)
        check_reduce(reduce)
        self.k = k
        self.w = w
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        mask = diverse_top_k_mask(pixel_map(result.attribution_adv, self.reduce), k=self.k, w=self.w)
        return mask.flatten(1).sum(dim=1).double()
