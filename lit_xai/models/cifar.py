"""Residual networks for images of 32 x 32 pixels."""

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock


class CIFARResNet18(ResNet):  # type: ignore[misc]
    """torchvision's ResNet-18 for small images (He et al., 2016, arXiv 1512.03385).

    The first convolution is 3 x 3 with stride 1, and no max-pooling follows, so that 32 x 32 pixels reach the
    first stage whole: 11,173,962 parameters for 10 classes. Names of weights are torchvision's.

    Args:
        num_classes: Number of logits.
        channels: Channels of the image.
    """

    def __init__(self, num_classes: int = 10, channels: int = 3) -> None:
        super().__init__(BasicBlock, [2, 2, 2, 2], num_classes=num_classes)
        self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        self.maxpool = nn.Identity()


class WideResNet(nn.Module):
    """A wide residual network for small images (Zagoruyko and Komodakis, 2016, arXiv 1605.07146).

    A 3 x 3 convolution to 16 channels, three stages of pre-activation units of 16, 32 and 64 channels times
    `width`, batch norm and ReLU, the mean over places and a linear layer. WRN-28-10 has 36.5 million
    parameters, WRN-34-10 46.2 million. Where the shape changes, the shortcut is a 1 x 1 convolution of the
    activated input, as in the authors' code. There is no dropout. Convolutions start normal with variance
    2 / (places x outputs), the last bias at 0, as the authors' do.

    Args:
        num_classes: Number of logits.
        channels: Channels of the image.
        depth: Convolutions and linear layers, shortcuts apart: 6 n + 4 for n units in each stage.
        width: Factor of the channels.

    Raises:
        ValueError: If `depth` is not 6 n + 4, or `width` not at least 1.
    """

    def __init__(self, num_classes: int = 10, channels: int = 3, depth: int = 28, width: int = 10) -> None:
        super().__init__()
        if depth < 10 or depth % 6 != 4:
            raise ValueError(f"Expected `depth` as 10, 16, 22, 28, 34, ..., but got {depth}.")
        if width < 1:
            raise ValueError(f"Expected `width` of at least 1, but got {width}.")
        self.stem = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.stages = nn.Sequential()
        before = 16
        for stage, after in enumerate((16 * width, 32 * width, 64 * width)):
            for place in range((depth - 4) // 6):
                self.stages.append(_WideUnit(before, after, stride=2 if stage and not place else 1))
                before = after
        self.norm = nn.BatchNorm2d(before)
        self.activation = nn.ReLU()
        self.head = nn.Linear(before, num_classes)
        self.apply(_published_start)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for values (N, C, H, W)."""
        features = self.activation(self.norm(self.stages(self.stem(image))))
        logits: Tensor = self.head(features.mean((2, 3)))
        return logits


class _WideUnit(nn.Module):
    """Two convolutions, each after batch norm and ReLU, beside a shortcut."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(before)
        self.relu1 = nn.ReLU()
        self.conv1 = nn.Conv2d(before, after, 3, stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.relu2 = nn.ReLU()
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        changes = before != after or stride != 1
        self.shortcut = nn.Conv2d(before, after, 1, stride, bias=False) if changes else None

    def forward(self, values: Tensor) -> Tensor:
        activated = self.relu1(self.norm1(values))
        shortcut = self.shortcut(activated) if self.shortcut is not None else values
        total: Tensor = shortcut + self.conv2(self.relu2(self.norm2(self.conv1(activated))))
        return total


@torch.no_grad()
def _published_start(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
