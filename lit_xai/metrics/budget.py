"""How large a perturbation is."""

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


class LinfNorm(SampleMetric):
    """Mean largest change of a pixel's channel, in pixel units of [0, 1]."""

    higher_is_better = False

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return (result.image_adv - result.image).flatten(1).abs().amax(dim=1)


class L2Norm(SampleMetric):
    """Mean Euclidean length of the change of an image, in pixel units of [0, 1]."""

    higher_is_better = False

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        change = (result.image_adv - result.image).flatten(1)
        return change.double().square().sum(dim=1).sqrt()
