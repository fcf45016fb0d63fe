"""Random resizing and padding, sample by sample."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.noise import Noise


def resampling(size: int, new_size: Tensor, offset: Tensor, canvas: int) -> Tensor:
    """Return matrices that resize a line of pixels bilinearly and put it on a line of zeros.

    Args:
        size: Pixels of the line.
        new_size: Pixels after resizing, (N,), int64.
        offset: Zeros before them, (N,), int64.
        canvas: Pixels of the line of zeros.

    Returns:
        (N, canvas, size), float64.
    """
    place = torch.arange(canvas, device=offset.device).double() - offset[:, None]
    source = ((place + 0.5) * size / new_size[:, None] - 0.5).clamp(min=0.0, max=size - 1.0)
    low = source.floor().long()
    high = (low + 1).clamp(max=size - 1)
    part = source - low
    inside = (place >= 0) & (place < new_size[:, None])
    weights = torch.zeros(len(offset), canvas, size, dtype=torch.float64, device=offset.device)
    weights.scatter_add_(2, low[..., None], ((1 - part) * inside)[..., None])
    weights.scatter_add_(2, high[..., None], (part * inside)[..., None])
    return weights


@dataclass(frozen=True)
class DiverseInput:
    """Resize images at random and pad them with zeros (Xie et al., 2019, arXiv 1803.06978).

    The side is drawn from the smaller up to the larger of the image's and `scale` times it, which is left
    out. Deviations: every image has a draw of its own, and any height and width are allowed.

    Args:
        scale: Above 1, side of the padded image over the side of the image. Below 1, the smallest side drawn
            over the side of the image, and the padded image is as large as the image.
        probability: Share of the images that is resized, in [0, 1].

    Raises:
        ValueError: If an option is out of its range.
    """

    scale: float = 1.15
    probability: float = 0.5

    def __post_init__(self) -> None:
        if not self.scale > 0 or self.scale == 1:
            raise ValueError(
                f"Expected `diversity_scale` above 0 and other than 1, but got {self.scale:g}. "
                "For no resizing, set the probability to 0."
            )
        if not 0 <= self.probability <= 1:
            raise ValueError(f"Expected `diversity_probability` in [0, 1], but got {self.probability:g}.")

    def draw(self, image: Tensor, noise: Noise) -> "Resizing":
        """Return a resizing of each image (N, C, H, W), the side drawn once, the place once for each axis."""
        like = image[:, 0, 0, 0].double()
        side = noise.child("side").uniform(like)
        matrices = []
        for size, name in zip(image.shape[2:], ("top", "left"), strict=True):
            smallest, canvas = self._range(size)
            new_size = smallest + (side * (canvas - smallest)).long()
            offset = (noise.child(name).uniform(like) * (canvas - new_size)).long()
            matrices.append(resampling(size, new_size, offset, canvas).to(image))
        return Resizing(noise.child("applied").uniform(like) < self.probability, *matrices)

    def _range(self, size: int) -> tuple[int, int]:
        other = int(self.scale * size)
        return (size, max(other, size + 1)) if self.scale > 1 else (max(other, 1), size)


@dataclass(frozen=True, eq=False)
class Resizing:
    """Which images are resized and padded, and how.

    Attributes:
        applied: (N,), bool.
        rows: Matrices of the rows, (N, H', H).
        columns: Matrices of the columns, (N, W', W).
    """

    applied: Tensor
    rows: Tensor
    columns: Tensor

    @classmethod
    def stacked(cls, parts: Sequence["Resizing"]) -> "Resizing":
        """Return the resizings of several batches, one after the other."""
        return cls(
            torch.cat([part.applied for part in parts]),
            torch.cat([part.rows for part in parts]),
            torch.cat([part.columns for part in parts]),
        )

    def padded(self, image: Tensor) -> Tensor:
        """Return resized and padded images, (N, C, H', W'), differentiable in the image."""
        return self.rows[:, None] @ image @ self.columns[:, None].mT

    def logits(self, model: nn.Module, image: Tensor, *, resize_back: bool) -> Tensor:
        """Return the logits of the images, (N, K); those that `applied` marks are resized and padded first.

        Args:
            model: Maps pixels in [0, 1] to logits.
            image: (N, C, H, W).
            resize_back: Whether padded images are resized to the image's size.
        """
        chosen = Resizing(*(part[self.applied] for part in (self.applied, self.rows, self.columns)))
        padded = chosen.padded(image[self.applied])
        if resize_back:
            padded = functional.interpolate(padded, image.shape[2:], mode="bilinear", align_corners=False)
        if padded.shape[1:] == image.shape[1:]:
            logits: Tensor = model(image.index_put((self.applied,), padded))
            return logits
        # The larger images go first: a network that refuses them has then seen no others.
        parts = (padded, image[~self.applied])
        order = (~self.applied).long().argsort(stable=True)
        return torch.cat([model(part) for part in parts if len(part)])[order.argsort()]
