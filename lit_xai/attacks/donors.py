"""Images that may be injected, ranked by how sure the network is of their class."""

import math
import warnings
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn

from lit_xai.gate import evaluating, on_network
from lit_xai.types import Batch, Donors

Pool = Literal["label", "predicted"]

_LEAST = 4


@torch.no_grad()
def rank_donors(model: nn.Module, donors: Donors, size: int, pool: Pool = "label") -> dict[int, Tensor]:
    """Return, for each class of the network, its images of the highest probability, each once.

    Args:
        model: Maps pixels in [0, 1] to logits.
        donors: Returns labelled images, batch by batch.
        size: Images to keep of each class.
        pool: Whether the images of a class are those labelled or those predicted as it.

    Returns:
        Images by class, best first, on the CPU, (at most `size`, C, H, W); none for a class that has none.

    Raises:
        ValueError: If there is no image at all.
    """
    images: dict[int, Tensor] = {}
    confidences: dict[int, Tensor] = {}
    probability = None
    with evaluating(model):
        for batch in donors():
            image, label, _ = on_network(model, Batch(*batch))
            probability = model(image).softmax(dim=1)
            owner = label if pool == "label" else probability.argmax(dim=1)
            confidence = probability.gather(1, owner[:, None]).squeeze(1).cpu()
            image, owner = image.cpu(), owner.cpu()
            for class_index in owner.unique().tolist():
                own = owner == class_index
                candidates = torch.cat([images.get(class_index, image[:0]), image[own]])
                values = torch.cat([confidences.get(class_index, confidence[:0]), confidence[own]])
                best = values.argsort(descending=True, stable=True)
                best = best[_first_of_copies(candidates[best])][:size]
                images[class_index], confidences[class_index] = candidates[best], values[best]
    if probability is None:
        raise ValueError("Expected images that may be injected, but got none. Name another `donor_split`.")
    return {number: images.get(number, image[:0]) for number in range(probability.shape[1])}


class DonorPool:
    """Donors that are ranked once for all attacks that are prepared with them.

    Calling it returns the batches, as the donors themselves would. Rankings are kept as long as the pool:
    make a new one when the weights have changed.

    Args:
        donors: Returns labelled images, batch by batch.
    """

    def __init__(self, donors: Donors) -> None:
        self._donors = donors
        self._rankings: dict[tuple[nn.Module, Pool], tuple[int, dict[int, Tensor]]] = {}

    @staticmethod
    def of(donors: Donors) -> "DonorPool":
        """Return the pool of these donors: they themselves, if they are one."""
        return donors if isinstance(donors, DonorPool) else DonorPool(donors)

    def __call__(self) -> Iterable[Batch]:
        return self._donors()

    def ranked(self, model: nn.Module, size: int, pool: Pool = "label") -> Mapping[int, Tensor]:
        """Return the images of `rank_donors`, from a ranking that is there already or is made now.

        Rankings hold 4, 8, 16, ... images of each class, on the CPU, so that many ranks cost few passes over
        the images: a thousand classes of 3 x 224 x 224 pixels take 2.4 GB for the first three ranks. Classes
        without donors are warned of, once.

        Args:
            model: Maps pixels in [0, 1] to logits.
            size: Images wanted of each class.
            pool: Whether the images of a class are those labelled or those predicted as it.

        Returns:
            Images by class, best first, (at least `size` if there are so many, C, H, W).

        Raises:
            ValueError: If there is no image at all.
        """
        kept, ranking = self._rankings.get((model, pool), (0, {}))
        if kept < size:
            first = not kept
            kept = 2 ** math.ceil(math.log2(max(size, _LEAST)))
            ranking = rank_donors(model, self._donors, kept, pool)
            self._rankings[model, pool] = kept, ranking
            if first:
                _warn_of_missing(ranking)
        return ranking


def _first_of_copies(images: Tensor) -> Tensor:
    _, group = images.flatten(1).unique(dim=0, return_inverse=True)
    same: Tensor = group[:, None] == group
    return ~same.tril(diagonal=-1).any(dim=1)


def _warn_of_missing(ranking: Mapping[int, Tensor]) -> None:
    missing = sum(not len(images) for images in ranking.values())
    if missing:
        warnings.warn(
            f"Expected donors of each class, but got none for {missing} of {len(ranking)} classes. "
            "Samples that need one stay as they are; an evaluation excludes and counts them.",
            UserWarning,
            stacklevel=4,
        )
