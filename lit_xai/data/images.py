"""Labelled images, in memory or in files."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from lit_xai.types import Batch


class LabelledImages(Dataset[Batch], ABC):
    """The images of a split, whose labels are known without reading the images.

    Attributes:
        labels: (N,), int64.
    """

    labels: Tensor

    @abstractmethod
    def __getitem__(self, index: int) -> Batch:
        """Return pixels in [0, 1], (C, H, W), the label and the position, both without dimensions."""

    @abstractmethod
    def select(self, positions: Sequence[int]) -> Self:
        """Return some of the images, numbered anew in the order given."""

    @abstractmethod
    def digest(self) -> str:
        """Return the SHA-256 of all that decides pixels, labels and their order."""

    def first(self, size: int | None) -> Self:
        """Return the first samples; all if None."""
        return self.select(range(len(self))[:size])

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Images(LabelledImages):
    """Images held in memory as bytes.

    Args:
        pixels: (N, C, H, W), uint8.
        labels: (N,), int64.

    Raises:
        TypeError: If pixels or labels are of another type.
        ValueError: If shapes do not fit.
    """

    pixels: Tensor
    labels: Tensor

    def __post_init__(self) -> None:
        if (self.pixels.dtype, self.labels.dtype) != (torch.uint8, torch.int64):
            raise TypeError(
                "Expected pixels of torch.uint8 and labels of torch.int64, but got "
                f"{self.pixels.dtype} and {self.labels.dtype}."
            )
        if self.pixels.ndim != 4 or self.labels.shape != self.pixels.shape[:1]:
            raise ValueError(
                "Expected pixels (N, C, H, W) with N labels, but got "
                f"{tuple(self.pixels.shape)} and {tuple(self.labels.shape)}."
            )

    @classmethod
    def from_bytes(cls, pixels: np.ndarray, labels: np.ndarray) -> "Images":
        """Copy arrays of pixels (N, C, H, W) and labels (N,), both of bytes."""
        return cls(torch.from_numpy(pixels.copy()), torch.from_numpy(labels.astype(np.int64)))

    def select(self, positions: Sequence[int]) -> Self:
        chosen = torch.tensor(positions, dtype=torch.long)
        return type(self)(self.pixels[chosen], self.labels[chosen])

    def first(self, size: int | None) -> Self:
        # A view: whole data sets are not copied.
        return type(self)(self.pixels[:size], self.labels[:size])

    def digest(self) -> str:
        digest = hashlib.sha256(str(tuple(self.pixels.shape)).encode())
        for tensor in (self.pixels, self.labels):
            digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    def __getitem__(self, index: int) -> Batch:
        return Batch(self.pixels[index].float() / 255, self.labels[index], torch.tensor(index))
