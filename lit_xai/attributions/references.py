"""Reference images, drawn by lot from the donors."""

import copy
from typing import Self

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.gate import measuring, on_network
from lit_xai.noise import Noise
from lit_xai.types import Batch, Donors


def draw_references(model: nn.Module, donors: Donors, count: int, seed: int) -> Tensor:
    """Return the donors that hold the lowest lots.

    A lot belongs to an image's position in its data set, so the choice is the same for any order, batch size
    and number of processes, and mixes the classes of sorted data. One pass; at most `count` images and one
    batch are held.

    Args:
        model: A network, for its device and precision; it is not run.
        donors: Returns the images to choose from, batch by batch, the same in every process.
        count: Images to choose; all of them if there are fewer.
        seed: Of the lots.

    Returns:
        Pixels in [0, 1], by rising lot, (at most `count`, C, H, W), on the network's device.

    Raises:
        ValueError: If there are no donors.
    """
    images: Tensor | None = None
    lots: Tensor | None = None
    with measuring(), torch.no_grad():
        for batch in donors():
            image, _, sample_id = on_network(model, Batch(*batch))
            lot = Noise(seed, sample_id).child("reference").uniform(sample_id.double())
            pool = image if images is None else torch.cat([images, image])
            drawn = lot if lots is None else torch.cat([lots, lot])
            lowest = drawn.argsort()[:count]
            images, lots = pool[lowest], drawn[lowest]
    if images is None or not len(images):
        raise ValueError("Expected donors to draw references from, but got none.")
    return images


def check_references(references: Tensor | None, image: Tensor, method: str) -> Tensor:
    """Return references in the images' precision and on their device.

    Args:
        references: What `draw_references` returned, (R, C, H, W), or None if it was not called.
        image: Images to explain, (N, C, H, W).
        method: Name of the method that needs the references, for the message.

    Returns:
        (R, C, H, W).

    Raises:
        ValueError: If there are no references, or their shape is not the images'.
    """
    if references is None:
        raise ValueError(
            f"Expected {method} with references, but got one that was not prepared. Call `prepare` first."
        )
    if references.shape[1:] != image.shape[1:]:
        raise ValueError(
            f"Expected references of the images' shape {tuple(image.shape[1:])}, but got "
            f"{tuple(references.shape[1:])}. Prepare {method} with donors of that shape."
        )
    return references.to(image)


class Referring(Attribution):
    """An explanation method that refers to images of the donors, chosen once by lot.

    Attributes:
        references: Images to choose.
        seed: Of the choice.
    """

    references: int
    seed: int
    # Without a place among the settings: two methods that differ here only are equal.
    _references: Tensor | None = None

    def prepare(self, model: nn.Module, donors: Donors) -> Self:
        prepared = copy.copy(self)
        references = draw_references(model, donors, self.references, self.seed)
        object.__setattr__(prepared, "_references", references)
        return prepared

    def referred(self, image: Tensor) -> Tensor:
        """Return the references of images (N, C, H, W): see `check_references`."""
        return check_references(self._references, image, type(self).__name__)
