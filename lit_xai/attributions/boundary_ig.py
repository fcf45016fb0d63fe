"""Integrated gradients from the nearest point of another class."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.ascent import check_steps
from lit_xai.attributions.base import (
    Attribution,
    Score,
    check_counts,
    check_score,
    class_gradients,
    warn_of_zeros,
)
from lit_xai.attributions.path import Quadrature, path_gradient, quadrature
from lit_xai.domain import project_linf
from lit_xai.gate import measuring
from lit_xai.noise import Noise


@dataclass(frozen=True)
class BoundaryIG(Attribution):
    """Explain by integrated gradients from an adversarial example (BIG; Wang et al., 2022, arXiv 2103.11257).

    The baseline is the first iterate of a projected ascent on the cross-entropy that another class is
    predicted for, after one step at least; where there is none within the radius, the last iterate, as in
    AttEXplore's released comparison. An image where the cross-entropy is flat, or the score on the whole
    line, has a map of zeros, and a warning counts it.
    Deviations: the paper takes the nearest of several attacks' results. The released comparison takes the
    last iterate of steps along the sum of all gradients so far, of the cross-entropy of probabilities in the
    place of logits, and integrates the probability by the trapezoid rule, where the default here is the
    logit by Gauss-Legendre nodes.

    Args:
        eps: Radius of the search, in pixel units of [0, 1].
        steps: Iterates of the search, each `eps / steps` long.
        path_steps: Points on the line.
        rule: `right`, `midpoint`, `trapezoid` or `gauss_legendre`.
        score: What is integrated: `logit`, `probability` or `loss`.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 16 / 255
    steps: int = 50
    path_steps: int = 50
    rule: Quadrature = "gauss_legendre"
    score: Score = "logit"
    max_batch: int = 512
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_score(self.score)
        check_steps(self.eps, self.eps / max(self.steps, 1), self.steps)
        quadrature(self.rule, self.path_steps)
        check_counts(self, "max_batch")

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        with measuring(), torch.no_grad():
            image, target = image.detach().clone(), target.clone()
            start = self._boundary(model, image, target)
            gradient = path_gradient(
                model,
                start,
                image,
                target,
                score=self.score,
                rule=self.rule,
                path_steps=self.path_steps,
                max_batch=self.max_batch,
            )
            attribution = (image - start) * gradient
            warn_of_zeros(attribution)
            return attribution

    def _boundary(self, model: nn.Module, image: Tensor, target: Tensor) -> Tensor:
        found, going = image.clone(), torch.arange(len(image), device=image.device)
        for step in range(self.steps):
            if not len(going):
                break
            here, own = found[going], target[going]
            (ascent,), logits = class_gradients(model, here, own[None], "loss", self.max_batch)
            # The image itself is not its own baseline, whatever is predicted for it.
            left = (logits.argmax(dim=1) == own) | (step == 0)
            going = going[left]
            moved = here[left] + self.eps / self.steps * ascent[left].sign()
            found[going] = project_linf(moved, image[going], self.eps)
        return found
