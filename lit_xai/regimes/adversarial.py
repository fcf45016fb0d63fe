"""What regimes that train on the worst neighbours of images share."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from lit_xai.ascent import ascend, check_steps, gradient_sign
from lit_xai.gate import evaluating, measuring
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.types import RegimeLoss

Height = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Adversarial(Regime):
    """Search for each image's worst neighbour, then minimise an objective of both.

    The search is projected ascent with steps of one length, in evaluation mode; it returns the last iterate,
    and nothing flows through it. Defaults are those of Chen et al. (2019, arXiv 1905.09957) for
    Fashion-MNIST.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the search.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 0.1
    step_size: float = 0.01
    steps: int = 20

    def __post_init__(self) -> None:
        check_steps(self.eps, self.step_size, self.steps)

    @abstractmethod
    def searched(self, model: nn.Module, image: Tensor, label: Tensor) -> Height:
        """Return what the search climbs: a function of neighbours (N, C, H, W) that returns scores, (N,).

        Args:
            model: Maps pixels in [0, 1] to logits, in evaluation mode.
            image: Clean pixels in [0, 1], (N, C, H, W).
            label: Class indices, (N,), int64.
        """

    @abstractmethod
    def objective(self, model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor) -> RegimeLoss:
        """Return what training minimises, given the neighbours.

        Args:
            model: Maps pixels in [0, 1] to logits, in training mode.
            image: Clean pixels in [0, 1], (N, C, H, W).
            image_adv: What the search has found, (N, C, H, W).
            label: Class indices, (N,), int64.
        """

    def start(self, image: Tensor, noise: Noise) -> Tensor:
        """Return where the search starts, (N, C, H, W); by default anywhere in the ball."""
        return image + noise.child("start").uniform(image, -self.eps, self.eps)

    def attack(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> Tensor:
        """Return the worst neighbours that the search finds; works in any grad mode.

        Args:
            model: Maps pixels in [0, 1] to logits; its mode and its parameters are left as they were.
            image: Pixels in [0, 1], (N, C, H, W).
            label: Class indices, (N,), int64.
            noise: Draws the start.

        Returns:
            Detached pixels in [0, 1], within `eps` of the images, (N, C, H, W).
        """
        with measuring(), evaluating(model):
            center, classes = image.detach().clone(), label.clone()
            direction = gradient_sign(self.searched(model, center, classes))
            start = self.start(center, noise)
            *_, last = ascend(center, start, direction, self.eps, self.step_size, self.steps)
        return last

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        return self.objective(model, image, self.attack(model, image, label, noise), label)
