"""A network that normalises its own pixels."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Normalized(nn.Module):
    """A network behind the normalisation that it was made for, so that pixels stay in [0, 1] outside.

    Radii of attacks and explanations are then in pixels. Mean and deviation are kept with the weights.

    Args:
        model: Maps normalised images to logits.
        mean: Of each channel, in pixel units of [0, 1].
        std: Of each channel, in pixel units of [0, 1], above 0.

    Raises:
        ValueError: If there is not one deviation above 0 for each mean; in a pass, if images have another
            number of channels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if not len(mean) == len(std) > 0:
            raise ValueError(
                f"Expected `mean` and `std` of as many channels, but got {len(mean)} and {len(std)}."
            )
        if not min(std) > 0:
            raise ValueError(f"Expected `std` above 0, but got {list(std)}.")
        self.model = model
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        if image.shape[1] != len(self.mean):
            raise ValueError(f"Expected images of {len(self.mean)} channels, but got {image.shape[1]}.")
        logits: Tensor = self.model((image - self.mean) / self.std)
        return logits
