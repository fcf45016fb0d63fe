"""Push the most important pixels out of the map."""

from dataclasses import dataclass

from torch import Tensor

from lit_xai.attacks.base import Criterion
from lit_xai.attacks.criteria import Intersection
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.metrics.maps import check_size, size_of, top_k_mask
from lit_xai.noise import Noise


def pushing_out(chosen: Tensor) -> MapObjective:
    """Return an objective that rises as maps lose the share that chosen pixels, (N, H, W), bool, hold."""
    # All pixels hold one, whatever the map: signs would follow the rounding.
    pushed = chosen & ~chosen.all(dim=2).all(dim=1)[:, None, None]

    def objective(maps: Tensor, rows: Tensor, progress: float) -> Tensor:  # noqa: ARG001
        return -(maps * pushed[rows]).sum(dim=(1, 2))

    return objective


@dataclass(frozen=True)
class TopK(MapAttack):
    """Push the k most important pixels out of the map (Ghorbani et al., 2019, arXiv 1710.10547).

    The clean map of the true network fixes the pixels; steps lower their share of the softplus twin's map;
    each iterate is judged on the true network, and the best one that keeps the prediction is returned.
    Defaults are the authors' for ImageNet. Deviations: prediction and explained class are the predicted one,
    not the label (only correctly classified samples count in either case); further restarts begin at random,
    where the published ones repeat the same deterministic run. Chen et al. (2019, arXiv 1905.09957) select by
    `KendallTau`; by default the intersection of the k pixels selects. The other options are those of
    `MapAttack`.

    Args:
        k: Number of pixels, or below 1 their share.

    Raises:
        ValueError: If an option is out of its range, or `k` exceeds the map.
    """

    k: float = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        check_size(self.k)

    def own_criterion(self) -> Criterion:
        return Intersection(self.k)

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        return pushing_out(top_k_mask(subject.clean, size_of(self.k, subject.clean)))
