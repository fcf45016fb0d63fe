"""Ordinary training."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.types import RegimeLoss


@dataclass(frozen=True)
class Natural(Regime):
    """Minimise the mean cross-entropy of the clean images."""

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        logits = model(image)
        cross_entropy = functional.cross_entropy(logits, label)
        return RegimeLoss(cross_entropy, logits, {"cross_entropy": cross_entropy.detach()})
