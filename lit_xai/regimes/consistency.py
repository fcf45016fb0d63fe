"""What regimes that train on attacked explanations share."""

from abc import abstractmethod
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.saliency import Saliency
from lit_xai.gate import evaluating, explaining, measuring
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime, check_weight
from lit_xai.types import Donors, RegimeLoss


@dataclass(frozen=True)
class Consistency(Regime):
    """Attack each image's explanation, then classify the result and explain it as before.

    Mean CE(x') + weight * mean change, where x' is the attacked image and `change` compares the maps of x and
    of x'. Both maps explain the class predicted for x, under the same noise. Nothing flows through the
    attack. A sample that the attack leaves as it is changes nothing: it enters by its cross-entropy only. The
    attack and the change see the network in evaluation mode, the cross-entropy in training mode.

    Args:
        attack: Of the explanation.
        attribution: The explanation, differentiable.
        weight: Of the change.

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If `weight` is not above 0.
    """

    attack: Attack
    attribution: Attribution = field(default_factory=lambda: Saliency(absolute=False))
    weight: float = 1.0
    part: ClassVar[str]

    def __post_init__(self) -> None:
        check_weight(self.weight, "Natural")
        if not self.attribution.differentiable:
            raise TypeError(
                f"Expected a differentiable attribution for {type(self).__name__}, "
                f"but got {type(self.attribution).__name__}. Train by Saliency or IntegratedGradients."
            )

    @abstractmethod
    def change(self, explain: Explain, image: Tensor, image_adv: Tensor, target: Tensor) -> Tensor:
        """Return how much the explanation changes, (N,), differentiable in the weights.

        Args:
            explain: The explanation on the network, in evaluation mode.
            image: Clean pixels in [0, 1], (N, C, H, W).
            image_adv: Attacked pixels in [0, 1], (N, C, H, W).
            target: Classes predicted for the clean images, (N,), int64.
        """

    def prepare(self, model: nn.Module, donors: Donors) -> Self:
        attribution = self.attribution.prepare(model, donors)
        return replace(self, attack=self.attack.prepare(model, donors), attribution=attribution)

    @property
    def compares_with_start(self) -> bool:
        return (
            type(self).prepare is not Consistency.prepare
            or type(self.attack).prepare is not Attack.prepare
            or type(self.attribution).prepare is not Attribution.prepare
        )

    def attacked(self, model: nn.Module, image: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Attack the explanations of images; works in any grad mode.

        Args:
            model: Maps pixels in [0, 1] to logits; its mode and its parameters are left as they were.
            image: Pixels in [0, 1], (N, C, H, W).
            noise: The attack's and the explanation's.

        Returns:
            Detached pixels in [0, 1], (N, C, H, W), and the classes predicted for the clean images, (N,).
        """
        with measuring(), evaluating(model):
            center = image.detach().clone()
            target = model(center).argmax(dim=1)
            explain = self._explain(model, noise)
            image_adv = self.attack.perturb(model, explain, center, target, noise.child("attack"))
        return image_adv.detach(), target

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        image_adv, target = self.attacked(model, image, noise)
        logits = model(image_adv)
        cross_entropy = functional.cross_entropy(logits, label)
        with explaining(model):
            change = self.change(self._explain(model, noise), image, image_adv, target)
        applied = (image_adv != image).flatten(1).any(dim=1)
        mean = torch.where(applied, change, 0.0).mean()
        parts = {"cross_entropy": cross_entropy.detach(), self.part: mean.detach()}
        return RegimeLoss(cross_entropy + self.weight * mean, logits, parts)

    def _explain(self, model: nn.Module, noise: Noise) -> Explain:
        return self.attribution.bind(model, noise.child("attribution"))
