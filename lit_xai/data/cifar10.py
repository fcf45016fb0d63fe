"""CIFAR-10."""

import io
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset, DistributedSampler, Sampler
from torchvision import datasets

from lit_xai.data.augmented import Augmented, EpochOrder
from lit_xai.data.base import Split
from lit_xai.data.decoding import one_line
from lit_xai.data.fetching import fetching
from lit_xai.data.images import Images, LabelledImages
from lit_xai.data.stored import StoredData, check_numbers, first_directory_with
from lit_xai.types import Batch

_VALIDATION = 5000
_TRAIN = [f"data_batch_{number}" for number in range(1, 6)]
_FILES = {"train": _TRAIN, "val": _TRAIN, "test": ["test_batch"]}


class _ArraysOnly(pickle.Unpickler):
    """Read pickled arrays of numpy, and refuse whatever else a pickle would call."""

    def find_class(self, module: str, name: str) -> Any:
        match module.replace("numpy._core", "numpy.core"), name:
            case "numpy", "ndarray" | "dtype":
                return getattr(np, name)
            case "numpy.core.multiarray", "_reconstruct":
                return np.empty(0).__reduce__()[0]
            # How Python 3 writes bytes for Python 2.
            case "_codecs", "encode":
                return lambda text, _: text.encode("latin1")
        raise pickle.UnpicklingError(f"it would call {module}.{name}")


def read_batch(path: Path) -> tuple[np.ndarray, list[int]]:
    """Read one of the six original files without running what it may hold.

    Args:
        path: `data_batch_1` to `data_batch_5`, or `test_batch`.

    Returns:
        Images (N, 3, 32, 32), uint8, and N labels.

    Raises:
        FileNotFoundError: If the file is missing.
        ValueError: If it is damaged, or holds anything but arrays and plain values.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected {path}, but got no such file. Set `data_dir`, or `download`.")
    try:
        content = _ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()
        pixels, labels = np.asarray(content["data"]), [int(label) for label in content["labels"]]
    # Whatever the bytes are taken for, the unpickler raises many kinds of errors.
    except Exception as error:
        raise ValueError(
            f"Expected a file of CIFAR-10, but got {path}: {one_line(error)}. Fetch it again."
        ) from error
    if pixels.dtype != np.uint8 or pixels.shape != (len(labels), 3 * 32 * 32):
        raise ValueError(
            f"Expected {len(labels)} rows of 3072 bytes in {path}, but got {pixels.dtype} of shape "
            f"{pixels.shape}. Fetch it again."
        )
    check_numbers("labels", labels, range(CIFAR10.num_classes), path)
    return pixels.reshape(-1, 3, 32, 32), labels


@dataclass(eq=False, repr=False)
class CIFAR10(StoredData):
    """All of CIFAR-10 (Krizhevsky, 2009, "Learning multiple layers of features from tiny images").

    45,000 / 5,000 / 10,000 images of 3 x 32 x 32 pixels. The validation split is the first 5,000 images of
    `data_batch_1`. `sample_id` counts within the split. The files are pickles, of which arrays and plain
    values only are read. Further options are those of `StoredData`.

    Args:
        data_dir: Directory of the six original files, or of torchvision's `cifar-10-batches-py`; `data` if
            None.
        augment: Train on random crops of the images with a black margin of 4 pixels, half of them mirrored
            (He et al., 2016, arXiv 1512.03385, section 4.2). The draws follow from `seed`, epoch and sample.
        seed: Of the order of the training images and of their augmentation.

    Raises:
        FileNotFoundError: If the files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    batch_size: int = 128
    augment: bool = False
    num_classes = 10

    def fetch(self) -> None:
        with fetching("CIFAR10", self.root):
            datasets.CIFAR10(self.root, download=True)

    def read(self, split: Split) -> Images:
        candidates = [self.root / "cifar-10-batches-py", self.root]
        directory = first_directory_with(_FILES[split][0], candidates, "Set `data_dir`, or `download`.")
        parts = [read_batch(directory / name) for name in _FILES[split]]
        pixels = np.concatenate([pixels for pixels, _ in parts])
        labels = np.concatenate([labels for _, labels in parts])
        kept = {"train": slice(_VALIDATION, None), "val": slice(_VALIDATION), "test": slice(None)}[split]
        return Images.from_bytes(pixels[kept], labels[kept])

    def for_training(
        self, images: LabelledImages, order: DistributedSampler[Any]
    ) -> tuple[Dataset[Batch], Sampler[Any]]:
        return (Augmented(images, self.seed), EpochOrder(order)) if self.augment else (images, order)
