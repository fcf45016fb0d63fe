"""The full Fashion-MNIST."""

import gzip
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from torchvision import datasets

from lit_xai.data.base import ImageDataModule, Images, Split, first_directory_with

_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_OWN = Path("data")
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


class FashionMNIST(ImageDataModule):
    """All of Fashion-MNIST (Xiao et al., 2017, arXiv 1708.07747).

    55,000 / 5,000 / 10,000 images of 28 x 28 pixels. The validation split is the first 5,000 images of the
    original training file. `sample_id` counts within the split.

    Args:
        data_dir: Directory of the four original files, plain or gzipped, or of torchvision's
            `FashionMNIST/raw`. Without it, the files of Debian's package `dataset-fashion-mnist` are used, or
            those in `data`.
        download: Fetch the files into `data_dir`, or `data`, if they are not there.
        batch_size: Images of a training batch, over all processes.
        eval_batch_size: Images of an evaluation batch, in each process.
        max_train: Train on the first images only; None for all.
        max_val: Validate on the first images only; None for all.
        max_test: Test on the first images only; None for all.
        num_workers: Processes that load data.
        donor_split: Where attacks that inject other images find them: `train`, `val` or `test`.
        seed: Of the order of the training images.

    Raises:
        FileNotFoundError: If the files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    num_classes = 10

    def __init__(
        self,
        data_dir: Path | None = None,
        download: bool = False,  # noqa: FBT001, FBT002
        batch_size: int = 50,
        eval_batch_size: int = 256,
        max_train: int | None = None,
        max_val: int | None = None,
        max_test: int | None = None,
        num_workers: int = 0,
        donor_split: Split = "train",
        seed: int = 0,
    ) -> None:
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            limits={"train": max_train, "val": max_val, "test": max_test},
            num_workers=num_workers,
            donor_split=donor_split,
            seed=seed,
        )
        self.save_hyperparameters(logger=False)
        self.data_dir = data_dir
        self.download = download

    def prepare_data(self) -> None:
        if self.download:
            datasets.FashionMNIST(self.data_dir or _OWN, download=True)

    def read(self, split: Split) -> Images:
        root = self.data_dir or _OWN
        candidates = [root / "FashionMNIST" / "raw", root]
        if self.data_dir is None and not self.download:
            candidates.insert(0, _DEBIAN)
        remedy = "Set `data_dir`, or `download`, or install Debian's package dataset-fashion-mnist."
        directory = first_directory_with("train-images-idx3-ubyte", candidates, remedy)
        images, labels = read_originals(directory, "test" if split == "test" else "train")
        kept = {"train": slice(_VALIDATION, None), "val": slice(_VALIDATION), "test": slice(None)}[split]
        return Images.from_bytes(images[kept, None], labels[kept])
