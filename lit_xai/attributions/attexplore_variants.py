"""AttEXplore with other attacks: the ablation of its paper (Zhu et al., 2024, ICLR, table 6).

All walk towards the boundary by default, down the class's entry of the softmax of the probabilities, and each
step follows the gradient at its own point. The authors' code never resets the gradient in five of the seven;
`accumulate=True` does as it does. No value is negative but for `AttEXplorePGD`. Options without a line of
their own are those of `Exploration`.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import class_score, in_flight
from lit_xai.attributions.diverse_input import DiverseInput
from lit_xai.attributions.exploration import (
    Exploration,
    Objective,
    StepGradient,
    check_kernel,
    gradient_of,
    score_gradient,
    smoothed,
    squashed,
)
from lit_xai.domain import clamp_pixels
from lit_xai.models.features import activation_at
from lit_xai.noise import Noise


def _fresh(model: nn.Module, target: Tensor, objective: Objective) -> StepGradient:
    return lambda point, *_: score_gradient(model, point, target, objective)


def _resized(
    model: nn.Module, target: Tensor, objective: Objective, diverse: DiverseInput, noise: Noise
) -> StepGradient:
    def gradient(point: Tensor, _: Tensor, step: int) -> Tensor:
        logits = partial(diverse.draw(point, noise.child(step)).logits, model, resize_back=True)
        return score_gradient(logits, point, target, objective)

    return gradient


@dataclass(frozen=True)
class AttEXplorePlain(Exploration):
    """Explain by the steps of a plain sign attack (MFABA; Zhu et al., 2023, arXiv 2312.13630).

    Args:
        accumulate: Follow the sum of all gradients so far, as the authors' code does.
    """

    accumulate: bool = False

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        gradient = _fresh(model, target, self.objective)
        return self.explore(image, image, gradient, accumulate=self.accumulate)


@dataclass(frozen=True)
class AttEXplorePGD(Exploration):
    """Explain by the steps of a sign attack with a random start (Madry et al., 2018, arXiv 1706.06083).

    The first step contains the jump to the start, so values can be negative.

    Args:
        accumulate: Follow the sum of all gradients so far, as the authors' code does.
    """

    accumulate: bool = False

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        gradient = _fresh(model, target, self.objective)
        start = clamp_pixels(image + noise.child("start").uniform(image, -self.eps, self.eps))
        return self.explore(image, start, gradient, accumulate=self.accumulate)


@dataclass(frozen=True)
class AttEXploreMI(Exploration):
    """Explain by the steps of a sign attack with momentum (MI-FGSM; Dong et al., 2018, arXiv 1710.06081).

    Args:
        momentum: Share of the momentum kept from step to step.
        accumulate: Add the sum of all gradients so far to the momentum, as the authors' code does.

    Raises:
        ValueError: If an option is out of its range.
    """

    momentum: float = 1.0
    accumulate: bool = False

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        gradient = _fresh(model, target, self.objective)
        return self.explore(image, image, gradient, momentum=self.momentum, accumulate=self.accumulate)


@dataclass(frozen=True)
class AttEXploreDI(Exploration):
    """Explain by the steps of an attack on resized images (Xie et al., 2019, arXiv 1803.06978).

    The attack is DI-FGSM. Deviation: every image has a resizing of its own, where the code draws one a batch.

    Args:
        momentum: Share of the momentum kept from step to step.
        diversity_probability: Share of the images that is resized and padded at a step.
        diversity_scale: Smallest side of a resized image over the image's. Above 1, see `DiverseInput`;
            padded images are then resized back to the image's size.
        accumulate: Follow the sum of all gradients so far, as the authors' code does.

    Raises:
        ValueError: If an option is out of its range.
    """

    momentum: float = 0.0
    diversity_probability: float = 0.5
    diversity_scale: float = 0.9
    accumulate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        DiverseInput(self.diversity_scale, self.diversity_probability)

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        diverse = DiverseInput(self.diversity_scale, self.diversity_probability)
        gradient = _resized(model, target, self.objective, diverse, noise)
        return self.explore(image, image, gradient, momentum=self.momentum, accumulate=self.accumulate)


@dataclass(frozen=True)
class AttEXploreTI(Exploration):
    """Explain by the steps of an attack with blurred gradients (Dong et al., 2019, arXiv 1904.02884).

    The attack is TI-FGSM. The images are resized as in `AttEXploreDI`, with the same deviation.

    Args:
        momentum: Share of the momentum kept from step to step.
        diversity_probability: As in `AttEXploreDI`.
        diversity_scale: As in `AttEXploreDI`.
        kernel_size: Side of the blur, odd, in pixels; 1 for none.
        kernel_reach: Standard deviations from the middle to the edge of the blur.
        accumulate: Follow the sum of all gradients so far, as the authors' code does.

    Raises:
        ValueError: If an option is out of its range.
    """

    momentum: float = 0.0
    diversity_probability: float = 0.5
    diversity_scale: float = 0.9
    kernel_size: int = 15
    kernel_reach: float = 3.0
    accumulate: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kernel(self.kernel_size, self.kernel_reach)
        DiverseInput(self.diversity_scale, self.diversity_probability)

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        diverse = DiverseInput(self.diversity_scale, self.diversity_probability)
        resized = _resized(model, target, self.objective, diverse, noise)

        def gradient(point: Tensor, followed: Tensor, step: int) -> Tensor:
            return smoothed(resized(point, followed, step), self.kernel_size, self.kernel_reach)

        return self.explore(image, image, gradient, momentum=self.momentum, accumulate=self.accumulate)


@dataclass(frozen=True)
class AttEXploreSINI(Exploration):
    """Explain by the steps of a far-sighted attack on dimmed images (Lin et al., 2020, arXiv 1908.06281).

    The attack is SI-NI-FGSM. Deviation: on its way down, AttEXplore's code looks back; so does
    `look_ahead=-1`.

    Args:
        momentum: Share of the momentum kept from step to step.
        scales: Copies of the image averaged at each step, each half as bright as the one before.
        look_ahead: Where the gradient is taken: this many steps along the momentum itself, not its sign.

    Raises:
        ValueError: If an option is out of its range.
    """

    momentum: float = 1.0
    scales: int = 5
    look_ahead: float = 1.0

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        stride = self.sign * self.look_ahead * self.momentum * self.eps / self.steps

        def gradient(point: Tensor, followed: Tensor, _: int) -> Tensor:
            ahead, total = point + stride * followed, torch.zeros_like(point)
            for copies in in_flight(self.scales, len(point), self.max_batch):
                dimmed = torch.cat([0.5**copy * ahead for copy in copies])
                found = score_gradient(model, dimmed, target.repeat(len(copies)), self.objective)
                parts = zip(copies, found.split(len(point)), strict=True)
                total += sum(0.5**copy * part for copy, part in parts)
            return total / self.scales

        return self.explore(image, image, gradient, momentum=self.momentum)


@dataclass(frozen=True)
class AttEXploreNAA(Exploration):
    """Explain by the steps of an attack on a layer's features (Zhang et al., 2022, arXiv 2204.00008).

    The attack is NAA. Features count by the class's gradient, summed over noisy copies of the image that fade
    to black. The black image's features and the scale of that sum cancel in each step and are left out.
    Deviations: AttEXplore's code negates the weights and descends, literally a walk up the class; this one
    goes down. Its layer is Inception's Mixed_5b, else the last convolution run; here, the last feature map.

    Args:
        momentum: Share of the momentum kept from step to step.
        samples: Copies, of brightness 1, 1 - 1 / samples, ..., 1 / samples.
        sigma: Standard deviation of their noise, in pixel units of [0, 1].
        layer: Name of the layer; if None, that of `activation_at`.

    Raises:
        ValueError: If an option is out of its range, or the network has no such layer.
    """

    momentum: float = 1.0
    samples: int = 30
    sigma: float = 0.2
    layer: str | None = None

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        weight = self._weight(model, image, target, noise)

        def score(leaf: Tensor) -> Tensor:
            return (weight * activation_at(model, leaf, self.layer)[1]).flatten(1).sum(dim=1)

        return self.explore(image, image, lambda at, *_: gradient_of(score, at), momentum=self.momentum)

    def _weight(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        weights = []
        for draws in in_flight(self.samples, len(image), self.max_batch):
            faded = torch.cat([self._faded(image, noise, draw) for draw in draws])
            with torch.enable_grad():
                logits, feature = activation_at(model, faded.requires_grad_(), self.layer)
                score = class_score(squashed(logits, self.objective), target.repeat(len(draws)), "logit")
                (gradient,) = torch.autograd.grad(score.sum(), feature)
            weights.append(gradient.unflatten(0, (len(draws), len(image))).sum(dim=0))
        return torch.stack(weights).sum(dim=0)

    def _faded(self, image: Tensor, noise: Noise, draw: int) -> Tensor:
        return (1 - draw / self.samples) * (image + self.sigma * noise.child(draw).normal(image))
