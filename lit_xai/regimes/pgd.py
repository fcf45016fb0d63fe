"""Adversarial training."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.regimes.adversarial import Adversarial, Height
from lit_xai.types import RegimeLoss


@dataclass(frozen=True)
class PGD(Adversarial):
    """Minimise the mean cross-entropy of adversarial images only (Madry et al., 2018, arXiv 1706.06083).

    The attack, projected gradient descent, starts at random, takes sign steps on the cross-entropy and
    returns its last iterate. Defaults are those of Chen et al. (2019, arXiv 1905.09957) for Fashion-MNIST;
    their batches are summed where the mean is taken here, which Adam does not see. The attack runs in
    evaluation mode, the loss in training mode: batch norm's running statistics are those of the adversarial
    images.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the attack.

    Raises:
        ValueError: If an option is out of its range.
    """

    def searched(self, model: nn.Module, image: Tensor, label: Tensor) -> Height:
        return lambda point: functional.cross_entropy(model(point), label, reduction="none")

    def objective(self, model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor) -> RegimeLoss:
        logits = model(image_adv)
        cross_entropy = functional.cross_entropy(logits, label)
        return RegimeLoss(cross_entropy, logits, {"cross_entropy": cross_entropy.detach()})
