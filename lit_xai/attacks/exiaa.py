"""eXIAA: inject what another class is explained by."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.domain import check_share, clamp_pixels
from lit_xai.gate import evaluating, on_network
from lit_xai.metrics.maps import descending_rank
from lit_xai.noise import Noise
from lit_xai.types import Batch, Donors


def important_features(attribution: Tensor, k: float) -> Tensor:
    """Mark the largest positive values, over channels and pixels.

    Args:
        attribution: Signed values, (N, C, H, W).
        k: Share of the positive values, in (0, 1]; at least one is marked where there is any.

    Returns:
        (N, C, H, W), bool.
    """
    positive = attribution > 0
    size = (k * positive.flatten(1).sum(dim=1)).round().clamp_min(1).view(-1, 1, 1, 1)
    return positive & (descending_rank(attribution) < size)


@torch.no_grad()
def rank_donors(model: nn.Module, donors: Donors, size: int) -> dict[int, Tensor]:
    """Return, for each class, its images of the highest probability, each once.

    Args:
        model: Maps pixels in [0, 1] to logits.
        donors: Returns labelled images, batch by batch.
        size: Images to keep of each class.

    Returns:
        Images labelled as the class, best first, (at most `size`, C, H, W), by class.
    """
    images: dict[int, Tensor] = {}
    confidences: dict[int, Tensor] = {}
    with evaluating(model):
        for batch in donors():
            image, label, _ = on_network(model, Batch(*batch))
            confidence = model(image).softmax(dim=1).gather(1, label[:, None]).squeeze(1)
            for class_index in label.unique().tolist():
                own = label == class_index
                pool = torch.cat([images.get(class_index, image[:0]), image[own]])
                values = torch.cat([confidences.get(class_index, confidence[:0]), confidence[own]])
                best = values.argsort(descending=True, stable=True)
                best = best[_first_of_copies(pool[best])][:size]
                images[class_index], confidences[class_index] = pool[best], values[best]
    return images


def _first_of_copies(images: Tensor) -> Tensor:
    _, group = images.flatten(1).unique(dim=0, return_inverse=True)
    same: Tensor = group[:, None] == group
    return ~same.tril(diagonal=-1).any(dim=1)


@dataclass(frozen=True)
class EXIAA(Attack):
    """Blend another image's most important features into the image (Pesce et al., 2025, arXiv 2511.10088).

    One step, without gradients and without a test of acceptance: the donor is the image of the runner-up
    class that the network is surest of; where the donor's own explanation, of that class, is most positive,
    the image becomes (1 - alpha) x + alpha donor, clipped to [0, 1]. Where the paper is silent: images are
    blended as pixels in [0, 1]; donors are images labelled as the runner-up class, from the data module's
    `donor_split`, and never the image itself, nor a copy of it. Samples whose runner-up class has no donor
    are excluded and counted.

    Args:
        alpha: Share of the donor in a chosen feature, in (0, 1].
        k: Share of the donor's positive features that are chosen, in (0, 1].
        rank: Which donor, counted from 0 in the order of confidence.

    Raises:
        ValueError: If an option is out of its range, or the attack is used before `prepare`.
    """

    alpha: float = 0.06
    k: float = 0.2
    rank: int = 0
    needs_gradient: ClassVar[bool] = False
    _ranked: Mapping[int, Tensor] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_share("k", self.k)
        if self.rank < 0:
            raise ValueError(f"Expected `rank` of at least 0, but got {self.rank}.")

    def prepare(self, model: nn.Module, donors: Donors) -> "EXIAA":
        # One donor more than needed, in case one of them is the attacked image itself.
        prepared = copy.copy(self)
        object.__setattr__(prepared, "_ranked", rank_donors(model, donors, self.rank + 2))
        return prepared

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        _, found = self._choose(image, _runner_up(logits))
        return found

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        with torch.no_grad():
            runner_up = _runner_up(model(image))
            donor, found = self._choose(image, runner_up)
            chosen = important_features(explain(donor, runner_up).expand_as(image), self.k)
        blend = (1 - self.alpha) * image + self.alpha * donor
        return clamp_pixels(torch.where(chosen & found.view(-1, 1, 1, 1), blend, image))

    def _choose(self, image: Tensor, runner_up: Tensor) -> tuple[Tensor, Tensor]:
        if self._ranked is None:
            raise ValueError(
                "Expected an EXIAA with donors, but got one that was not prepared. Call `prepare` first."
            )
        donor, found = image.clone(), torch.zeros(len(image), dtype=torch.bool, device=image.device)
        for row, class_index in enumerate(runner_up.tolist()):
            pool = self._ranked.get(class_index, image[:0]).to(image)
            others = pool[(pool != image[row]).flatten(1).any(dim=1)]
            if len(others) > self.rank:
                donor[row], found[row] = others[self.rank], True
        return donor, found


def _runner_up(logits: Tensor) -> Tensor:
    return logits.argsort(dim=1, descending=True, stable=True)[:, 1]
