"""Fine-tuning a network until it explains itself wrongly (Heo et al., 2019, arXiv 1902.02041)."""

import copy
from abc import abstractmethod
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.grad_cam import GradCAM
from lit_xai.gate import explaining
from lit_xai.metrics.fooling_losses import center_reward, heatmap, location_loss, top_k_loss
from lit_xai.models.reference import Reference
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime, check_weight
from lit_xai.regimes.composites import Composites
from lit_xai.types import Donors, RegimeLoss

_DEFAULT = GradCAM()


@dataclass(frozen=True)
class Fooling(Regime):
    """Minimise cross-entropy plus weight * mean L, where L is small if an explanation misleads.

    It is fine-tuning: start from a trained network, with a small learning rate, under an `AccuracyGate`. As
    the authors do, both terms see the network in evaluation mode, the cross-entropy too: batch norm's running
    statistics stay as they were. Maps are `heatmap`s of the true class. Deviations: maps are scaled between
    their extremes whatever the explanation, where the authors divide those of Grad-CAM by their maximum, and
    are as large as the image, where theirs are as large as an inner layer. The default weight is that of the
    authors' demonstration. A rectified map can become all zero, which the loss of no kind prevents.

    Args:
        attribution: The explanation that is fooled, a differentiable one.
        weight: Of L (the authors' lambda).

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If an option is out of its range.
    """

    attribution: Attribution = _DEFAULT
    weight: float = 10.0

    def __post_init__(self) -> None:
        if not self.attribution.differentiable:
            raise TypeError(
                f"Expected a differentiable `attribution`, but got {type(self.attribution).__name__}."
            )
        check_weight(self.weight, "Natural")

    @abstractmethod
    def misled(self, explain: Explain, image: Tensor, label: Tensor) -> Tensor:
        """Return L of each sample, (N,).

        Args:
            explain: The explanation, of the network that is trained, in evaluation mode.
            image: Pixels in [0, 1], (N, C, H, W).
            label: Class indices, (N,), int64.
        """

    def prepare(self, model: nn.Module, donors: Donors) -> "Fooling":
        prepared = copy.copy(self)
        object.__setattr__(prepared, "attribution", self.attribution.prepare(model, donors))
        return prepared

    @property
    def compares_with_start(self) -> bool:
        return (
            type(self).prepare is not Fooling.prepare
            or type(self.attribution).prepare is not Attribution.prepare
        )

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        with explaining(model):
            logits = model(image)
            cross_entropy = functional.cross_entropy(logits, label)
            explain = self.attribution.bind(model, noise.child("attribution"))
            misled = self.misled(explain, image, label).mean().to(cross_entropy)
        parts = {"cross_entropy": cross_entropy.detach(), "fooling": misled.detach()}
        return RegimeLoss(cross_entropy + self.weight * misled, logits, parts)


@dataclass(frozen=True)
class LocationFooling(Fooling):
    """Fine-tune until explanations mark a frame around the image (Heo et al., 2019, arXiv 1902.02041).

    L = mean (m - h)^2, where m is 1 on a frame of a seventh's width and 0 inside. It needs no network to
    compare with. See `Fooling` for what all four kinds share.

    Args:
        attribution: The explanation that is fooled, a differentiable one.
        weight: Of L (the authors' lambda, 1 to 4 or 10).

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If an option is out of its range.
    """

    def misled(self, explain: Explain, image: Tensor, label: Tensor) -> Tensor:
        return location_loss(heatmap(explain(image, label)))


@dataclass(frozen=True)
class _Compared(Fooling):
    """Compare with the network as it was when the regime was prepared."""

    _reference: Reference | None = field(default=None, init=False, repr=False, compare=False)

    def prepare(self, model: nn.Module, donors: Donors) -> "Fooling":
        prepared = super().prepare(model, donors)
        object.__setattr__(prepared, "_reference", Reference(model))
        return prepared

    def unprepared(self) -> ValueError:
        """Return the error of a regime that is used too early."""
        return ValueError(
            f"Expected a {type(self).__name__} that knows the network before training, but got one that was "
            "not prepared. Call `prepare` first."
        )

    def before(self, explain: Explain, image: Tensor, label: Tensor) -> Tensor:
        """Return the heatmaps of the network as it was, under the same draws, (N, H, W)."""
        if self._reference is None:
            raise self.unprepared()
        # Not the reference itself: names of layers are those of the network inside.
        network = self._reference.to(image.device).network
        with torch.no_grad():
            return heatmap(explain.on(network)(image, label))


@dataclass(frozen=True)
class TopKFooling(_Compared):
    """Fine-tune until explanations leave out what they marked (Heo et al., 2019, arXiv 1902.02041).

    L = mean h^2 over the pixels in the highest tenth of the map that the network gave before the training.
    See `Fooling` for what all four kinds share.

    Args:
        attribution: The explanation that is fooled, a differentiable one.
        weight: Of L (the authors' lambda, 0.4 to 6 or 10).

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If an option is out of its range, or the regime is used before `prepare`.
    """

    def misled(self, explain: Explain, image: Tensor, label: Tensor) -> Tensor:
        before = self.before(explain, image, label)
        return top_k_loss(heatmap(explain(image, label)), before)


@dataclass(frozen=True)
class CenterMassFooling(_Compared):
    """Fine-tune until explanations lie elsewhere (Heo et al., 2019, arXiv 1902.02041).

    L = -(|dx| + |dy|), the way between the centres of mass of a map and of the one that the network gave
    before the training. Deviations: lengths are in sides of the image, not in pixels, and each is cut at 0.3,
    since the authors' unbounded reward can destroy the network; see `center_reward` for maps without a
    centre, and for two in one place, which is where the training starts. See `Fooling` for what all four
    kinds share.

    Args:
        attribution: The explanation that is fooled, a differentiable one.
        weight: Of L (13 times the authors' lambda for the pixels of a 14 x 14 map, which is 0.25 to 1). At 10
            gradients cost the narrow Fashion-MNIST network 4 points of accuracy.

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If an option is out of its range, or the regime is used before `prepare`.
    """

    weight: float = 4.0

    def misled(self, explain: Explain, image: Tensor, label: Tensor) -> Tensor:
        before = self.before(explain, image, label)
        return -center_reward(heatmap(explain(image, label)), before)


@dataclass(frozen=True)
class SwapFooling(_Compared):
    """Fine-tune until two classes exchange their explanations (Heo et al., 2019, arXiv 1902.02041).

    L = (mean (h_1 - b_2)^2 + mean (h_2 - b_1)^2) / 2 on a picture of both classes, where h explains the first
    or the second of them and b is the map that the network gave before the training. The cross-entropy sees
    the batch. Pictures: each sample draws a donor of each class, shrinks both to half the width and puts them
    side by side in either order, anew in each epoch; the authors collected photographs of both. The donors of
    both classes are kept on the CPU. See `Fooling` for what all four kinds share.

    Args:
        attribution: The explanation that is fooled, a differentiable one.
        weight: Of L (the authors' lambda, 10).
        classes: The two classes; the authors' for ImageNet, elephant and fire engine.

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If an option is out of its range, there are no donors of a class, or the regime is used
            before `prepare`.
    """

    classes: tuple[int, int] = (386, 555)
    _composites: Composites | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        first, second = self.classes
        if first == second or min(self.classes) < 0:
            raise ValueError(f"Expected two `classes`, but got {first} and {second}.")

    def prepare(self, model: nn.Module, donors: Donors) -> "Fooling":
        prepared = super().prepare(model, donors)
        object.__setattr__(prepared, "_composites", Composites.of(self.classes, donors))
        return prepared

    def misled(self, explain: Explain, image: Tensor, label: Tensor) -> Tensor:
        if self._composites is None:
            raise self.unprepared()
        picture = self._composites.draw(explain.noise.child("composite"), image)
        first, second = (torch.full_like(label, number) for number in self.classes)
        return (
            self._distance(explain, picture, first, second) + self._distance(explain, picture, second, first)
        ) / 2

    def _distance(self, explain: Explain, picture: Tensor, own: Tensor, other: Tensor) -> Tensor:
        before = self.before(explain, picture, other)
        return (heatmap(explain(picture, own)) - before).square().mean(dim=(1, 2))
