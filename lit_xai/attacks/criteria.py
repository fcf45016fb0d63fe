"""What attacks with several iterates select by."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from lit_xai.attacks.base import Criterion
from lit_xai.metrics.center_shift import center_shift
from lit_xai.metrics.lens import lens_precision, lens_recall
from lit_xai.metrics.maps import check_map_pair, check_size, check_w, size_of
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
    """The distance between the two centres of mass, in pixels, negative because attacks enlarge it.

    Deviation: the code of Ghorbani et al. (2019, arXiv 1710.10547) cuts both centres to whole pixels, which
    hides every smaller move, and takes the clean one from the softplus network.
    """

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return -center_shift(clean_map, attacked_map)


@dataclass(frozen=True)
class Box:
    """A box of pixels, the same share of a map of any size; its sides are rounded to whole pixels.

    Args:
        top: Where it begins, in shares of the height.
        left: Where it begins, in shares of the width.
        bottom: Where it ends, in shares of the height.
        right: Where it ends, in shares of the width.

    Raises:
        ValueError: If a side is outside [0, 1] or not before the opposite one.

    Example:
        >>> Box(top=0.5, bottom=1.0, right=0.3).mask(torch.zeros(1, 2, 3)).int()
        tensor([[0, 0, 0],
                [1, 0, 0]], dtype=torch.int32)
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 0.5
    right: float = 0.5

    def __post_init__(self) -> None:
        for first, second in (("top", "bottom"), ("left", "right")):
            begin, end = getattr(self, first), getattr(self, second)
            if not 0 <= begin < end <= 1:
                raise ValueError(
                    f"Expected 0 <= `{first}` < `{second}` <= 1, but got {begin:g} and {end:g}. "
                    "Write them in shares of the map."
                )

    def mask(self, maps: Tensor) -> Tensor:
        """Mark the pixels inside.

        Args:
            maps: Values, (N, H, W).

        Returns:
            (H, W), bool.

        Raises:
            ValueError: If the box holds no pixel of a map or all of them.
        """
        height, width = maps.shape[1:]
        inside = torch.zeros(height, width, dtype=torch.bool, device=maps.device)
        inside[
            round(self.top * height) : round(self.bottom * height),
            round(self.left * width) : round(self.right * width),
        ] = True
        size, pixels = int(inside.sum()), height * width
        if not 0 < size < pixels:
            raise ValueError(
                f"Expected a region of some of the {pixels} pixels, but got {size}. Move a side of the box."
            )
        return inside


@dataclass(frozen=True)
class RegionShare(Criterion):
    """The share of the attacked map inside a region, negative because attacks enlarge it.

    NaN for a map of zeros.

    Args:
        region: Where the map should be.
    """

    region: Box = field(default_factory=Box)
    lowest: ClassVar[float] = -1.0

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        check_map_pair(clean_map, attacked_map)
        if bool((attacked_map < 0).any()):
            raise ValueError("Expected maps without negative values, but got some. Take their magnitudes.")
        maps = attacked_map.double()
        return -(maps * self.region.mask(maps)).sum(dim=(1, 2)) / maps.sum(dim=(1, 2))
