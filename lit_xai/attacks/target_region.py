"""Pull the map into a region."""

from dataclasses import dataclass, field

from torch import Tensor

from lit_xai.attacks.base import Criterion
from lit_xai.attacks.criteria import Box, RegionShare
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.noise import Noise


@dataclass(frozen=True)
class TargetRegion(MapAttack):
    """Pull the map into a region that was not important (Ghorbani et al., 2019, arXiv 1710.10547).

    Steps raise the share of the softplus twin's map inside the region; each iterate is judged on the true
    network, by default by the share of its map inside. The published attack takes any mask and leaves its
    choice and its success open; here the region is a box, by default the upper left quarter, and the share
    selects. Other defaults are the authors' for ImageNet. Deviations: prediction and explained class are the
    predicted one, not the label; further restarts begin at random. The other options are those of
    `MapAttack`.

    Args:
        region: Where the map should be, the same box for every image.

    Raises:
        ValueError: If an option is out of its range, or the region holds no pixel of the map or all of them.
    """

    region: Box = field(default_factory=Box)

    def own_criterion(self) -> Criterion:
        return RegionShare(self.region)

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        inside = self.region.mask(subject.clean)

        def objective(maps: Tensor, rows: Tensor, progress: float) -> Tensor:  # noqa: ARG001
            return (maps * inside).sum(dim=(1, 2))

        return objective
