"""Training images that are changed anew in every epoch."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset, DistributedSampler

from lit_xai.data.images import LabelledImages
from lit_xai.noise import Noise
from lit_xai.types import Batch


def crop_and_flip(image: Tensor, noise: Noise, margin: int) -> Tensor:
    """Return a random crop of an image with a black margin, mirrored half of the time.

    Args:
        image: Pixels in [0, 1], (C, H, W).
        noise: Of this one sample.
        margin: Width of the margin, in pixels, on each side.

    Returns:
        Pixels in [0, 1], (C, H, W).
    """
    height, width = image.shape[1:]
    top, left = noise.child("crop").integers(2 * margin + 1, (2,))[0].tolist()
    padded = functional.pad(image, (margin,) * 4)
    cropped = padded[:, top : top + height, left : left + width]
    return cropped.flip(2) if noise.child("flip").integers(2).item() else cropped


@dataclass(frozen=True, eq=False)
class Augmented(Dataset[Batch]):
    """Images cropped and mirrored at random (He et al., 2016, arXiv 1512.03385, section 4.2).

    The draws belong to (seed, epoch, sample): worker processes, order and number of processes do not matter.

    Args:
        images: The images as they are.
        seed: Of the draws.
        margin: Black pixels on each side before the crop.
    """

    images: LabelledImages
    seed: int
    margin: int = 4

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, place: tuple[int, int]) -> Batch:
        """Return a sample as it is in an epoch; place: (epoch, position)."""
        epoch, index = place
        noise = Noise(self.seed, torch.tensor([index])).child("augmentation").child(epoch)
        image, label, sample_id = self.images[index]
        return Batch(crop_and_flip(image, noise, self.margin), label, sample_id)


class EpochOrder(DistributedSampler[Any]):
    """An order of samples with the epoch beside each: worker processes learn it no other way.

    Lightning shares any sampler out a second time but one of this base class.

    Args:
        order: Positions, another order in every epoch.
    """

    def __init__(self, order: DistributedSampler[Any]) -> None:
        super().__init__(
            order.dataset,
            order.num_replicas,
            order.rank,
            shuffle=order.shuffle,
            seed=order.seed,
            drop_last=order.drop_last,
        )

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        return ((epoch, index) for index in super().__iter__())
