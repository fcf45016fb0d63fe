"""Small networks of the field, without batch norm."""

import itertools
import math

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.1


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


class PlainResNet(nn.Module):
    """The GTSRB and Flower network of Chen et al. (2019, arXiv 1905.09957), a ResNet without batch norm.

    Each image is standardised in the network, then come a 3 x 3 convolution, three stages of pre-activation
    units (He et al., 2016, arXiv 1603.05027) of 16, 32 and 64 channels, the mean over places and a linear
    layer. Activations are leaky ReLU of slope 0.1, convolutions have no bias. It has the published 173,723
    parameters for GTSRB, and 75,265 with `units=1` for 17 classes of flowers. As in the authors' TensorFlow,
    convolutions of stride 2 pad below and to the right only, and a shortcut that changes size is average
    pooling with channels of zeros on both sides. Weights start as published: convolutions normal with
    variance 2 / (9 x outputs), the linear layer uniform within sqrt(3 / inputs), its bias 0.

    The standardisation makes logits almost invariant to contrast: Integrated Gradients from black is then
    close to a multiple of input x gradient, and far from complete. DeepLIFT and layerwise relevance have no
    rule for it.

    Args:
        num_classes: Number of logits.
        channels: Channels of the image.
        units: Residual units in each of the three stages.
        width: Channels of the first stage; each later stage has twice as many.

    Raises:
        ValueError: If there is no unit; in a pass, if height or width is not a multiple of 4.
    """

    def __init__(self, num_classes: int = 43, channels: int = 3, units: int = 2, width: int = 16) -> None:
        super().__init__()
        if units < 1:
            raise ValueError(f"Expected `units` of at least 1, but got {units}.")
        self.stem = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        widths = [width] * (units + 1) + [2 * width] * units + [4 * width] * units
        self.stages = nn.Sequential(
            *(_PlainUnit(*pair, first=place == 0) for place, pair in enumerate(itertools.pairwise(widths)))
        )
        self.activation = nn.LeakyReLU(_SLOPE)
        self.head = nn.Linear(4 * width, num_classes)
        self.apply(_residual_start)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        if image.shape[2] % 4 or image.shape[3] % 4:
            size = tuple(image.shape[2:])
            raise ValueError(f"Expected height and width as multiples of 4, but got {size}. Pad the images.")
        features = self.activation(self.stages(self.stem(standardised(image))))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


def standardised(image: Tensor) -> Tensor:
    """Return each image with mean 0 and deviation 1, over places and channels.

    As in TensorFlow, the deviation is taken for at least 1 / sqrt(C H W) of a pixel's 255 levels; an image of
    one colour gives zeros, and finite derivatives.

    Args:
        image: Pixels in [0, 1], (N, C, H, W).

    Returns:
        Values (N, C, H, W).
    """
    levels = 255 * image
    centered = levels - levels.mean((1, 2, 3), keepdim=True)
    variance = centered.square().mean((1, 2, 3), keepdim=True)
    # Below the root: the root of zero has no derivative.
    return centered / variance.clamp_min(1 / math.prod(image.shape[1:])).sqrt()


class _PlainUnit(nn.Module):
    """Two convolutions beside a shortcut; the very first unit's shortcut starts after its activation."""

    def __init__(self, before: int, after: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.added = after - before
        stride = 2 if self.added else 1
        # A stride of 2 pads by hand, below and to the right.
        self.margin = (0, 1, 0, 1) if self.added else (1, 1, 1, 1)
        self.before = nn.LeakyReLU(_SLOPE)
        self.conv1 = nn.Conv2d(before, after, 3, stride, bias=False)
        self.between = nn.LeakyReLU(_SLOPE)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        activated = self.before(values)
        shortcut = activated if self.first else values
        if self.added:
            half = self.added // 2
            shortcut = functional.pad(
                functional.avg_pool2d(shortcut, 2), (0, 0, 0, 0, half, self.added - half)
            )
        hidden = self.between(self.conv1(functional.pad(activated, self.margin)))
        total: Tensor = shortcut + self.conv2(hidden)
        return total


@torch.no_grad()
def _residual_start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=math.sqrt(2 / (9 * module.out_channels)))
    elif isinstance(module, nn.Linear):
        bound = math.sqrt(3 / module.in_features)
        nn.init.uniform_(module.weight, -bound, bound)
        nn.init.zeros_(module.bias)
