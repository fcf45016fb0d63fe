"""The input gradient, averaged over noisy copies of the image."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import (
    Attribution,
    Score,
    check_counts,
    check_score,
    in_flight,
    input_gradient,
)
from lit_xai.noise import Noise


@dataclass(frozen=True)
class SmoothGrad(Attribution):
    """Explain by the mean input gradient under Gaussian noise (Smilkov et al., 2017, arXiv 1706.03825).

    The draws belong to the sample, so a clean and an attacked image are explained under the same noise.
    Deviations: the noise is a share of the pixel domain, not of the range of each image; noisy pixels may
    leave [0, 1], as in the paper.

    Args:
        samples: Noisy copies of each image.
        sigma: Standard deviation of the noise, in pixel units of [0, 1].
        score: What is differentiated: `logit`, `probability` or `loss`.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    samples: int = 50
    sigma: float = 0.15
    score: Score = "logit"
    max_batch: int = 512
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)
        check_counts(self, "samples", "max_batch")
        if not self.sigma > 0:
            raise ValueError(f"Expected `sigma` above 0, but got {self.sigma:g}. Use Saliency for no noise.")

    def coarse(self, points: int) -> "SmoothGrad":
        return replace(self, samples=min(points, self.samples))

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        mean = torch.zeros_like(image)
        for draws in in_flight(self.samples, len(image), self.max_batch):
            noisy = torch.cat([image + self.sigma * noise.child(draw).normal(image) for draw in draws])
            gradient = input_gradient(model, noisy, target.repeat(len(draws)), self.score, self.max_batch)
            mean = mean + gradient.unflatten(0, (len(draws), len(image))).sum(dim=0) / self.samples
        return mean
