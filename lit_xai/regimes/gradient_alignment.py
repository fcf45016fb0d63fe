"""Training for input gradients that stay as they are nearby."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import input_gradient
from lit_xai.domain import check_eps, clamp_pixels
from lit_xai.gate import explaining
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.similarity import alignment
from lit_xai.types import RegimeLoss


@dataclass(frozen=True)
class GradientAlignment(Regime):
    """Minimise cross-entropy plus the change of the gradient near the image (Joo et al., 2023, 2211.15900).

    l2 + cosine: mean CE(x) + weight_l2 * mean ||g - g'||^2 + weight_cosine * mean (1 - cos(g, g')) / 2. Here
    g is the gradient of the label's logit at x, held fixed, and g' that at x + z, with z uniform in the ball:
    there is no search. Defaults are the authors' for LeNet and CIFAR-10 (cosine 0.1 for their ResNet-18).
    Deviations: gradients are those of pixels in [0, 1], where the authors differentiate normalised pixels:
    for CIFAR-10 the squared distance is 25 times as large here, so their `weight_l2` of 0.01 would be 0.0004;
    the default keeps their number. x + z is clamped to [0, 1]: a black pixel brightens or stays. Their
    networks have softplus units; here the network is trained as it is. The cross-entropy sees training mode,
    the gradients see evaluation mode and single precision.

    Args:
        eps: L-infinity radius of the noise, in pixel units of [0, 1].
        weight_l2: Of the squared distance between the gradients.
        weight_cosine: Of the angle between them, which ignores their lengths.

    Raises:
        ValueError: If an option is out of its range, or both weights are 0.
    """

    eps: float = 4 / 255
    weight_l2: float = 0.01
    weight_cosine: float = 1.0

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name in ("weight_l2", "weight_cosine"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ValueError(f"Expected `{name}` of at least 0, but got {value:g}.")
        if not self.weight_l2 + self.weight_cosine:
            raise ValueError(
                "Expected `weight_l2` or `weight_cosine` above 0, but got 0 for both. "
                "Use Natural for no regulariser."
            )

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        logits = model(image)
        cross_entropy = functional.cross_entropy(logits, label)
        near = clamp_pixels(image + noise.child("near").uniform(image, -self.eps, self.eps))
        with explaining(model):
            with torch.no_grad():
                clean = input_gradient(model, image, label)
            gradient = input_gradient(model, near, label)
            distance = (gradient - clean).flatten(1).square().sum(dim=1).mean()
            turn = (1 - alignment(clean, gradient)).mean() / 2
        parts = {
            "cross_entropy": cross_entropy.detach(),
            "gradient_l2": distance.detach(),
            "gradient_cosine": turn.detach(),
        }
        total = cross_entropy + self.weight_l2 * distance + self.weight_cosine * turn
        return RegimeLoss(total, logits, parts)
