"""Whether a network was taught to explain itself wrongly (Heo et al., 2019, arXiv 1902.02041)."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.saliency import Saliency
from lit_xai.gate import evaluating, measuring
from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.fooling_losses import center_displacement, heatmap, location_loss, swap_gain, top_k_loss
from lit_xai.models.reference import Reference
from lit_xai.noise import Noise
from lit_xai.types import AttackResult

Kind = Literal["location", "top_k", "center_mass", "swap"]

_INTERVALS: dict[str, tuple[float, float]] = {
    "location": (0.0, 0.2),
    "top_k": (0.0, 0.3),
    "center_mass": (0.1, 1.0),
    "swap": (0.5, 2.0),
}
_DEFAULT = Saliency(absolute=False)


@dataclass(frozen=True)
class FoolingTest:
    """What counts as fooled.

    Args:
        kind: `location`, `top_k`, `center_mass` or `swap`.
        interval: Losses that count, both ends included; the paper's for the kind if None.
        classes: For `swap`, the two classes that are exchanged; otherwise None.

    Raises:
        ValueError: If an option is out of its range or has no effect.
    """

    kind: Kind
    interval: tuple[float, float] | None = None
    classes: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise ValueError(f"Expected `kind` as {' or '.join(get_args(Kind))}, but got {self.kind}.")
        if self.interval is not None and not self.interval[0] <= self.interval[1]:
            raise ValueError(f"Expected `interval` from low to high, but got {self.interval}.")
        if (self.kind == "swap") != (self.classes is not None):
            raise ValueError(f"Expected `classes` for swap alone, but got {self.classes} for {self.kind}.")
        if self.classes is not None and self.classes[0] == self.classes[1]:
            raise ValueError(f"Expected two `classes`, but got {self.classes}.")

    def loss(self, explain: Explain, maps: Tensor, image: Tensor, target: Tensor) -> Tensor:
        """Return how the maps of a network differ from what it was or should have been, (N,).

        Args:
            explain: The explanation, of the reference network.
            maps: Heatmaps of the classes `target`, (N, H, W), in [0, 1].
            image: Pixels in [0, 1], (N, C, H, W).
            target: Class indices, (N,), int64.
        """
        if self.kind == "location":
            return location_loss(maps)
        own = heatmap(explain(image, target))
        if self.kind == "top_k":
            return top_k_loss(maps, own)
        if self.kind == "center_mass":
            return center_displacement(maps, own)
        assert self.classes is not None
        first, second = self.classes
        other = torch.where(target == first, second, first)
        gain = swap_gain(maps, own, heatmap(explain(image, other)))
        return gain.masked_fill((target != first) & (target != second), float("nan"))

    def passed(self, loss: Tensor) -> Tensor:
        """Return 1 where a loss counts as fooled and 0 where not, (N,), NaN where it is undefined."""
        low, high = self.interval or _INTERVALS[self.kind]
        return ((loss >= low) & (loss <= high)).double().masked_fill(loss.isnan(), float("nan"))


class _FoolingRate(SampleMetric):
    """What the two rates have in common; `FoolingSuccessRate` documents the options."""

    higher_is_better = False

    def __init__(
        self,
        reference: nn.Module,
        kind: Kind = "location",
        interval: tuple[float, float] | None = None,
        *,
        attribution: Attribution = _DEFAULT,
        classes: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        self.reference = reference
        self.test = FoolingTest(kind, interval, classes)
        self.attribution = attribution
        self._copies: dict[tuple[torch.device, torch.dtype], nn.Module] = {}

    @property
    def explanation(self) -> Attribution:
        return self.attribution

    @property
    def settings(self) -> tuple[object, ...]:
        return (self.test,)

    @contextmanager
    def _explaining(self, result: AttackResult, noise: Noise) -> Iterator[Explain]:
        """Put the reference beside the images, and return its explanation under the draws of the attack."""
        with measuring():
            reference = self._beside(result.image)
            # Names of layers are those of the network inside.
            network = reference.network if isinstance(reference, Reference) else reference
            with evaluating(network), torch.no_grad():
                yield self.attribution.bind(network, noise.child("attribution"))

    def _beside(self, image: Tensor) -> nn.Module:
        """Return the reference on the device and in the precision of the images."""
        weight = next(chain(self.reference.parameters(), self.reference.buffers()), image)
        place = (image.device, image.dtype)
        if place == (weight.device, weight.dtype):
            return self.reference
        # The reference may be in use elsewhere, so a copy is what moves.
        if place not in self._copies:
            self._copies[place] = copy.deepcopy(self.reference).to(image)
        return self._copies[place]


class UntouchedFoolingRate(_FoolingRate):
    """Share of samples whose explanation would count as fooled though nobody taught the network.

    The companion of `FoolingSuccessRate`, with its options and errors: the reference's own maps take the
    test.
    """

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        with self._explaining(result, noise) as explain:
            maps = heatmap(explain(result.image, result.target))
            return self.test.passed(self.test.loss(explain, maps, result.image, result.target))


class FoolingSuccessRate(_FoolingRate):
    """Share of samples whose explanation is fooled (Heo et al., 2019, arXiv 1902.02041).

    To be read beside `UntouchedFoolingRate`, the rate of the reference: sparse maps can pass a test that
    nobody taught them. The map is that of the clean image, so `Unattacked` is the attack to read. The loss,
    for maps scaled to [0, 1]:

    - `location`: mean squared distance from a frame of a seventh's width; fooled in [0, 0.2].
    - `top_k`: mean square where the reference's map is in its highest tenth; fooled in [0, 0.3].
    - `center_mass`: distance between the centres of both maps, relative to the side; fooled in [0.1, 1].
    - `swap`: Spearman correlation with the reference's map of the other class minus that with its map of the
      same class; fooled in [0.5, 2].

    The intervals are the authors' thresholds, found by eye. Deviations: maps explain the predicted class,
    the authors' the label, and are as large as the image, where theirs come from an inner layer; `swap`
    leaves out samples predicted as neither of the two classes, as undefined.

    Args:
        reference: The network before it was taught, mapping pixels in [0, 1] to logits.
        kind: `location`, `top_k`, `center_mass` or `swap`.
        interval: Losses that count, both ends included; the above if None.
        attribution: The explanation, the grid's own: the reference's maps are made by it.
        classes: For `swap`, the two classes that are exchanged; otherwise None.

    Raises:
        ValueError: If an option is out of its range or has no effect.
    """

    controls = (UntouchedFoolingRate,)

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        with self._explaining(result, noise) as explain:
            maps = heatmap(result.attribution)
            return self.test.passed(self.test.loss(explain, maps, result.image, result.target))
