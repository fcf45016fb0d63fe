"""The full Fashion-MNIST."""

import gzip
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision import datasets

from lit_xai.data.base import Split
from lit_xai.data.fetching import fetching
from lit_xai.data.images import Images
from lit_xai.data.stored import StoredData, first_directory_with

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_PREFIX = {"train": "train", "test": "t10k"}
_VALIDATION = 5000


def _read_idx(directory: Path, name: str) -> np.ndarray:
    for path in (directory / name, directory / f"{name}.gz"):
        if path.is_file():
            break
    else:
        raise FileNotFoundError(
            f"Expected {name} or {name}.gz in {directory}, but got neither. Set `data_dir`."
        )
    try:
        content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        dimensions = content[3]
        shape = np.frombuffer(content, ">u4", dimensions, offset=4)
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
        return values.reshape(shape)
    except (OSError, EOFError, ValueError, IndexError, zlib.error) as error:
        raise ValueError(
            f"Expected an IDX file of bytes, but got {path}: {error}. Fetch it again."
        ) from error


def read_originals(directory: Path, split: Literal["train", "test"]) -> tuple[np.ndarray, np.ndarray]:
    """Read one of the two original splits, plain or gzipped.

    Args:
        directory: Holds the four original files.
        split: `train` (60,000 images) or `test` (10,000).

    Returns:
        Images (N, 28, 28) and labels (N,), both uint8.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged.
    """
    images = _read_idx(directory, f"{_PREFIX[split]}-images-idx3-ubyte")
    labels = _read_idx(directory, f"{_PREFIX[split]}-labels-idx1-ubyte")
    if images.ndim != 3 or labels.shape != images.shape[:1]:
        raise ValueError(f"Expected a label for each image, but got {labels.shape} and {images.shape}.")
    return images, labels


def read_split(candidates: Iterable[Path], split: Split, remedy: str) -> Images:
    """Read a split of a data set in the format of MNIST; the first 5,000 training images validate.

    Args:
        candidates: Directories that may hold the four original files; the first that does is read.
        split: `train`, `val` or `test`.
        remedy: What to do if none does, for the message.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged.
    """
    directory = first_directory_with("train-images-idx3-ubyte", candidates, remedy)
    images, labels = read_originals(directory, "test" if split == "test" else "train")
    kept = {"train": slice(_VALIDATION, None), "val": slice(_VALIDATION), "test": slice(None)}[split]
    return Images.from_bytes(images[kept, None], labels[kept])


@dataclass(eq=False, repr=False)
class FashionMNIST(StoredData):
    """All of Fashion-MNIST (Xiao et al., 2017, arXiv 1708.07747).

    55,000 / 5,000 / 10,000 images of 28 x 28 pixels. The validation split is the first 5,000 images of the
    original training file. `sample_id` counts within the split. Further options are those of `StoredData`.

    Args:
        data_dir: Directory of the four original files, plain or gzipped, or of torchvision's
            `FashionMNIST/raw`. Without it, the files of Debian's package `dataset-fashion-mnist` are used, or
            those in `data`.

    Raises:
        FileNotFoundError: If the files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    num_classes = 10

    def fetch(self) -> None:
        with fetching("FashionMNIST", self.root):
            datasets.FashionMNIST(self.root, download=True)

    def read(self, split: Split) -> Images:
        candidates = [self.root / "FashionMNIST" / "raw", self.root]
        if self.data_dir is None and not self.download:
            candidates.insert(0, _DEBIAN)
        remedy = "Set `data_dir`, or `download`, or install Debian's package dataset-fashion-mnist."
        return read_split(candidates, split, remedy)
