"""Gaussian noise on random features: the baseline of eXIAA."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.domain import check_share, clamp_pixels
from lit_xai.metrics.maps import descending_rank
from lit_xai.noise import Noise


@dataclass(frozen=True)
class GaussianInjection(Attack):
    """Blend Gaussian noise into random features (the baseline of Pesce et al., 2025, arXiv 2511.10088).

    The paper states neither the noise's amplitude nor where it goes; its figures say only that the baseline
    scales with alpha and k and ignores the explanation. This is the literal reading: where eXIAA blends in a
    donor, (1 - alpha) x + alpha n with n ~ N(0, sigma^2), clipped to [0, 1], at round(k C H W) features drawn
    for each sample. At `sigma=1` it perturbs more than eXIAA at the same alpha and k, so the amplitude
    decides the comparison.

    Args:
        alpha: Share of the noise in a chosen feature, in (0, 1].
        k: Share of the features that are chosen, in (0, 1].
        sigma: Standard deviation of the noise, in pixel units of [0, 1].

    Raises:
        ValueError: If an option is out of its range.
    """

    alpha: float = 0.06
    k: float = 0.2
    sigma: float = 1.0
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_share("k", self.k)
        if not self.sigma > 0:
            raise ValueError(f"Expected `sigma` above 0, but got {self.sigma:g}.")

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        size = max(1, round(self.k * image[0].numel())) if len(image) else 0
        chosen = descending_rank(noise.child("places").uniform(image)) < size
        blend = (1 - self.alpha) * image + self.alpha * self.sigma * noise.child("values").normal(image)
        return clamp_pixels(torch.where(chosen, blend, image))
