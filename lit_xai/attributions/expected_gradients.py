"""Integrated gradients, averaged over images as baselines."""

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Score, check_counts, check_score, in_flight, input_gradient
from lit_xai.attributions.references import Referring
from lit_xai.noise import Noise


@dataclass(frozen=True)
class ExpectedGradients(Referring):
    """Explain by integrated gradients in expectation over baselines (Erion et al., 2021, arXiv 1906.10670).

    Averages (x - x') times the gradient at a random point between x and x', where x' is one of the reference
    images. The draws belong to the sample, so a clean and an attacked image are explained with the same ones.
    Deviation: x' is drawn from `references` images of the data module's `donor_split`, chosen once by lot,
    and not from all of them.

    Args:
        samples: Draws of x' and of the point, for each image.
        references: Images kept as x'; all donors if there are fewer.
        score: What is differentiated: `logit`, `probability` or `loss`.
        max_batch: Images in flight in one forward pass.
        seed: Of the choice of references.

    Raises:
        ValueError: If an option is out of its range, the method is used before `prepare`, or references and
            images differ in shape.
    """

    samples: int = 200
    references: int = 100
    score: Score = "logit"
    max_batch: int = 512
    seed: int = 0
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)
        check_counts(self, "samples", "references", "max_batch")

    def coarse(self, points: int) -> "ExpectedGradients":
        cheaper = copy.copy(self)
        object.__setattr__(cheaper, "samples", min(points, self.samples))
        return cheaper

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        references = self.referred(image)
        mean = torch.zeros_like(image)
        for numbers in in_flight(self.samples, len(image), self.max_batch):
            draws = [noise.child(number) for number in numbers]
            chosen = [draw.child("reference").integers(len(references)) for draw in draws]
            start = references[torch.stack(chosen)]
            share = torch.stack([draw.child("share").uniform(image[:, :1, :1, :1]) for draw in draws])
            point = (start + share * (image - start)).flatten(0, 1)
            gradient = input_gradient(model, point, target.repeat(len(draws)), self.score, self.max_batch)
            mean = mean + ((image - start) * gradient.view_as(start)).sum(dim=0) / self.samples
        return mean
