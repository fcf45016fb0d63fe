"""eXIAA: inject what another class is explained by."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attacks.blending import Blend, PlainBlend
from lit_xai.attacks.donors import DonorPool, Pool
from lit_xai.attributions.base import Explain, check_counts
from lit_xai.domain import check_share, clamp_pixels
from lit_xai.metrics.maps import check_finite, descending_rank
from lit_xai.noise import Noise
from lit_xai.types import Donors

DonorClass = Literal["injected", "predicted"]
Features = Literal["important", "random"]


def injected_class(logits: Tensor, target: Tensor, class_rank: int = 1) -> Tensor:
    """Return a class other than the predicted one, by its place in the order of probability.

    Args:
        logits: Of the clean images, (N, K).
        target: The classes predicted for them, (N,), int64.
        class_rank: 1 for the runner-up, K - 1 for the least probable class; ties go to the lower index.

    Returns:
        Class indices, (N,), int64.

    Raises:
        ValueError: If `class_rank` is not in [1, K - 1].
    """
    count, classes = logits.shape
    if not 1 <= class_rank < classes:
        raise ValueError(f"Expected `class_rank` in [1, {classes - 1}], but got {class_rank}.")
    order = logits.argsort(dim=1, descending=True, stable=True)
    others: Tensor = order[order != target[:, None]].view(count, classes - 1)
    return others[:, class_rank - 1]


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


@dataclass(frozen=True)
class EXIAA(Attack):
    """Blend another image's most important features into the image (Pesce et al., 2025, arXiv 2511.10088).

    One step, without gradients and without a test of acceptance: the donor is the image of the runner-up
    class that the network is surest of; where the donor's own explanation is most positive, the image becomes
    (1 - alpha) x + alpha donor, clipped to [0, 1]. Donors come from the data module's `donor_split` and are
    never the image itself, nor a copy of it. Samples without a donor of their class and rank are excluded and
    counted.

    What the paper leaves open: `k` is a share of the positive values over channels and pixels, rounded, at
    least one; whether donors are labelled or predicted as their class is `pool`, which class their
    explanation explains is `donor_class`. Pixels are blended in [0, 1]: a normalisation is affine, so doing
    it after one is the same but for clipping, and a plain blend of two images needs none. The paper's means
    over three donors, over ranks or over all other classes are one entry of a grid for each `rank` or
    `class_rank`.

    Args:
        alpha: Share of the donor in a chosen feature, in (0, 1].
        k: Share of the donor's positive features that are chosen, in (0, 1].
        rank: Which donor, counted from 0 in the order of the class's probability.
        class_rank: Which class is injected, in the order of the clean image's probabilities: 1 is the
            runner-up, 2 the class after it.
        pool: Whether the donors of a class are the images labelled or those predicted as it.
        donor_class: Whether the donor's explanation explains the injected class or the one predicted for it.
        features: Whether the donor's most important pixels are injected or, as a control, as many at random
            places, drawn for each sample.
        blend: How the chosen features are mixed in.

    Raises:
        ValueError: If an option is out of its range or without effect, the network has too few classes for
            `class_rank`, a donor's map is not finite, or the attack is used before `prepare`.
    """

    alpha: float = 0.06
    k: float = 0.2
    rank: int = 0
    class_rank: int = 1
    pool: Pool = "label"
    donor_class: DonorClass = "injected"
    features: Features = "important"
    blend: Blend = field(default_factory=PlainBlend)
    needs_gradient: ClassVar[bool] = False
    _ranked: Mapping[int, Tensor] | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_share("k", self.k)
        check_counts(self, "rank", least=0)
        check_counts(self, "class_rank")
        conventions = {"pool": Pool, "donor_class": DonorClass, "features": Features}
        for name, allowed in conventions.items():
            if getattr(self, name) not in get_args(allowed):
                expected = " or ".join(get_args(allowed))
                raise ValueError(f"Expected `{name}` as {expected}, but got {getattr(self, name)}.")
        if self.pool == self.donor_class == "predicted":
            raise ValueError(
                "Expected `donor_class` as injected where `pool` is predicted, but got predicted. "
                "Each such donor is predicted as the injected class."
            )

    def prepare(self, model: nn.Module, donors: Donors) -> "EXIAA":
        prepared = copy.copy(self)
        ranked = DonorPool.of(donors).ranked(model, self._candidates, self.pool)
        object.__setattr__(prepared, "_ranked", ranked)
        return prepared

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        _, found = self._choose(image, injected_class(logits, logits.argmax(dim=1), self.class_rank))
        return found

    @torch.no_grad()
    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        injected = injected_class(model(image), target, self.class_rank)
        donor, found = self._choose(image, injected)
        explained = injected if self.donor_class == "injected" else model(donor).argmax(dim=1)
        maps = explain(donor, explained)
        check_finite(maps, what="maps of donors")
        chosen = important_features(maps.expand_as(image), self.k)
        if self.features == "random":
            size = chosen.flatten(1).sum(dim=1).view(-1, 1, 1, 1)
            chosen = descending_rank(noise.child("places").uniform(image)) < size
        return clamp_pixels(self.blend.mix(image, donor, chosen & found.view(-1, 1, 1, 1), self.alpha))

    @property
    def _candidates(self) -> int:
        # One donor more than needed, in case one of them is the attacked image itself.
        return self.rank + 2

    def _choose(self, image: Tensor, injected: Tensor) -> tuple[Tensor, Tensor]:
        if self._ranked is None:
            raise ValueError(
                "Expected an EXIAA with donors, but got one that was not prepared. Call `prepare` first."
            )
        donor, found = image.clone(), torch.zeros(len(image), dtype=torch.bool, device=image.device)
        for row, class_index in enumerate(injected.tolist()):
            candidates = self._ranked.get(class_index, image[:0])[: self._candidates].to(image)
            others = candidates[(candidates != image[row]).flatten(1).any(dim=1)]
            if len(others) > self.rank:
                donor[row], found[row] = others[self.rank], True
        return donor, found
