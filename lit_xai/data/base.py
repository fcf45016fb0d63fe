"""The data module that every data set shares."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler, Sampler, Subset

from lit_xai.data.checks import CheckedBatch, check_classes, check_labels
from lit_xai.data.images import LabelledImages
from lit_xai.data.samplers import evaluation_order, stratified, training_order
from lit_xai.domain import check_batch
from lit_xai.types import Batch

Split = Literal["train", "val", "test"]
_SPLITS: dict[str, tuple[Split, ...]] = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",)}


class ImageDataModule(pl.LightningDataModule, ABC):
    """Batches of pixels in [0, 1] with labels and positions; evaluation never pads.

    Args:
        batch_size: Images of a training batch, over all processes.
        eval_batch_size: Images of an evaluation batch, in each process.
        limits: How many of the first images of each split are used; None for all.
        num_workers: Processes that load data.
        donor_split: Where attacks that inject other images find them: `train`, `val` or `test`.
        seed: Of the order of the training images.

    Raises:
        ValueError: If an option is out of its range.
    """

    num_classes: int

    def __init__(
        self,
        *,
        batch_size: int,
        eval_batch_size: int,
        limits: Mapping[str, int | None],
        num_workers: int,
        donor_split: Split,
        seed: int,
    ) -> None:
        super().__init__()
        for name, size in {"batch_size": batch_size, "eval_batch_size": eval_batch_size}.items():
            if size < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {size}.")
        for split, limit in limits.items():
            if limit is not None and limit < 1:
                raise ValueError(
                    f"Expected `max_{split}` of at least 1, but got {limit}. Leave it out for all images."
                )
        if donor_split not in ("train", "val", "test"):
            raise ValueError(f"Expected `donor_split` as train, val or test, but got {donor_split}.")
        if num_workers < 0:
            raise ValueError(f"Expected `num_workers` of at least 0, but got {num_workers}.")
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.limits = dict(limits)
        self.num_workers = num_workers
        self.donor_split = donor_split
        self.seed = seed
        self._images: dict[Split, LabelledImages] = {}

    @abstractmethod
    def read(self, split: Split) -> LabelledImages:
        """Read a whole split.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged.
        """

    def images(self, split: Split) -> LabelledImages:
        """Return a split, cut to its limit; it is read once.

        Raises:
            FileNotFoundError: If a file is missing.
            ValueError: If a file is damaged, the split is empty, or a label is out of range.
        """
        if split not in self._images:
            images = self.cut(self.read(split), split)
            check_labels(images.labels, self.num_classes, split)
            self._images[split] = images
        return self._images[split]

    def cut(self, images: LabelledImages, split: Split) -> LabelledImages:
        """Return a whole split cut to its limit: by default its first images."""
        return images.first(self.limits[split])

    def split_list(self, splits: Iterable[Split]) -> str | None:
        """Return the files of splits, cut to their limits, as a table; None for data without files.

        Args:
            splits: Those to list, in this order; one that the data do not have is left out.

        Returns:
            CSV with columns split, sample_id, file, class, label.
        """
        del splits
        return None

    def setup(self, stage: str) -> None:
        for split in _SPLITS.get(stage, ()):
            self.images(split)
        if stage == "fit":
            check_classes(self.images("train").labels, self.num_classes)

    def read_ahead(self, stage: str) -> None:
        """Set up a stage, unless files are to be fetched first: it is refused before anything is written."""
        if type(self).prepare_data is ImageDataModule.prepare_data:
            self.setup(stage)

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:  # noqa: ARG002
        trainer, batch = self.trainer, Batch(*batch)
        assert trainer is not None
        split, loader = (
            ("train", trainer.train_dataloader)
            if trainer.training
            else ("test", trainer.test_dataloaders)
            if trainer.testing
            else ("val", trainer.val_dataloaders)
        )
        # A loader that a data set makes for itself has not checked it.
        if not isinstance(getattr(loader, "collate_fn", None), CheckedBatch):
            check_batch(batch, self.num_classes, split)
        return batch

    def train_dataloader(self) -> DataLoader[Batch]:
        world_size, rank = self._processes()
        if self.batch_size % world_size:
            raise ValueError(
                f"Expected `batch_size` as a multiple of {world_size} processes, but got {self.batch_size}."
            )
        images = self.images("train")
        order = training_order(images, world_size, rank, self.seed)
        return self._loader(*self.for_training(images, order), self.batch_size // world_size, "train")

    def for_training(
        self, images: LabelledImages, order: DistributedSampler[Any]
    ) -> tuple[Dataset[Batch], Sampler[Any]]:
        """Return what is trained on, and the places in it in their order; by default the images as they are.

        Args:
            images: The training split.
            order: Positions in it, another order in every epoch.
        """
        return images, order

    def val_dataloader(self) -> DataLoader[Batch]:
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self.evaluation_loader("test")

    def evaluation_loader(
        self, split: Split, max_samples: int | None = None, seed: int = 0, batch_size: int | None = None
    ) -> DataLoader[Batch]:
        """Return this process's share of a split, or of a stratified, seeded subset of it.

        Args:
            split: `train`, `val` or `test`.
            max_samples: Size of the subset; None for all.
            seed: Of the subset.
            batch_size: Images of a batch; `eval_batch_size` if None.
        """
        images: Dataset[Batch] = self.images(split)
        if max_samples is not None:
            images = Subset(images, stratified(self.images(split).labels, max_samples, seed))
        order = evaluation_order(images, *self._processes())
        return self._loader(images, order, batch_size or self.eval_batch_size, split)

    def donors(self) -> Iterable[Batch]:
        """Return all images of the donor split, in their order, in every process."""
        return self._loader(self.images(self.donor_split), None, self.eval_batch_size, self.donor_split)

    def checksum(self, split: Split) -> str:
        """Return the SHA-256 of a split, cut to its limit: of all that decides its pixels and labels."""
        return self.images(split).digest()

    def _processes(self) -> tuple[int, int]:
        if self.trainer:
            return self.trainer.world_size, self.trainer.global_rank
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return torch.distributed.get_world_size(), torch.distributed.get_rank()
        return 1, 0

    def _loader(
        self, images: Dataset[Batch], sampler: Sampler[Any] | None, batch_size: int, split: Split
    ) -> DataLoader[Batch]:
        return DataLoader(
            images,
            batch_size=batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            collate_fn=CheckedBatch(self.num_classes, split),
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
