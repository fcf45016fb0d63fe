"""A user's own module, for the tests of bad input: copied beside the run as `mine.py`."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch.optim.lr_scheduler import LambdaLR

from lit_xai.attacks.base import Attack
from lit_xai.data.base import ImageDataModule
from lit_xai.data.images import Images
from lit_xai.types import Batch


class Raw(Images):
    """Images whose pixels nobody divided by 255."""

    def __getitem__(self, index):
        image, label, sample_id = super().__getitem__(index)
        return Batch(image * 255, label, sample_id)


class Odd(Images):
    """Images of which one is NaN."""

    def __getitem__(self, index):
        image, label, sample_id = super().__getitem__(index)
        return Batch(image / (index != 13), label, sample_id)


class Own(ImageDataModule):
    """Twenty images of each split, with one fault."""

    num_classes = 10

    def __init__(self, fault: str = "none", num_workers: int = 0) -> None:
        super().__init__(
            batch_size=10,
            eval_batch_size=10,
            limits={"train": None, "val": None, "test": None},
            num_workers=num_workers,
            donor_split="train",
            seed=0,
        )
        self.fault = fault
        self.save_hyperparameters(logger=False)

    def read(self, split):
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(1, 256, (20, 1, 28, 28), generator=generator).byte()
        labels = torch.arange(20) % 10
        if self.fault == "label" and split == "val":
            labels[13] = 10
        if self.fault == "class" and split == "train":
            labels[labels == 3] = 4
        if self.fault == "split" and split == "val":
            pixels, labels = pixels[:0], labels[:0]
        return Images(pixels, labels)

    def images(self, split):
        images = super().images(split)
        kind = {"pixels": Raw, "pixel": Odd}.get(self.fault, Images)
        return kind(images.pixels, images.labels)


class Exploding(LambdaLR):
    """A learning rate that is good for one epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        super().__init__(optimizer, lambda epoch: 1.0 if epoch == 0 else 1e30)


@dataclass(frozen=True)
class Waiting(Attack):
    """Wait to be interrupted; a file says when."""

    calls: int = 1
    needs_gradient: ClassVar[bool] = False

    def perturb(self, model, explain, image, target, noise):
        marker = Path("attacking")
        count = int(marker.read_text() or 0) + 1 if marker.exists() else 1
        marker.write_text(str(count))
        if count >= self.calls:
            Path("waiting").write_text(str(os.getpid()))
            time.sleep(60)
        return (image + 0.1).clamp(0, 1)
