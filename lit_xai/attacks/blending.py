"""How an attack mixes the chosen features of another image into the image."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


class Blend(ABC):
    """A way to mix a donor's features into an image: frozen settings and one method."""

    @abstractmethod
    def mix(self, image: Tensor, donor: Tensor, chosen: Tensor, alpha: float) -> Tensor:
        """Return images in which the chosen features are mixed with the donor's.

        Args:
            image: Pixels in [0, 1], (N, C, H, W).
            donor: Pixels in [0, 1], (N, C, H, W).
            chosen: The features to mix, (N, C, H, W), bool; the others stay the image's.
            alpha: Share of the donor, in (0, 1].

        Returns:
            Pixels, not clipped to [0, 1], (N, C, H, W).
        """


@dataclass(frozen=True)
class PlainBlend(Blend):
    """Blend value by value: (1 - alpha) x + alpha donor (Pesce et al., 2025, arXiv 2511.10088)."""

    def mix(self, image: Tensor, donor: Tensor, chosen: Tensor, alpha: float) -> Tensor:
        return torch.where(chosen, (1 - alpha) * image + alpha * donor, image)


@dataclass(frozen=True)
class LocalContrastBlend(Blend):
    """Mix in more of the donor where the image is textured, and less where it is flat.

    Ours: a reading of the "local pixel-aware blending" that the authors of eXIAA name as future work (Pesce
    et al., 2025, arXiv 2511.10088). A chosen feature becomes (1 - s) x + s donor with s = min(1, t (c +
    floor)). Here c is the image's standard deviation in the window around the pixel, the root mean square
    over channels; t is such that the mean of s over the chosen features of a sample is exactly alpha, so that
    alpha keeps its meaning.

    Args:
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels; they are cut at the border.
        floor: Contrast, in pixel units of [0, 1], that a flat place is given; the larger, the plainer the
            blend.

    Raises:
        ValueError: If an option is out of its range.
    """

    w: int = 1
    floor: float = 0.02

    def __post_init__(self) -> None:
        if self.w < 1:
            raise ValueError(f"Expected `w` of at least 1, but got {self.w}.")
        if not self.floor > 0:
            raise ValueError(f"Expected `floor` above 0, but got {self.floor:g}.")

    def mix(self, image: Tensor, donor: Tensor, chosen: Tensor, alpha: float) -> Tensor:
        weight = (local_contrast(image, self.w) + self.floor).expand(image.shape)
        share = capped_shares(torch.where(chosen, weight, 0.0), alpha).to(image)
        return torch.where(chosen, (1 - share) * image + share * donor, image)


def local_contrast(image: Tensor, w: int) -> Tensor:
    """Return the standard deviation of an image around each pixel.

    Args:
        image: Pixels in [0, 1], (N, C, H, W).
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels; they are cut at the border.

    Returns:
        Root mean square of the channels' standard deviations, in [0, 0.5], (N, 1, H, W), float64.
    """
    # In double precision: a variance is a difference of squares.
    values = image.double()
    mean, square = (
        functional.avg_pool2d(one, 2 * w + 1, stride=1, padding=w, count_include_pad=False)
        for one in (values, values.square())
    )
    return (square - mean.square()).clamp_min(0).mean(dim=1, keepdim=True).sqrt()


def capped_shares(weight: Tensor, mean: float) -> Tensor:
    """Return shares proportional to weights, none above 1, with a given mean.

    Args:
        weight: At least 0, (N, ...); where it is 0 the share is 0, and the mean leaves it out.
        mean: Of the shares of each sample, in (0, 1].

    Returns:
        Shares in [0, 1], (N, ...).

    Example:
        >>> capped_shares(torch.tensor([[0.0, 1.0, 2.0, 9.0]]), 0.5)
        tensor([[0.0000, 0.1667, 0.3333, 1.0000]])
    """
    falling = weight.flatten(1).sort(dim=1, descending=True).values
    rest = falling.flip(1).cumsum(dim=1).flip(1)
    capped = torch.arange(falling.shape[1], device=weight.device)
    total = mean * (falling > 0).sum(dim=1, keepdim=True).to(weight)
    # The sum of min(1, t w) is the least, over m, of m plus t times all but the m largest weights.
    scale = torch.where(rest > 0, (total - capped) / rest, 0.0).amax(dim=1)
    return (weight * scale.view(-1, *[1] * (weight.ndim - 1))).clamp_max(1.0)
