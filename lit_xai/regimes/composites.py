"""Pictures that show an image of each of two classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from lit_xai.noise import Noise
from lit_xai.types import Donors


def side_by_side(left: Tensor, right: Tensor) -> Tensor:
    """Return two images beside each other, both shrunk to half the width.

    Args:
        left: Pixels in [0, 1], (N, C, H, W).
        right: Pixels in [0, 1], (N, C, H, W); it gets the middle column of an odd width.

    Returns:
        Pixels in [0, 1], means of neighbours, (N, C, H, W).

    Example:
        >>> side_by_side(torch.tensor([[[[0.0, 1.0]]]]), torch.tensor([[[[0.25, 0.75]]]]))
        tensor([[[[0.5000, 0.5000]]]])
    """
    height, width = left.shape[2:]
    shrunk = functional.adaptive_avg_pool2d(left, (height, width // 2))
    return torch.cat([shrunk, functional.adaptive_avg_pool2d(right, (height, width - width // 2))], dim=3)


@dataclass(frozen=True, eq=False)
class Composites:
    """The images of two classes, from which pictures of both are made.

    Args:
        first: Pixels in [0, 1], (M, C, H, W), M > 0.
        second: Pixels in [0, 1], (M', C, H, W), M' > 0.
    """

    first: Tensor
    second: Tensor

    @classmethod
    def of(cls, classes: Sequence[int], donors: Donors) -> "Composites":
        """Collect the images of two classes, on the CPU.

        Args:
            classes: Two class indices.
            donors: Returns labelled images, batch by batch.

        Raises:
            ValueError: If there are none of a class.
        """
        found: dict[int, list[Tensor]] = {number: [] for number in classes}
        for image, label, _ in donors():
            for number, images in found.items():
                images.append(image[label == number].cpu())
        for number, images in found.items():
            if not sum(map(len, images)):
                raise ValueError(f"Expected donors of both `classes`, but got none of class {number}.")
        return cls(*(torch.cat(images) for images in found.values()))

    def draw(self, noise: Noise, like: Tensor) -> Tensor:
        """Return a picture for each sample: one image of each class, left or right by chance.

        Args:
            noise: Draws both images and their order.
            like: Gives device and type.

        Returns:
            Pixels in [0, 1], (N, C, H, W).
        """
        first, second = (
            images[noise.child(stream).integers(len(images)).cpu()].to(like)
            for stream, images in (("first", self.first), ("second", self.second))
        )
        turned = noise.child("turned").integers(2).bool().view(-1, 1, 1, 1).to(like.device)
        return side_by_side(torch.where(turned, second, first), torch.where(turned, first, second))
