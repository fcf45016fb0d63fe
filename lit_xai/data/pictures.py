"""Pictures that are read from their files one by one, when they are needed."""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import InterpolationMode, functional

from lit_xai.data.decoding import read_rgb
from lit_xai.data.images import LabelledImages
from lit_xai.models.preprocessing import Preprocessing
from lit_xai.noise import Noise
from lit_xai.types import Batch

_THREADS = 8
_AT_ONCE = 4096
_TRIES = 10
_AREA = (0.08, 1.0)
_RATIO = (3 / 4, 4 / 3)


@dataclass(frozen=True, eq=False)
class Pictures(LabelledImages):
    """Images in files, each read when it is asked for.

    Args:
        paths: Their files; a text takes a fraction of a path's memory.
        labels: (N,), int64.
        preprocessing: Makes each a square of the same size.
    """

    paths: Sequence[str]
    labels: Tensor
    preprocessing: Preprocessing

    def select(self, positions: Sequence[int]) -> Self:
        chosen = torch.tensor(positions, dtype=torch.long)
        paths = [self.paths[position] for position in positions]
        return type(self)(paths, self.labels[chosen], self.preprocessing)

    def digest(self) -> str:
        """Return the SHA-256 of the files' bytes in their order, the labels, and the preprocessing."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(repr(self.preprocessing).encode())
        with ThreadPoolExecutor(_THREADS) as pool:
            # Tasks are made at once, and a million of them fill gigabytes.
            for start in range(0, len(self.paths), _AT_ONCE):
                for content in pool.map(_file_digest, self.paths[start : start + _AT_ONCE]):
                    digest.update(content)
        digest.update(self.labels.contiguous().numpy().data)
        return digest.hexdigest()

    def __getitem__(self, index: int) -> Batch:
        square = self.preprocessing(read_rgb(Path(self.paths[index])))
        return Batch(to_pixels(square), self.labels[index], torch.tensor(index))


def to_pixels(picture: Image.Image) -> Tensor:
    """Return a picture in RGB as pixels in [0, 1], (3, H, W)."""
    return torch.from_numpy(np.array(picture).transpose(2, 0, 1)).float() / 255


def _file_digest(path: str) -> bytes:
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").digest()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Expected a picture, but got {path}, which does not exist.") from error


def random_box(width: int, height: int, noise: Noise) -> tuple[int, int, int, int]:
    """Return a random part of a picture: 8 % to 100 % of its area, 3:4 to 4:3 (Szegedy et al., 2015).

    Of ten draws the first that fits is taken; if none does, the largest square in the centre
    (arXiv 1409.4842, section 6, as torchvision's `RandomResizedCrop` does it, but for that last square).

    Args:
        width: Of the picture, in pixels.
        height: Of the picture, in pixels.
        noise: Of this one sample.

    Returns:
        Left, top, width and height, in pixels.
    """
    like = torch.empty(1, _TRIES, dtype=torch.float64)
    areas = noise.child("area").uniform(like, *_AREA)[0] * width * height
    low, high = torch.tensor(_RATIO, dtype=torch.float64).log().tolist()
    ratios = noise.child("ratio").uniform(like, low, high)[0].exp()
    left, top = noise.child("place").uniform(torch.empty(1, 2, dtype=torch.float64))[0].tolist()
    for area, ratio in zip(areas.tolist(), ratios.tolist(), strict=True):
        wide, tall = max(1, round((area * ratio) ** 0.5)), max(1, round((area / ratio) ** 0.5))
        if wide <= width and tall <= height:
            return int(left * (width - wide + 1)), int(top * (height - tall + 1)), wide, tall
    side = min(width, height)
    return (width - side) // 2, (height - side) // 2, side, side


@dataclass(frozen=True, eq=False)
class CroppedPictures(Dataset[Batch]):
    """Random parts of pictures, resized to their common size, half of them mirrored.

    The draws belong to (seed, epoch, sample): worker processes, order and number of processes do not matter.

    Args:
        pictures: The pictures as they are.
        seed: Of the draws.
    """

    pictures: Pictures
    seed: int

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        """Return a sample as it is in an epoch; place: (epoch, position)."""
        epoch, index = place
        noise = Noise(self.seed, torch.tensor([index])).child("augmentation").child(epoch)
        picture, target = read_rgb(Path(self.pictures.paths[index])), self.pictures.preprocessing
        left, top, width, height = random_box(*picture.size, noise)
        mode: Any = InterpolationMode(target.interpolation)
        part = functional.resized_crop(picture, top, left, height, width, [target.size] * 2, mode)
        pixels = to_pixels(part)
        mirrored = noise.child("flip").integers(2).item()
        label = self.pictures.labels[index]
        return Batch(pixels.flip(2) if mirrored else pixels, label, torch.tensor(index))
