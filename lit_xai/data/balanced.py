"""Training sets that are balanced by warped copies, as published for traffic signs and flowers."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, DistributedSampler

from lit_xai.data.images import Images
from lit_xai.data.samplers import training_order
from lit_xai.noise import Noise
from lit_xai.types import Batch

_ANGLE = 15.0
_SHIFT = 2.5
_CORNERS = 0.3
_STRONGEST = 0.8


def equalized(pixels: Tensor) -> Tensor:
    """Return images with the histogram of each channel equalised, as OpenCV's `equalizeHist` does it.

    Args:
        pixels: (..., H, W), uint8.

    Returns:
        Of the same shape and type. A channel of one value stays as it is.

    Example:
        >>> equalized(torch.tensor([[3, 3, 5, 9]], dtype=torch.uint8))
        tensor([[  0,   0, 128, 255]], dtype=torch.uint8)
    """
    channels = pixels.reshape(-1, *pixels.shape[-2:]).numpy()
    return torch.from_numpy(np.stack([_equalized(channel) for channel in channels])).view(pixels.shape)


def _equalized(channel: np.ndarray) -> np.ndarray:
    counts = np.bincount(channel.ravel(), minlength=256)
    first = int(counts.nonzero()[0][0])
    rest = channel.size - counts[first]
    if not rest:
        return channel
    counts[first] = 0
    # In single precision and rounded to even, as the original.
    table = np.rint(counts.cumsum().astype(np.float32) * np.float32(np.float32(255) / np.float32(rest)))
    result: np.ndarray = table.astype(np.uint8)[channel]
    return result


def warped(image: Tensor, noise: Noise) -> Tensor:
    """Return an image turned, shifted and seen from aside at random, each time interpolated bilinearly.

    Turned by up to 15 degrees about its centre, what comes in continuing the edge; then shifted by up to 2.5
    pixels along each axis, what comes in being black; then each corner is moved by up to 0.3 u of the height
    along each axis, u in [0, 0.8] being drawn too, what comes in continuing the edge. The result is cut to
    8 bits. That is the augmentation of Chen et al. (2019, arXiv 1905.09957), as released, with other draws.

    Args:
        image: Pixels in [0, 1], (C, H, W).
        noise: Of this one image.

    Returns:
        Multiples of 1/255 in [0, 1], (C, H, W).
    """
    height, width = image.shape[1:]
    draws = noise.child("warp").uniform(torch.empty(1, 12, dtype=torch.float64), -1.0, 1.0)[0]
    angle = math.radians(_ANGLE) * draws[0].item()
    middle = ((width - 1) / 2, (height - 1) / 2)
    cosine, sine = math.cos(angle), math.sin(angle)
    turn = torch.tensor(
        [
            [cosine, -sine, middle[0] - cosine * middle[0] + sine * middle[1]],
            [sine, cosine, middle[1] - sine * middle[0] - cosine * middle[1]],
            [0.0, 0.0, 1.0],
        ],
        dtype=torch.float64,
    )
    shift = torch.eye(3, dtype=torch.float64)
    shift[:2, 2] = _SHIFT * draws[1:3]
    corners = torch.tensor([[0, 0], [0, height], [width, height], [width, 0]], dtype=torch.float64)
    reach = _CORNERS * height * _STRONGEST * (draws[3].item() + 1) / 2
    aside = homography(corners + reach * draws[4:].view(4, 2), corners)
    for transform, fill in ((turn, "border"), (shift, "zeros"), (aside, "border")):
        image = _sampled(image, transform, fill)
    return (image * 255).floor() / 255


def homography(first: Tensor, second: Tensor) -> Tensor:
    """Return the projective map that takes four points to four others.

    Args:
        first: Points (x, y), (4, 2), no three on a line.
        second: Where they go, (4, 2).

    Returns:
        Of homogeneous coordinates, (3, 3), float64.
    """
    x, y = first.double().unbind(1)
    u, v = second.double().unbind(1)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = torch.cat(
        [
            torch.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1),
            torch.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1),
        ]
    )
    entries = torch.linalg.solve(rows, torch.cat([u, v]))
    return torch.cat([entries, entries.new_ones(1)]).view(3, 3)


def _sampled(image: Tensor, transform: Tensor, fill: str) -> Tensor:
    """Return an image whose pixel (x, y) is taken from where the transform takes (x, y)."""
    height, width = image.shape[1:]
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)]).double().flatten(1)
    found = transform @ points
    place = (found[:2] / found[2]).view(2, height, width)
    scale = torch.tensor([max(width - 1, 1), max(height - 1, 1)], dtype=torch.float64).view(2, 1, 1)
    grid = (2 * place / scale - 1).permute(1, 2, 0).float()
    return functional.grid_sample(image[None], grid[None], padding_mode=fill, align_corners=True)[0]


@dataclass(frozen=True, eq=False)
class Balanced(Dataset[Batch]):
    """All images of a set and, for each class that has fewer than asked, warped copies of them in turn.

    Nothing is stored: a copy is made when it is asked for, the same one each time (`warped`).

    Args:
        images: The images as they are.
        per_class: Images that each class has at least; a class without any stays empty.
        seed: Of the copies.
        equalize: Whether the histogram of every image and copy is equalised.
    """

    images: Images
    per_class: int
    seed: int
    equalize: bool = False

    @cached_property
    def source(self) -> Tensor:
        """Positions in the images that each image here is, or is a copy of, (N,)."""
        originals = self.images.labels
        copies = []
        for label in originals.unique():
            own = (originals == label).nonzero().squeeze(1)
            missing = max(self.per_class - len(own), 0)
            copies.append(own.repeat(math.ceil(missing / len(own)))[:missing])
        return torch.cat([torch.arange(len(originals)), *copies])

    @cached_property
    def labels(self) -> Tensor:
        """Class of each image, (N,), int64."""
        return self.images.labels[self.source]

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Batch:
        image, label, _ = self.images[int(self.source[index])]
        if index >= len(self.images):
            image = warped(image, Noise(self.seed, torch.tensor([index])))
        if self.equalize:
            image = equalized((image * 255).round().byte()).float() / 255
        return Batch(image, label, torch.tensor(index))


def check_per_class(per_class: int | None) -> None:
    """Refuse fewer than one image of each class.

    Raises:
        ValueError: If there would be fewer.
    """
    if per_class is not None and per_class < 1:
        raise ValueError(f"Expected `per_class` of at least 1, but got {per_class}. Leave it out for none.")


def same_order(images: Balanced, order: DistributedSampler[Any]) -> DistributedSampler[Any]:
    """Return an order of a balanced set, drawn and shared out as another order is."""
    return training_order(images, order.num_replicas, order.rank, order.seed)
