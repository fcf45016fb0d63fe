"""What is refused of a data set: found where it is read, not where it hurts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import default_collate

from lit_xai.domain import check_batch
from lit_xai.types import Batch


@dataclass(frozen=True)
class CheckedBatch:
    """Stack samples to a batch, and refuse one that does not keep to its ranges.

    Args:
        num_classes: Number of classes.
        split: Where the samples are from, for the message.
    """

    num_classes: int
    split: str

    def __call__(self, samples: Sequence[Batch]) -> Batch:
        """Return the batch.

        Raises:
            TypeError: If images are not floating, or labels or positions not int64.
            ValueError: If shapes do not fit, a pixel is outside [0, 1] or NaN, or a label is out of range.
        """
        batch = Batch(*default_collate(list(samples)))
        check_batch(batch, self.num_classes, self.split)
        return batch


def check_labels(labels: Tensor, num_classes: int, split: str) -> None:
    """Refuse a split without images, or with a label out of range.

    Args:
        labels: Of the whole split, (N,), int64.
        num_classes: Number of classes.
        split: For the message.

    Raises:
        ValueError: If there is no label, or one outside [0, `num_classes`).
    """
    if not len(labels):
        raise ValueError(f"Expected images in the {split} split, but got none.")
    wrong = ((labels < 0) | (labels >= num_classes)).nonzero()
    if len(wrong):
        position = int(wrong[0])
        raise ValueError(
            f"Expected labels in [0, {num_classes - 1}], but got {int(labels[position])} in sample "
            f"{position} of the {split} split. Count classes from 0."
        )


def check_classes(labels: Tensor, num_classes: int) -> None:
    """Refuse training images of which some class has none.

    Args:
        labels: Of the training split, (N,), int64, in [0, `num_classes`).
        num_classes: Number of classes.

    Raises:
        ValueError: If a class has no image.
    """
    empty = (torch.bincount(labels, minlength=num_classes) == 0).nonzero().flatten().tolist()
    if empty:
        named = ", ".join(map(str, empty[:5])) + (" and others" if len(empty) > 5 else "")
        raise ValueError(
            f"Expected training images of all {num_classes} classes, but got none of class {named}. "
            "Raise `max_train`, or leave the class out."
        )
