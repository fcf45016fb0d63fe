"""A frozen network to compare another one with."""

import copy
from pathlib import Path

from torch import Tensor, nn

from lit_xai.models.weights import load_weights


class Reference(nn.Module):
    """A copy of a network as it is now, in evaluation mode and frozen for good.

    Args:
        network: Maps pixels in [0, 1] to logits. It is copied.
        checkpoint: Its weights, from a checkpoint of the training command or a saved `state_dict`; those of
            the network if None.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights, or those of another network.
    """

    def __init__(self, network: nn.Module, checkpoint: Path | None = None) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(requires_grad=False)
        if checkpoint is not None:
            load_weights(self.network, Path(checkpoint))
        self.eval()

    def train(self, mode: bool = True) -> "Reference":  # noqa: FBT001, FBT002
        """Stay in evaluation mode, whatever is asked."""
        del mode
        return super().train(mode=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), of pixels in [0, 1], (N, C, H, W)."""
        logits: Tensor = self.network(image)
        return logits
