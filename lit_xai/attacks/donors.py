"""Images that may be injected, ranked by how sure the network is of their class."""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from lit_xai.gate import evaluating, on_network
from lit_xai.types import Batch, Donors

Pool = Literal["label", "predicted"]

_LEAST = 4


@torch.no_grad()
def rank_donors(
    model: nn.Module,
    donors: Donors,
    size: int,
    pool: Pool = "label",
    *,
    shared: bool = False,
) -> dict[int, Tensor]:
    """Return, for each class of the network, its images of the highest probability, each once.

    Args:
        model: Maps pixels in [0, 1] to logits.
        donors: Returns labelled images, batch by batch.
        size: Images to keep of each class.
        pool: Whether the images of a class are those labelled or those predicted as it.
        shared: Whether each of several processes passes only some of the batches through the network. Every
            process must call it then, with the same weights; the ranking is that of one process.

    Returns:
        Images by class, best first, on the CPU, (at most `size`, C, H, W); none for a class that has none.

    Raises:
        ValueError: If there is no image at all.
    """
    images: dict[int, Tensor] = {}
    confidences: dict[int, Tensor] = {}
    classes = 0
    with evaluating(model):
        for batch, judged in _judged(model, donors, pool, shared=shared):
            owner, confidence, classes = judged
            image = batch.image.to(confidence.dtype)
            for class_index in owner.unique().tolist():
                own = owner == class_index
                candidates = torch.cat([images.get(class_index, image[:0]), image[own]])
                values = torch.cat([confidences.get(class_index, confidence[:0]), confidence[own]])
                best = values.argsort(descending=True, stable=True)
                best = best[_first_of_copies(candidates[best])][:size]
                images[class_index], confidences[class_index] = candidates[best], values[best]
    if not classes:
        raise ValueError("Expected images that may be injected, but got none. Name another `donor_split`.")
    return {number: images.get(number, image[:0]) for number in range(classes)}


class _Judged(NamedTuple):
    """Whose donors N images are, (N,), how sure the network is of that, (N,), and how many classes it has."""

    owner: Tensor
    confidence: Tensor
    classes: int


def _judged(model: nn.Module, donors: Donors, pool: Pool, *, shared: bool) -> Iterator[tuple[Batch, _Judged]]:
    size, rank = _processes() if shared else (1, 0)
    if size == 1:
        for batch in donors():
            yield Batch(*batch), _judge(model, Batch(*batch), pool)
        return
    own = {
        number: _judge(model, Batch(*batch), pool)
        for number, batch in enumerate(donors())
        if number % size == rank
    }
    shares: list[dict[int, _Judged]] = [own] * size
    torch.distributed.all_gather_object(shares, own)
    # Images are read twice rather than sent: the probabilities are small.
    for number, batch in enumerate(donors()):
        yield Batch(*batch), shares[number % size][number]


def _judge(model: nn.Module, batch: Batch, pool: Pool) -> _Judged:
    image, label, _ = on_network(model, batch)
    probability = model(image).softmax(dim=1)
    owner = label if pool == "label" else probability.argmax(dim=1)
    confidence = probability.gather(1, owner[:, None]).squeeze(1)
    return _Judged(owner.cpu(), confidence.cpu(), probability.shape[1])


def _processes() -> tuple[int, int]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return 1, 0
    return torch.distributed.get_world_size(), torch.distributed.get_rank()


class DonorPool:
    """Donors that are ranked once for all attacks that are prepared with them.

    Calling it returns the batches, as the donors themselves would. Rankings are kept as long as the pool:
    make a new one when the weights have changed.

    Args:
        donors: Returns labelled images, batch by batch.
        shared: Whether several processes share the ranking, as `rank_donors` says.
    """

    def __init__(self, donors: Donors, *, shared: bool = False) -> None:
        self._donors = donors
        self._shared = shared
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
            ranking = rank_donors(model, self._donors, kept, pool, shared=self._shared)
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
