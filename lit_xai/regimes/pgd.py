"""Adversarial training, and the projected gradient descent attack on predictions that it uses."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.ascent import ascend, check_steps, gradient_sign
from lit_xai.gate import evaluating, measuring
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.types import RegimeLoss


def adversarial_images(
    model: nn.Module,
    image: Tensor,
    label: Tensor,
    objective: Callable[[Tensor, Tensor, Tensor], Tensor],
    noise: Noise,
    *,
    eps: float,
    step_size: float,
    steps: int,
) -> Tensor:
    """Return the last iterate of projected ascent from a random start, with the network in evaluation mode.

    Works in any grad mode and in inference mode.

    Args:
        model: The network that the objective calls; its mode and its parameters are left as they were.
        image: Clean pixels in [0, 1], (N, C, H, W).
        label: Class indices, (N,), int64.
        objective: Takes attacked images, clean images and labels, returns a score for each, (N,).
        noise: Draws the start, uniformly from the ball around each image.
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Number of steps.

    Returns:
        Detached pixels in [0, 1], (N, C, H, W).
    """
    with measuring(), evaluating(model):
        center, classes = image.detach().clone(), label.clone()
        start = center + noise.child("start").uniform(center, -eps, eps)
        direction = gradient_sign(lambda point: objective(point, center, classes))
        *_, last = ascend(center, start, direction, eps, step_size, steps)
    return last


@dataclass(frozen=True)
class PGD(Regime):
    """Minimise the mean cross-entropy of adversarial images only (Madry et al., 2018, arXiv 1706.06083).

    The attack starts at random, takes sign steps on the cross-entropy and returns its last iterate. Defaults
    are those of Chen et al. (2019, arXiv 1905.09957) for Fashion-MNIST; their batches are summed where the
    mean is taken here, which Adam does not see. The attack runs in evaluation mode, the loss in training
    mode.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the attack.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 0.1
    step_size: float = 0.01
    steps: int = 20

    def __post_init__(self) -> None:
        check_steps(self.eps, self.step_size, self.steps)

    def attack(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> Tensor:
        """Return adversarial images.

        Args:
            model: Maps pixels in [0, 1] to logits.
            image: Pixels in [0, 1], (N, C, H, W).
            label: Class indices, (N,), int64.
            noise: Draws the start.

        Returns:
            Detached pixels in [0, 1], within `eps` of the images, (N, C, H, W).
        """
        return adversarial_images(
            model,
            image,
            label,
            lambda point, _, classes: functional.cross_entropy(model(point), classes, reduction="none"),
            noise,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
        )

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        logits = model(self.attack(model, image, label, noise))
        cross_entropy = functional.cross_entropy(logits, label)
        return RegimeLoss(cross_entropy, logits, {"cross_entropy": cross_entropy.detach()})
