"""The interface of attacks on explanations, and the one place where their effect is measured."""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, Explain
from lit_xai.domain import check_pixels
from lit_xai.gate import evaluating, measuring, on_network
from lit_xai.metrics.maps import check_finite
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch, Donors

_ROUNDING = 1e-5


class Attack(ABC):
    """A perturbation of images: frozen settings and one method.

    Attributes:
        needs_gradient: Whether it differentiates the explanation, which must then be differentiable. A
            constant of the class, or a property where its settings decide.
    """

    @property
    @abstractmethod
    def needs_gradient(self) -> bool: ...

    @property
    def radius(self) -> float:
        """The L-infinity radius it promises to stay within, in pixel units: its `eps`, 1 if it has none."""
        eps: float = getattr(self, "eps", 1.0)
        return eps

    def prepare(self, model: nn.Module, donors: Donors) -> "Attack":
        """Return a copy that knows what it needs of the network and of other images; by default, itself.

        Args:
            model: Maps pixels in [0, 1] to logits.
            donors: Returns the images that may be injected, batch by batch, the same in every process.
        """
        return self

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        """Say which samples the attack can be tried on; the others are excluded and counted.

        Args:
            image: Pixels in [0, 1], (N, C, H, W).
            logits: Of these images, (N, K).

        Returns:
            (N,), bool; by default all true.
        """
        return torch.ones(len(image), dtype=torch.bool, device=logits.device)

    @abstractmethod
    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        """Return attacked images.

        Args:
            model: Maps pixels in [0, 1] to logits, in evaluation mode and frozen.
            explain: The explanation under attack.
            image: Pixels in [0, 1], (N, C, H, W).
            target: Classes predicted for the images, (N,), int64.
            noise: The randomness, keyed by sample.

        Returns:
            Pixels in [0, 1], (N, C, H, W); the clean image where nothing acceptable was found.
        """


class Criterion(ABC):
    """What an attack with several iterates or restarts minimises, for each sample.

    Attributes:
        lowest: The least score there is; a sample that has it is finished.
    """

    lowest: ClassVar[float] = -math.inf

    @abstractmethod
    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        """Score attacked maps (N, H, W) against clean ones; the lower, the stronger, (N,)."""


def run_attack(
    model: nn.Module,
    attribution: Attribution,
    attack: Attack,
    batch: Batch,
    seed: int,
    clean: Tensor | None = None,
) -> AttackResult:
    """Attack a batch and measure what came of it.

    Args:
        model: Maps pixels in [0, 1] to logits. Its mode and its parameters are left as they were.
        attribution: The explanation under attack.
        attack: The attack, prepared if it needs to be.
        batch: N samples; they are copied to the network's device.
        seed: Of the attack's and the explanation's noise.
        clean: Maps of the clean images, if they are known already.

    Returns:
        Images, logits and maps before and after. The maps explain the class predicted for the clean image,
        under the same noise.

    Raises:
        TypeError: If the attack differentiates and the attribution is not differentiable.
        ValueError: If pixels are outside [0, 1], a map is not finite, or the attack leaves its radius.
    """
    if attack.needs_gradient and not attribution.differentiable:
        raise TypeError(
            f"Expected a differentiable attribution for {type(attack).__name__}, "
            f"but got {type(attribution).__name__}. Use an attack that needs no gradient."
        )
    with measuring(), evaluating(model):
        check_pixels(batch.image)
        image, label, sample_id = on_network(model, batch)
        noise = Noise(seed, sample_id)
        explain = attribution.bind(model, noise.child("attribution"))
        logits, target = _predict(model, image)
        image_adv = attack.perturb(model, explain, image, target, noise.child("attack")).detach()
        check_attacked(attack, image, image_adv)
        logits_adv, predicted_adv = _predict(model, image_adv)
        with torch.no_grad():
            attribution_clean = (
                explain(image, target) if clean is None else clean.detach().to(image, copy=True)
            )
            attribution_adv = explain(image_adv, target)
        for maps in (attribution_clean, attribution_adv):
            check_finite(maps, sample_id)
    return AttackResult(
        image=image,
        image_adv=image_adv,
        label=label,
        target=target,
        sample_id=sample_id,
        logits=logits,
        logits_adv=logits_adv,
        attribution=attribution_clean,
        attribution_adv=attribution_adv,
        applied=(image_adv != image).flatten(1).any(dim=1),
        kept=predicted_adv == target,
    )


def _predict(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        logits = model(image)
    return logits, logits.argmax(dim=1)


def check_attacked(attack: Attack, image: Tensor, image_adv: Tensor) -> None:
    """Hold an attack to its promises.

    Args:
        attack: Who made the attacked images.
        image: Clean pixels in [0, 1], (N, C, H, W).
        image_adv: What should be attacked pixels.

    Raises:
        ValueError: If they have another shape, are outside [0, 1] or further away than the attack's radius.
    """
    if image_adv.shape != image.shape:
        raise ValueError(f"Expected attacked images {tuple(image.shape)}, but got {tuple(image_adv.shape)}.")
    check_pixels(image_adv)
    distance = (image_adv - image).abs().max().item() if image.numel() else 0.0
    if distance > attack.radius + _ROUNDING:
        raise ValueError(
            f"Expected {type(attack).__name__} within `eps` {attack.radius:g}, "
            f"but got a distance of {distance:g}."
        )
