"""No attack: every metric's clean value."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.noise import Noise


@dataclass(frozen=True)
class Unattacked(Attack):
    """Return the clean image.

    In a grid it gives every metric's clean value. An image that is not changed counts as a failed attack.
    """

    needs_gradient: ClassVar[bool] = False

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        return image.clone()
