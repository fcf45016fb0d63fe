"""Trade accuracy on clean images for predictions that do not change nearby."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.gate import keeping_statistics
from lit_xai.noise import Noise
from lit_xai.regimes.adversarial import Adversarial, Height
from lit_xai.regimes.base import check_weight
from lit_xai.types import RegimeLoss

_START = 0.001


@dataclass(frozen=True)
class TRADES(Adversarial):
    """Minimise cross-entropy plus the worst change of prediction (Zhang et al., 2019, arXiv 1901.08573).

    Mean CE(x) + weight * mean KL(p(x) || p(x')), where x' maximises that divergence from a normal draw of
    standard deviation 0.001 around x: at x itself it has no gradient. Defaults of the weight are the authors'
    for CIFAR-10, of the search those of Chen et al. (2019, arXiv 1905.09957) for Fashion-MNIST, so that
    regimes compare at one radius; the authors' own are in `configs/experiments/cifar10_trades.yaml`. The
    search runs in evaluation mode with the probabilities of x computed once. Deviation: both terms see
    training mode, but only the clean pass enters batch norm's running statistics.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the search.
        weight: Of the divergence (the authors' beta, 1 / lambda).

    Raises:
        ValueError: If an option is out of its range.
    """

    weight: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.weight, "Natural")

    def start(self, image: Tensor, noise: Noise) -> Tensor:
        return image + _START * noise.child("start").normal(image)

    def searched(self, model: nn.Module, image: Tensor, label: Tensor) -> Height:
        with torch.no_grad():
            clean = model(image)
        return lambda point: divergence(clean, model(point))

    def objective(self, model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor) -> RegimeLoss:
        logits = model(image)
        with keeping_statistics(model):
            logits_adv = model(image_adv)
        cross_entropy = functional.cross_entropy(logits, label)
        change = divergence(logits, logits_adv).mean()
        parts = {"cross_entropy": cross_entropy.detach(), "divergence": change.detach()}
        return RegimeLoss(cross_entropy + self.weight * change, logits, parts)


def divergence(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergence of predictions from earlier ones, in nats.

    Args:
        logits: Of the earlier predictions, (N, K).
        logits_adv: Of the later ones, (N, K).

    Returns:
        KL(softmax(logits) || softmax(logits_adv)), (N,).
    """
    before, after = logits.log_softmax(dim=1), logits_adv.log_softmax(dim=1)
    return functional.kl_div(after, before, reduction="none", log_target=True).sum(dim=1)
