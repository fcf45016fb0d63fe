"""Walks around an image and the explanation they give, shared by AttEXplore and its variants."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import (
    Attribution,
    check_counts,
    class_score,
    in_flight,
    leaf_of,
    warn_of_zeros,
)
from lit_xai.domain import check_eps, project_linf
from lit_xai.gate import measuring
from lit_xai.noise import Noise

Direction = Literal["descend", "ascend"]
Objective = Literal["double_softmax", "probability", "logit"]
StepGradient = Callable[[Tensor, Tensor, int], Tensor]

_LEAST = {"steps": 1, "max_batch": 1, "samples": 1, "scales": 1, "sigma": 0, "rho": 0, "momentum": 0}
_SOFTMAXES = {"logit": 0, "probability": 1, "double_softmax": 2}


@dataclass(frozen=True)
class Exploration(Attribution):
    """An explanation by the steps of a walk times what they follow.

    Args:
        eps: Radius, in pixel units of [0, 1].
        steps: Steps, each `eps / steps` long.
        direction: Whether the walk should `descend` the objective or `ascend` it.
        objective: What stands for the classes: their `logit`s, each `probability`, or the softmax of the
            probabilities (`double_softmax`).
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 16 / 255
    steps: int = 10
    direction: Direction = "descend"
    objective: Objective = "double_softmax"
    max_batch: int = 512
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_eps(self.eps)
        for name, least in _LEAST.items():
            if name in vars(self):
                check_counts(self, name, least=least)
        check_choice(self, "direction", Direction)
        check_choice(self, "objective", Objective)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        with measuring(), torch.no_grad():
            maps, still = torch.zeros_like(image), torch.zeros_like(target, dtype=torch.bool)
            for rows in in_flight(len(image), 1, self.max_batch):
                part = slice(rows.start, rows.stop)
                own = Noise(noise.seed, noise.sample_id[part].clone())
                pixels, classes = image[part].detach().clone(), target[part].clone()
                maps[part], still[part] = self.walk(model, pixels, classes, own)
            warn_of_zeros(~still, "a gradient at every step", "Such a gradient adds nothing.")
            return maps

    @property
    def sign(self) -> int:
        """Which way the walk goes: -1 is down."""
        return -1 if self.direction == "descend" else 1

    @abstractmethod
    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Return what `explore` does, for 1 to `max_batch` images and without grad mode."""

    def explore(
        self,
        image: Tensor,
        start: Tensor,
        step_gradient: StepGradient,
        *,
        momentum: float | None = None,
        accumulate: bool = False,
        map_gradient: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Walk along the sign of a gradient and add up each step times what it follows.

        Args:
            image: Centre of the ball, pixels in [0, 1], (N, C, H, W).
            start: First point, pixels in [0, 1], (N, C, H, W). The first step is counted from `image`.
            step_gradient: Takes the point, what the last step followed (zero at first) and the step's number.
            momentum: Each step follows this share of what the last one followed, plus the gradient over its
                mean magnitude; if None, the gradient itself.
            accumulate: Whether the sum of all gradients so far stands for the gradient.
            map_gradient: Takes a step's start, returns what the step is multiplied by in the map; if None,
                what it follows.

        Returns:
            The map, (N, C, H, W), and which images met a gradient of zeros, (N,), bool.
        """
        point, before = start, image
        total = followed = attribution = torch.zeros_like(image)
        still = torch.zeros(len(image), dtype=torch.bool, device=image.device)
        for step in range(self.steps):
            found = step_gradient(point, followed, step)
            total = total + found if accumulate else found
            size = total.abs().mean(dim=(1, 2, 3), keepdim=True)
            none = size == 0
            still |= none.flatten()
            unit = total / size.masked_fill(none, 1.0)
            followed = total if momentum is None else momentum * followed + unit
            moved = project_linf(point + self.sign * self.eps / self.steps * followed.sign(), image, self.eps)
            multiplier = followed if map_gradient is None else map_gradient(point)
            attribution = attribution + self.sign * (moved - before) * multiplier
            point = before = moved
        return attribution, still


def gradient_of(score: Callable[[Tensor], Tensor], image: Tensor) -> Tensor:
    """Return the gradient of each image's score, (N, C, H, W), for a function that returns (N,)."""
    with torch.enable_grad():
        leaf = leaf_of(image, keep_graph=False)
        (gradient,) = torch.autograd.grad(score(leaf).sum(), leaf)
    return gradient


def score_gradient(
    logits: Callable[[Tensor], Tensor], image: Tensor, target: Tensor, objective: Objective
) -> Tensor:
    """Return the gradient of the class's entry of the objective with respect to each pixel, (N, C, H, W)."""
    return gradient_of(lambda leaf: class_score(squashed(logits(leaf), objective), target, "logit"), image)


def squashed(logits: Tensor, objective: Objective) -> Tensor:
    """Return logits, their softmax, or the softmax of their softmax, (N, K)."""
    for _ in range(_SOFTMAXES[objective]):
        logits = logits.softmax(dim=1)
    return logits


def smoothed(gradient: Tensor, kernel_size: int, kernel_reach: float) -> Tensor:
    """Blur each channel by a Gaussian (Dong et al., 2019, arXiv 1904.02884).

    Args:
        gradient: (N, C, H, W); it counts as zero outside.
        kernel_size: Side of the kernel, odd, in pixels; 1 leaves the gradient as it is.
        kernel_reach: Standard deviations from the middle to the kernel's edge.

    Returns:
        (N, C, H, W).
    """
    if kernel_size == 1:
        return gradient
    place = torch.linspace(-kernel_reach, kernel_reach, kernel_size, dtype=torch.float64)
    line = torch.exp(-place.square() / 2)
    kernel = torch.outer(line, line / line.sum().square()).to(gradient)
    blurred = functional.conv2d(gradient.flatten(0, 1)[:, None], kernel[None, None], padding=kernel_size // 2)
    return blurred.view_as(gradient)


def check_choice(method: object, name: str, choices: Any) -> None:
    """Refuse an option that is not one of a literal type's values.

    Raises:
        ValueError: If it is not.
    """
    known = get_args(choices)
    if getattr(method, name) not in known:
        listed = f"{', '.join(known[:-1])} or {known[-1]}"
        raise ValueError(f"Expected `{name}` as {listed}, but got {getattr(method, name)}.")


def check_kernel(kernel_size: int, kernel_reach: float) -> None:
    """Refuse a blur without a middle or without a width.

    Raises:
        ValueError: If the size is not odd and above 0, or the reach not above 0.
    """
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"Expected `kernel_size` as an odd number above 0, but got {kernel_size}.")
    if not kernel_reach > 0:
        raise ValueError(f"Expected `kernel_reach` above 0, but got {kernel_reach:g}.")
