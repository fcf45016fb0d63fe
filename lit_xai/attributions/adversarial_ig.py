"""Gradients integrated along steps towards other classes."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, check_counts, class_gradients, in_flight, warn_of_zeros
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
    prediction. An image whose gradients leave nothing to add has a map of zeros, and a warning counts it.

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
        check_counts(self, "steps", "classes", "max_batch")

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        if not len(image):
            return torch.zeros_like(image)
        with measuring(), torch.no_grad():
            image, target = image.detach().clone(), target.clone()
            others = self._draw_classes(model, image, target, noise)
            maps, flat = torch.zeros_like(image), torch.zeros_like(target, dtype=torch.bool)
            for rows in in_flight(len(image), others.shape[1], self.max_batch):
                part = slice(rows.start, rows.stop)
                maps[part], flat[part] = self._explain(model, image[part], target[part], others[part])
            # A map may also be empty because every other class is predicted already.
            warn_of_zeros(maps.flatten(1).any(dim=1) | ~flat)
            return maps

    def _draw_classes(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        count = model(image[:1]).shape[1]
        lot = noise.child("classes").uniform(image.new_zeros(len(image), count, dtype=torch.float64))
        return lot.scatter(1, target[:, None], 2.0).argsort(dim=1)[:, : min(self.classes, count - 1)]

    def _explain(
        self, model: nn.Module, image: Tensor, target: Tensor, others: Tensor
    ) -> tuple[Tensor, Tensor]:
        copies = others.shape[1]
        start, own = (rows.repeat_interleave(copies, dim=0) for rows in (image, target))
        walks, flat = self._walk(model, start, own, others.flatten())
        maps = walks.view(len(image), copies, *image.shape[1:]).sum(dim=1)
        return maps, flat.view(len(image), copies).any(dim=1)

    def _walk(self, model: nn.Module, image: Tensor, own: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
        """Return the map of each walk, and which walks met a gradient of zeros."""
        total, point, going = torch.zeros_like(image), image, torch.arange(len(image), device=image.device)
        flat = torch.zeros_like(own, dtype=torch.bool)
        for _ in range(self.steps):
            if not len(going):
                break
            classes = torch.stack([other[going], own[going]])
            (pull, cost), logits = class_gradients(model, point, classes, "probability", self.max_batch)
            left = logits.argmax(dim=1) != other[going]
            going = going[left]
            point = clamp_pixels(image[going] + self.eps * pull[left].sign())
            total[going] -= cost[left] * (point - image[going])
            flat[going] |= ~(pull.flatten(1).any(dim=1) & cost.flatten(1).any(dim=1))[left]
        return total, flat
