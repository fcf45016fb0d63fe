"""What attacks with several iterates select by."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from lit_xai.attacks.base import Criterion
from lit_xai.metrics.center_shift import center_shift
from lit_xai.metrics.lens import lens_precision, lens_recall
from lit_xai.metrics.maps import check_size, check_w, size_of
from lit_xai.metrics.rank import kendall, spearman
from lit_xai.metrics.top_k import top_k_intersection


@dataclass(frozen=True)
class Intersection(Criterion):
    """The share of the k most important pixels that stays among them.

    Args:
        k: Number of pixels, or below 1 their share.

    Raises:
        ValueError: If `k` is out of its range.
    """

    k: float = 1000
    lowest: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_size(self.k)

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return top_k_intersection(clean_map, attacked_map, k=size_of(self.k, clean_map))


@dataclass(frozen=True)
class LENSOverlap(Criterion):
    """Overlap of the top k that forgives small shifts (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        k: Number of pixels, or below 1 their share.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.
        side: `precision`, the share of the clean set near the attacked one, or `recall`, the reverse.
        diverse: Whether no pixel of a set may lie in another's window.

    Raises:
        ValueError: If an option is out of its range.
    """

    k: float = 1000
    w: int = 1
    side: Literal["precision", "recall"] = "precision"
    diverse: bool = False
    lowest: ClassVar[float] = 0.0

    def __post_init__(self) -> None:
        check_size(self.k)
        check_w(self.w)
        if self.side not in ("precision", "recall"):
            raise ValueError(f"Expected `side` as precision or recall, but got {self.side}.")

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        overlap = lens_precision if self.side == "precision" else lens_recall
        return overlap(clean_map, attacked_map, k=size_of(self.k, clean_map), w=self.w, diverse=self.diverse)


@dataclass(frozen=True)
class KendallTau(Criterion):
    """Kendall's tau-b of the two maps, by which Chen et al. (2019, arXiv 1905.09957) select."""

    lowest: ClassVar[float] = -1.0

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return kendall(clean_map, attacked_map)


@dataclass(frozen=True)
class SpearmanRho(Criterion):
    """Spearman's rank correlation of the two maps."""

    lowest: ClassVar[float] = -1.0

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return spearman(clean_map, attacked_map)


@dataclass(frozen=True)
class CenterDistance(Criterion):
    """The distance between the two centres of mass, in pixels, negative because attacks enlarge it."""

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return -center_shift(clean_map, attacked_map)
