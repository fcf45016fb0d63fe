"""Move the map's centre of mass."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from lit_xai.attacks.base import Criterion
from lit_xai.attacks.criteria import CenterDistance
from lit_xai.attacks.iterative import relative_map
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.metrics.center_shift import mass_center
from lit_xai.noise import Noise

_OFFSET = 0.5


@dataclass(frozen=True)
class MassCenter(MapAttack):
    """Move the map's centre of mass away from where it was (Ghorbani et al., 2019, arXiv 1710.10547).

    Steps raise the squared distance between the centre of the softplus twin's map and a reference; each
    iterate is judged on the true network, by default by the distance of the centres. Defaults are the
    authors' for ImageNet. Deviation: measured from the exact centre, the distance has no gradient at the
    clean image and the attack would never move. The released code escapes because it cuts the centre to whole
    pixels, and so always sets off towards larger rows and columns; here the reference lies half a pixel
    beside the centre, in a direction drawn for each sample and restart. The other options are those of
    `MapAttack`.

    Args:
        reference: `offset`, or `truncated` as in the released code.

    Raises:
        ValueError: If an option is out of its range.
    """

    reference: Literal["offset", "truncated"] = "offset"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.reference not in ("offset", "truncated"):
            raise ValueError(f"Expected `reference` as offset or truncated, but got {self.reference}.")

    def own_criterion(self) -> Criterion:
        return CenterDistance()

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        with torch.no_grad():
            center = mass_center(relative_map(subject.smooth, subject.image, subject.target))
        beside = self._beside(center, noise)

        def objective(maps: Tensor, rows: Tensor, progress: float) -> Tensor:  # noqa: ARG001
            return (mass_center(maps) - beside[rows]).square().sum(dim=1)

        return objective

    def _beside(self, center: Tensor, noise: Noise) -> Tensor:
        if self.reference == "truncated":
            return center.trunc()
        return center + _OFFSET * functional.normalize(noise.normal(center), dim=1)
