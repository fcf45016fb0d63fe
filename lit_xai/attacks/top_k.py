"""Push the most important pixels out of the map."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, Criterion
from lit_xai.attacks.criteria import Intersection
from lit_xai.attacks.iterative import best_iterate, check_ascent, map_ascent, starts
from lit_xai.attributions.base import Explain
from lit_xai.metrics.maps import check_k, pixel_map, top_k_mask
from lit_xai.models.softplus import SoftplusTwin, check_beta
from lit_xai.noise import Noise


@dataclass(frozen=True)
class TopK(Attack):
    """Push the k most important pixels out of the map (Ghorbani et al., 2019, arXiv 1710.10547).

    The clean map of the true network fixes the pixels; sign steps lower their share of the softplus twin's
    map; each iterate is judged on the true network, and the best one that keeps the prediction is returned.
    Defaults are the authors' for ImageNet. Deviations: prediction and explained class are the predicted one,
    not the label (only correctly classified samples count in either case); further restarts begin at random,
    where the published ones repeat the same deterministic run. Chen et al. (2019, arXiv 1905.09957) select by
    `KendallTau`.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Iterations of each restart.
        k: Number of pixels.
        beta: Sharpness of the twin's softplus.
        restarts: Runs; the first starts at the image, the others at random in the ball.
        criterion: What the best iterate minimises; the intersection of the k pixels if None.

    Raises:
        ValueError: If an option is out of its range, or `k` exceeds the map.
    """

    eps: float = 8 / 255
    step_size: float = 0.5 / 255
    steps: int = 300
    k: int = 1000
    beta: float = 1.0
    restarts: int = 1
    criterion: Criterion | None = None
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_ascent(self.eps, self.step_size, self.steps, self.restarts)
        check_k(self.k)
        check_beta(self.beta)

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        iterates = self._iterates(model, explain, image, target, noise)
        return best_iterate(iterates, explain, image, target, self.criterion or Intersection(self.k))

    def _iterates(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Iterator[Tensor]:
        with torch.no_grad():
            chosen = top_k_mask(pixel_map(explain(image, target)), self.k)
        twin = explain.on(SoftplusTwin(model, self.beta))
        for start in starts(image, self.eps, self.restarts, noise):
            yield from map_ascent(
                twin,
                image,
                target,
                start,
                lambda maps: -(maps * chosen).sum(dim=(1, 2)),
                eps=self.eps,
                step_size=self.step_size,
                steps=self.steps,
            )
