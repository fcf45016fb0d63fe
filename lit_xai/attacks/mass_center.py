"""Move the map's centre of mass."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attacks.base import Attack, Criterion
from lit_xai.attacks.criteria import CenterDistance
from lit_xai.attacks.iterative import best_iterate, check_ascent, map_ascent, relative_map, starts
from lit_xai.attributions.base import Explain
from lit_xai.metrics.center_shift import mass_center
from lit_xai.models.softplus import SoftplusTwin, check_beta
from lit_xai.noise import Noise

_OFFSET = 0.5


@dataclass(frozen=True)
class MassCenter(Attack):
    """Move the map's centre of mass away from where it was (Ghorbani et al., 2019, arXiv 1710.10547).

    Sign steps raise the squared distance between the centre of the softplus twin's map and a reference; each
    iterate is judged on the true network. Defaults are the authors' for ImageNet. Deviation: measured from
    the exact centre, the distance has no gradient at the clean image and the attack would never move. The
    released code escapes because it cuts the centre to whole pixels, and so always sets off towards larger
    rows and columns; here the reference lies half a pixel beside the centre, in a direction drawn for each
    sample and restart.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Iterations of each restart.
        beta: Sharpness of the twin's softplus.
        restarts: Runs; the first starts at the image, the others at random in the ball.
        reference: `offset`, or `truncated` as in the released code.
        criterion: What the best iterate minimises; the negative distance of the centres if None.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 8 / 255
    step_size: float = 0.5 / 255
    steps: int = 300
    beta: float = 1.0
    restarts: int = 1
    reference: Literal["offset", "truncated"] = "offset"
    criterion: Criterion | None = None
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_ascent(self.eps, self.step_size, self.steps, self.restarts)
        check_beta(self.beta)
        if self.reference not in ("offset", "truncated"):
            raise ValueError(f"Expected `reference` as offset or truncated, but got {self.reference}.")

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        iterates = self._iterates(model, explain, image, target, noise)
        return best_iterate(iterates, explain, image, target, self.criterion or CenterDistance())

    def _iterates(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Iterator[Tensor]:
        twin = explain.on(SoftplusTwin(model, self.beta))
        with torch.no_grad():
            center = mass_center(relative_map(twin, image, target))
        for restart, start in enumerate(starts(image, self.eps, self.restarts, noise)):
            reference = self._reference(center, noise.child("direction").child(restart))
            yield from map_ascent(
                twin,
                image,
                target,
                start,
                partial(_squared_distance, reference=reference),
                eps=self.eps,
                step_size=self.step_size,
                steps=self.steps,
            )

    def _reference(self, center: Tensor, noise: Noise) -> Tensor:
        if self.reference == "truncated":
            return center.trunc()
        return center + _OFFSET * functional.normalize(noise.normal(center), dim=1)


def _squared_distance(maps: Tensor, reference: Tensor) -> Tensor:
    return (mass_center(maps) - reference).square().sum(dim=1)
