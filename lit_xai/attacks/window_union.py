"""Push the windows around the most important pixels out of the map."""

from dataclasses import dataclass

from lit_xai.attacks.base import Criterion
from lit_xai.attacks.criteria import LENSOverlap
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.attacks.top_k import pushing_out
from lit_xai.metrics.maps import check_size, check_w, size_of, top_k_mask
from lit_xai.metrics.windows import window_union
from lit_xai.noise import Noise


@dataclass(frozen=True)
class WindowUnion(MapAttack):
    """Push windows around the top k out of the map (Kamath et al., 2024, arXiv 2312.10534).

    `TopK` for scores that forgive small shifts: steps lower the share of the softplus twin's map in the union
    of the (2w + 1) x (2w + 1) windows around the clean map's k largest pixels. Where the union is the whole
    map there is nothing to lower, and nothing moves. The paper finds the attack weaker than `TopK`.
    Deviations: windows are cut at the border, where the released code wraps them around it (and widens those
    of `w` 3 by a row); by default the share of the map's k largest pixels that is left in the union selects,
    which the paper calls w-LENS recall and which the steps lower, where the released code selects by
    `KendallTau`; the others are those of `TopK`. The other options are those of `MapAttack`.

    Args:
        k: Number of pixels, or below 1 their share.
        w: Half-width of the windows, in pixels; 0 gives `TopK`.

    Raises:
        ValueError: If an option is out of its range, or `k` exceeds the map.
    """

    k: float = 1000
    w: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.k)
        check_w(self.w)

    def own_criterion(self) -> Criterion:
        return LENSOverlap(self.k, self.w, side="recall")

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        largest = top_k_mask(subject.clean, size_of(self.k, subject.clean))
        return pushing_out(window_union(largest, self.w))
