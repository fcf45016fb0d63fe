"""The interface of training regimes."""

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.types import Donors, RegimeLoss


class Regime(ABC):
    """A way of training: frozen settings and one objective."""

    def prepare(self, model: nn.Module, donors: Donors) -> "Regime":
        """Return a copy that knows what it needs of the network and of other images; by default, itself.

        Args:
            model: Maps pixels in [0, 1] to logits.
            donors: Returns the images that may be injected, batch by batch, the same in every process.
        """
        return self

    @property
    def compares_with_start(self) -> bool:
        """Whether `prepare` may learn something of the network; by default, if it does anything."""
        return type(self).prepare is not Regime.prepare

    def at(self, progress: float) -> "Regime":
        """Return the regime as it is at a share of the training, in [0, 1]; by default, the regime itself."""
        return self

    @abstractmethod
    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        """Return the objective of a batch.

        Args:
            model: Maps pixels in [0, 1] to logits, in training mode.
            image: Pixels in [0, 1], (N, C, H, W).
            label: Class indices, (N,), int64.
            noise: The randomness, keyed by sample and epoch.

        Returns:
            The scalar to minimise, a mean over the batch, with its logits and its parts.
        """


def check_weight(weight: float, otherwise: str) -> None:
    """Refuse a weight that leaves nothing of a regulariser.

    Args:
        weight: Of the regulariser.
        otherwise: Names the regime to use instead.

    Raises:
        ValueError: If `weight` is not above 0.
    """
    if not 0 < weight < math.inf:
        raise ValueError(
            f"Expected `weight` above 0, but got {weight:g}. Use {otherwise} for no regulariser."
        )
