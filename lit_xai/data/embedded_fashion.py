"""The sample of Fashion-MNIST that comes with the package."""

import hashlib
from functools import cache
from importlib.resources import files

import numpy as np

from lit_xai.data.base import ImageDataModule, Split
from lit_xai.data.images import Images

_CHECKSUM = "1b3156d31b32e62f32ac5d0690dc163c71a80326ecc47a657222b0f27bfaa23e"


@cache
def _read() -> dict[str, np.ndarray]:
    path = files("lit_xai.data") / "embedded_fashion.npz"
    with path.open("rb") as stream:
        digest = hashlib.sha256(stream.read()).hexdigest()
        if digest != _CHECKSUM:
            raise ValueError(
                f"Expected embedded images with sha256 {_CHECKSUM}, but got {digest}. Install again."
            )
        stream.seek(0)
        return dict(np.load(stream, allow_pickle=False))


class EmbeddedFashion(ImageDataModule):
    """5,000 / 500 / 1,000 images of Fashion-MNIST (Xiao et al., 2017, arXiv 1708.07747; MIT licence).

    They have 28 x 28 pixels, come with the package and need no network. Training and validation images are
    from the original training file, test images from the original test file, drawn with seed 20190528, as
    many of each class, the classes in turn: the first n images are balanced too.
    `scripts/make_embedded_fashion.py` makes the file, whose SHA-256 is checked.

    Args:
        batch_size: Images of a training batch, over all processes.
        eval_batch_size: Images of an evaluation batch, in each process.
        max_train: Train on the first images only; None for all.
        max_val: Validate on the first images only; None for all.
        max_test: Test on the first images only; None for all.
        num_workers: Processes that load data.
        donor_split: Where attacks that inject other images find them: `train`, `val` or `test`.
        seed: Of the order of the training images.

    Raises:
        ValueError: If an option is out of its range, or the file is damaged.
    """

    num_classes = 10

    def __init__(
        self,
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

    def read(self, split: Split) -> Images:
        arrays = _read()
        return Images.from_bytes(arrays[f"{split}_images"][:, None], arrays[f"{split}_labels"])
