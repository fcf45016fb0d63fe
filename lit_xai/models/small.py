"""Small networks of the field, without batch norm."""

import torch
from torch import Tensor, nn


class SmallCNN(nn.Module):
    """The Fashion-MNIST and MNIST network of Chen et al. (2019, arXiv 1905.09957).

    Two 5 x 5 convolutions, each with ReLU and 2 x 2 max-pooling, then two linear layers. At `width=32` it has
    the published 3,274,634 parameters for 28 x 28 pixels; the hidden layer is 32 times the width. Weights are
    drawn from a normal distribution of standard deviation 0.1 cut at two of them, biases are 0.1, as
    published. Deviation: features are flattened channel first, which matters only to whoever ports weights.

    Args:
        num_classes: Number of logits.
        channels: Channels of the image.
        size: Height and width of the image, a multiple of 4.
        width: Channels of the first convolution.

    Raises:
        ValueError: If `size` is not a multiple of 4.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1, size: int = 28, width: int = 32) -> None:
        super().__init__()
        if size % 4 or size < 4:
            raise ValueError(f"Expected `size` as a multiple of 4, but got {size}. Pad the images.")
        self.features = nn.Sequential(
            nn.Conv2d(channels, width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(width, 2 * width, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        hidden = 32 * width
        self.head = nn.Sequential(
            nn.Linear(2 * width * (size // 4) ** 2, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)
        )
        self.apply(_published_start)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        logits: Tensor = self.head(self.features(image))
        return logits


@torch.no_grad()
def _published_start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)
        if module.bias is not None:
            nn.init.constant_(module.bias, 0.1)
