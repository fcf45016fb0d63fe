"""Explain with softplus, predict with ReLU."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.gate import evaluating
from lit_xai.models.softplus import SoftplusTwin, check_beta, network_of
from lit_xai.noise import Noise
from lit_xai.types import Donors


def top_one_agreement(model: nn.Module, image: Tensor, betas: Sequence[float]) -> Tensor:
    """Return whether the softplus network predicts what the network predicts.

    Its mean over images is the curve from which the sharpness of `Softened` is chosen: the least one whose
    network still decides as the network it explains.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        betas: Sharpnesses.

    Returns:
        One column for each sharpness, (N, len(betas)), bool.

    Raises:
        ValueError: If a sharpness is not above 0, or if softplus replaces nothing in the network.
    """
    network = network_of(model)
    agreement = torch.zeros(len(image), len(betas), dtype=torch.bool, device=image.device)
    with evaluating(network), torch.no_grad():
        predicted = network(image).argmax(dim=1)
        for column, beta in enumerate(betas):
            twin = SoftplusTwin(network, beta)
            agreement[:, column] = twin(image).argmax(dim=1) == predicted
            _check_smoothed(twin, image)
    return agreement


@dataclass(frozen=True)
class Softened(Attribution):
    """Explain the network with its rectifiers made smooth (Dombrowski et al., 2019, arXiv 1906.07983).

    Predictions stay those of the network itself. The smaller the sharpness, the less the network's level sets
    are curved and the less a small change of the image can change the map, but the less the smooth network is
    the one that decides: choose the sharpness from `top_one_agreement`. An attack's `SoftplusTwin` is taken
    off first, so that the attack differentiates this very explanation, at this sharpness. Max-pooling keeps
    its kinks, as in the authors' code: on a network that pools by the maximum the map can be moved nearly as
    far as before. Deviation: beside ReLU, ReLU6, hard tanh and leaky ReLU are made smooth too.

    Args:
        attribution: The method that explains the smooth network.
        beta: Sharpness of the softplus.

    Raises:
        ValueError: If `beta` is not above 0; on the first image, if softplus replaces nothing in the network.
    """

    attribution: Attribution
    beta: float = 10.0

    def __post_init__(self) -> None:
        check_beta(self.beta)

    @property
    def differentiable(self) -> bool:
        return self.attribution.differentiable

    def prepare(self, model: nn.Module, donors: Donors) -> "Softened":
        return replace(self, attribution=self.attribution.prepare(model, donors))

    def coarse(self, points: int) -> "Softened":
        return replace(self, attribution=self.attribution.coarse(points))

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        twin = SoftplusTwin(network_of(model), self.beta)
        attribution = self.attribution.attribute(twin, image, target, noise)
        if len(image):
            _check_smoothed(twin, image)
        return attribution


def _check_smoothed(twin: SoftplusTwin, image: Tensor) -> None:
    if not twin.smoothed:
        # Guided backpropagation makes the rectifiers smooth itself and does not run the twin.
        with evaluating(twin), torch.no_grad():
            twin(image[:1])
    if not twin.smoothed:
        raise ValueError(
            f"Expected a network that calls a rectifier, but {type(twin.model).__name__} calls none, so "
            "softplus changes nothing. Explain it without Softened."
        )
