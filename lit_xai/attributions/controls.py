"""Maps that know nothing of the network: what every explanation has to beat."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.noise import Noise


@dataclass(frozen=True)
class ConstantMap(Attribution):
    """Give every pixel the same value.

    Pixels of equal value rank by position, so insertion and deletion go row by row from the top.
    """

    differentiable: ClassVar[bool] = False

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return torch.ones_like(image[:, :1]).detach()


@dataclass(frozen=True)
class RandomMap(Attribution):
    """Give every pixel a uniform draw from [0, 1), the same for an image and for its attacked copy."""

    differentiable: ClassVar[bool] = False

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return noise.uniform(image[:, :1].detach())
