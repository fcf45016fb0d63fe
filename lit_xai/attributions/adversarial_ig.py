"""Gradients integrated along steps towards other classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, class_gradients
from lit_xai.domain import check_eps, clamp_pixels
from lit_xai.gate import measuring
from lit_xai.noise import Noise


@dataclass(frozen=True)
class AdversarialIG(Attribution):
    """Explain by what steps towards other classes cost the class (AGI; Pan et al., 2021, IJCAI).

    For each of some other classes: from the image, step by the sign of that class's probability gradient,
    taken where the last step ended; add minus the step times the explained class's probability gradient
    there; stop when the other class is predicted. As in the authors' code every step starts at the image
    itself.
    Deviations: each sample draws its own classes, never its own class, so that a batch explains as single
    images do; the authors draw them once for all images; the class explained is the one asked for, not the
    prediction.

    Args:
        eps: Length of a step, in pixel units of [0, 1].
        steps: Most steps towards one class.
        classes: Other classes, at most all of them.
        max_batch: Images in flight in one forward pass, each towards one class.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 0.05
    steps: int = 20
    classes: int = 20
    max_batch: int = 512
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("steps", "classes", "max_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {getattr(self, name)}.")

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        if not len(image):
            return torch.zeros_like(image)
        with measuring(), torch.no_grad():
            image, target = image.detach().clone(), target.clone()
            others = self._draw_classes(model, image, target, noise)
            together = max(1, self.max_batch // max(others.shape[1], 1))
            parts = zip(*(rows.split(together) for rows in (image, target, others)), strict=True)
            return torch.cat([self._explain(model, *part) for part in parts])

    def _draw_classes(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        logits = torch.cat([model(chunk) for chunk in image.split(self.max_batch)])
        lot = noise.child("classes").uniform(logits.double()).scatter(1, target[:, None], 2.0)
        return lot.argsort(dim=1)[:, : min(self.classes, logits.shape[1] - 1)]

    def _explain(self, model: nn.Module, image: Tensor, target: Tensor, others: Tensor) -> Tensor:
        copies = others.shape[1]
        start, own = (rows.repeat_interleave(copies, dim=0) for rows in (image, target))
        walks = self._walk(model, start, own, others.flatten())
        return walks.view(len(image), copies, *image.shape[1:]).sum(dim=1)

    def _walk(self, model: nn.Module, image: Tensor, own: Tensor, other: Tensor) -> Tensor:
        total, point, going = torch.zeros_like(image), image, torch.arange(len(image), device=image.device)
        for _ in range(self.steps):
            if not len(going):
                break
            classes = torch.stack([other[going], own[going]])
            (pull, cost), logits = class_gradients(model, point, classes, "probability", self.max_batch)
            left = logits.argmax(dim=1) != other[going]
            going = going[left]
            point = clamp_pixels(image[going] + self.eps * pull[left].sign())
            total[going] -= cost[left] * (point - image[going])
        return total
