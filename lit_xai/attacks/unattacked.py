"""No attack: every metric's clean value."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.noise import Noise


@dataclass(frozen=True)
class Unattacked(Attack):
    """Return the clean image. In a grid it gives insertion and deletion of the clean map, and shows a noisy explanation."""

    needs_gradient: ClassVar[bool] = False

    def perturb(self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return image.clone()
