"""Folders of pictures, one folder for each class, such as ImageNet."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch.utils.data import Dataset, DistributedSampler, Sampler

from lit_xai.data.augmented import EpochOrder
from lit_xai.data.base import ImageDataModule, Split
from lit_xai.data.folders import ClassFolders, find_layout
from lit_xai.data.images import LabelledImages
from lit_xai.data.pictures import CroppedPictures, Pictures
from lit_xai.data.samplers import stratified
from lit_xai.models.preprocessing import (
    Interpolation,
    Preprocessing,
    released_preprocessing,
    resized_for,
)
from lit_xai.types import Batch

_SIZE = 224


@dataclass(eq=False, repr=False)
class ImageFolderData(ImageDataModule):
    """Pictures in a folder for each class, read one by one when they are needed.

    `data_dir` holds folders `train`, `val` and `test` of class folders, or the class folders themselves, of
    which a share validates and a share tests. Without `val`, a share of `train` validates, and without `test`
    either, another one tests; with `train` and `val`, or `val` alone, `val` serves as `test`, with a warning.
    Without `train` one can only evaluate. Which files a share takes follows from `split_seed` and their names
    within the folder of the classes: it is the same on every machine, and adding a file moves no other but in
    classes so small that a split would have none (see `cut_class`).

    Classes are the folders' names, sorted; those of `train` where there is one. Every file that ends as a
    picture in a class folder, or in a folder inside it, belongs to the class; hidden ones do not. Pictures
    are converted to RGB as torchvision's `ImageFolder` does it (`read_rgb`). A damaged one stops the run when
    it is read, and is named. `sample_id` counts within the split, in the order of classes and names.

    Args:
        data_dir: The directory.
        size: Height and width of the images, in pixels; those of `network`, or 224, if None.
        resize: Length of the shorter side before the square in the centre is cut out, in pixels; that of
            `network`, or `size` / 0.875, if None. Of both sides where `network` is one for which pictures are
            squashed to a square.
        interpolation: Of the resizing; that of `network`, or `bilinear`, if None.
        network: `timm/NAME` or `torchvision/NAME`: what the options above leave open is what this network's
            released weights expect. Nothing is downloaded.
        classes: File with the name of a class folder on each line, in the order of the labels, for labels of
            a larger set than the folders there; the sorted folders if None.
        augment: Train on random parts of the pictures, half of them mirrored (`CroppedPictures`). The draws
            follow from `seed`, epoch and sample.
        val_share: Share of the files that validates where there is no folder `val`.
        test_share: Share of the files that tests where there is neither a folder `val` nor `test`.
        split_seed: Of these shares, and of the subsets below.
        batch_size: Images of a training batch, over all processes.
        eval_batch_size: Images of an evaluation batch, in each process.
        max_train: Train on a stratified subset of this size; None for all. `donor_split` says
            what that does to donors.
        max_val: Validate on a stratified subset of this size; None for all.
        max_test: Test on a stratified subset of this size; None for all.
        num_workers: Processes that read pictures.
        donor_split: Where attacks that inject other images find them: `train`, `val` or `test`, cut to its
            `max_train`, `max_val` or `max_test`. Nothing is read of it where no attack or explanation of an
            evaluation needs it.
        seed: Of the order of the training images and of their augmentation.

    Raises:
        FileNotFoundError: If a folder or file is missing, when the data is set up.
        ValueError: If an option is out of its range, or the folders do not fit together.
    """

    data_dir: Path
    size: int | None = None
    resize: int | None = None
    interpolation: Interpolation | None = None
    network: str | None = None
    classes: Path | None = None
    augment: bool = False
    val_share: float = 0.1
    test_share: float = 0.1
    split_seed: int = 0
    batch_size: int = 32
    eval_batch_size: int = 64
    max_train: int | None = None
    max_val: int | None = None
    max_test: int | None = None
    num_workers: int = 2
    donor_split: Split = "train"
    seed: int = 0

    def __post_init__(self) -> None:
        # From Python, a text will do.
        self.data_dir = Path(self.data_dir)
        self.classes = None if self.classes is None else Path(self.classes)
        super().__init__(
            batch_size=self.batch_size,
            eval_batch_size=self.eval_batch_size,
            limits={"train": self.max_train, "val": self.max_val, "test": self.max_test},
            num_workers=self.num_workers,
            donor_split=self.donor_split,
            seed=self.seed,
        )
        for name, share in {"val_share": self.val_share, "test_share": self.test_share}.items():
            if not 0 < share < 1:
                raise ValueError(f"Expected `{name}` in (0, 1), but got {share:g}.")
        if self.val_share + self.test_share >= 1:
            raise ValueError(
                "Expected `val_share` and `test_share` to leave images to train on, but got "
                f"{self.val_share:g} and {self.test_share:g}."
            )
        self.preprocessing = self._preprocessing()
        self.save_hyperparameters(logger=False)

    def _preprocessing(self) -> Preprocessing:
        released = released_preprocessing(self.network) if self.network is not None else None
        share = released.size / released.resize if released is not None else 0.875
        size = self.size if self.size is not None else released.size if released is not None else _SIZE
        default = (
            released.resize if released is not None and size == released.size else resized_for(size, share)
        )
        interpolation = released.interpolation if released is not None else "bilinear"
        return Preprocessing(
            size,
            default if self.resize is None else self.resize,
            interpolation if self.interpolation is None else self.interpolation,
            released is not None and released.squash,
        )

    @cached_property
    def num_classes(self) -> int:  # type: ignore[override]
        """Number of classes.

        Raises:
            FileNotFoundError: If there is no such directory, or file of classes.
            ValueError: If there are fewer than two classes, or the folders do not fit together.
        """
        return len(self.class_names)

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their labels."""
        return self._folders.names

    @cached_property
    def _folders(self) -> ClassFolders:
        shares: dict[Split, float] = {"val": self.val_share, "test": self.test_share}
        return ClassFolders(find_layout(self.data_dir), shares, self.split_seed, self.classes)

    def read(self, split: Split) -> LabelledImages:
        if (serving := self._folders.served(split)) != split:
            rank_zero_warn(
                f"Expected a folder {split} in {self.data_dir}, but got none: {serving} serves as {split}."
            )
        return self._pictures(split)

    def _pictures(self, split: Split) -> LabelledImages:
        paths, labels = [], []
        for path, label in self._folders.samples(split):
            paths.append(str(path))
            labels.append(label)
        return Pictures(paths, torch.tensor(labels, dtype=torch.long), self.preprocessing)

    def cut(self, images: LabelledImages, split: Split) -> LabelledImages:
        limit = self.limits[split]
        if limit is None or not len(images):
            return images
        return images.select(stratified(images.labels, limit, self.split_seed))

    def split_list(self, splits: Iterable[Split]) -> str | None:
        rows = [("split", "sample_id", "file", "class", "label")]
        for split in (split for split in splits if split in self._folders.layout.splits):
            # Without a check or a warning: a split that is only listed need not be fit for use.
            images = self._images.get(split) or self.cut(self._pictures(split), split)
            assert isinstance(images, Pictures)
            for position, (path, label) in enumerate(zip(images.paths, images.labels.tolist(), strict=True)):
                file = Path(path).relative_to(self.data_dir).as_posix()
                rows.append((split, str(position), file, self.class_names[label], str(label)))
        table = io.StringIO(newline="")
        csv.writer(table, lineterminator="\n").writerows(rows)
        return table.getvalue()

    def for_training(
        self, images: LabelledImages, order: DistributedSampler[Any]
    ) -> tuple[Dataset[Batch], Sampler[Any]]:
        if not self.augment:
            return images, order
        assert isinstance(images, Pictures)
        return CroppedPictures(images, self.seed), EpochOrder(order)
