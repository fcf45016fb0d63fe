"""What attacks with several iterates select by."""

from dataclasses import dataclass

from torch import Tensor

from lit_xai.attacks.base import Criterion
from lit_xai.metrics.center_shift import center_shift
from lit_xai.metrics.maps import check_k
from lit_xai.metrics.rank import kendall
from lit_xai.metrics.top_k import top_k_intersection


@dataclass(frozen=True)
class Intersection(Criterion):
    """The share of the k most important pixels that stays among them.

    Args:
        k: Number of pixels.

    Raises:
        ValueError: If `k` is below 1.
    """

    k: int = 1000

    def __post_init__(self) -> None:
        check_k(self.k)

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return top_k_intersection(clean_map, attacked_map, k=self.k)


@dataclass(frozen=True)
class KendallTau(Criterion):
    """Kendall's tau-b of the two maps, by which Chen et al. (2019, arXiv 1905.09957) select."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return kendall(clean_map, attacked_map)


@dataclass(frozen=True)
class CenterDistance(Criterion):
    """The distance between the two centres of mass, in pixels, negative because attacks enlarge it."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return -center_shift(clean_map, attacked_map)
