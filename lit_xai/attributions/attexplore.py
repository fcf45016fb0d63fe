"""Attribution by exploring an image's neighbourhood with a transferable attack."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import in_flight
from lit_xai.attributions.diverse_input import DiverseInput, Resizing
from lit_xai.attributions.exploration import (
    Exploration,
    check_choice,
    check_kernel,
    gradient_of,
    smoothed,
    squashed,
)
from lit_xai.attributions.spectral import reweigh
from lit_xai.noise import Noise

MapGradient = Literal["update", "point"]
Resize = Literal["auto", "always", "never"]


@dataclass(frozen=True)
class AttEXplore(Exploration):
    """Explain by the steps of a transferable attack times its gradients (Zhu et al., 2024, ICLR).

    From the image, repeat: average the gradient over random changes of the image's spectrum, blur it, divide
    it by its mean magnitude, add it to the momentum, step by the momentum's sign, and add the step times the
    momentum. By default no value is negative; a pixel at the end of [0, 1] that cannot move gets zero.

    The defaults are those of the released code with the paper's radius, for a network that returns logits.
    That code differs from the paper: it walks down the loss, draws spectral factors uniformly, takes the
    cross-entropy of a softmax of probabilities, resizes at random and blurs. Deviations from the code: every
    draw has a resizing of its own, a network of fixed input size sees padded images at that size, any height,
    width and channels are allowed, a gradient of zeros adds nothing where the code gives NaN, and the passes
    whose result the code drops are not made.

    Args:
        eps: Radius, in pixel units of [0, 1].
        steps: Steps, each `eps / steps` long.
        direction: Whether the walk should `descend` the cross-entropy or `ascend` it.
        objective: The cross-entropy of the `logit`s, of each `probability` in their place, or of the softmax
            of the probabilities (`double_softmax`).
        max_batch: Images in flight in one forward pass.
        samples: Spectral changes averaged at each step.
        sigma: Standard deviation of the pixel noise before a change, in pixel units of [0, 1].
        rho: Spectral factors are drawn from [1 - rho, 1 + rho].
        momentum: Share of the momentum kept from step to step.
        diversity_probability: Share of the changed images that is resized and padded.
        diversity_scale: Side of a padded image over the side of the image; below 1, see `DiverseInput`.
        resize_back: Whether larger padded images are resized to the image's size: `always`, `never`, or
            `auto`, if the network raises an error for them.
        kernel_size: Side of the blur, odd, in pixels; 1 for none.
        kernel_reach: Standard deviations from the middle to the edge of the blur.
        gradient: What a step is multiplied by: the momentum of the `update`, or the cross-entropy's gradient
            at the `point` that it starts from. The latter can be negative.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 48 / 255
    samples: int = 20
    sigma: float = 16 / 255
    rho: float = 0.5
    momentum: float = 1.0
    diversity_probability: float = 0.5
    diversity_scale: float = 1.15
    resize_back: Resize = "auto"
    kernel_size: int = 7
    kernel_reach: float = 3.0
    gradient: MapGradient = "update"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_kernel(self.kernel_size, self.kernel_reach)
        check_choice(self, "resize_back", Resize)
        check_choice(self, "gradient", MapGradient)
        DiverseInput(self.diversity_scale, self.diversity_probability)

    def walk(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        try:
            return self._walk(model, image, target, noise, resize_back=self.resize_back == "always")
        except torch.OutOfMemoryError:
            raise
        # A network of fixed size says so in its own words. One that fails for another reason fails again.
        except (RuntimeError, ValueError, AssertionError):
            if self.resize_back != "auto":
                raise
            return self._walk(model, image, target, noise, resize_back=True)

    def _walk(
        self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise, *, resize_back: bool
    ) -> tuple[Tensor, Tensor]:
        def averaged(point: Tensor, _: Tensor, step: int) -> Tensor:
            mean = self._mean_gradient(model, point, target, noise.child(step), resize_back=resize_back)
            return smoothed(mean, self.kernel_size, self.kernel_reach)

        def at_point(point: Tensor) -> Tensor:
            return gradient_of(lambda leaf: self._loss(model(leaf), target), point)

        map_gradient = at_point if self.gradient == "point" else None
        return self.explore(image, image, averaged, momentum=self.momentum, map_gradient=map_gradient)

    def _mean_gradient(
        self, model: nn.Module, point: Tensor, target: Tensor, noise: Noise, *, resize_back: bool
    ) -> Tensor:
        total = torch.zeros_like(point)
        for draws in in_flight(self.samples, len(point), self.max_batch):
            own = [noise.child(draw) for draw in draws]
            total += self._summed_gradient(model, point, target, own, resize_back=resize_back)
        return total / self.samples

    def _summed_gradient(
        self, model: nn.Module, point: Tensor, target: Tensor, draws: list[Noise], *, resize_back: bool
    ) -> Tensor:
        diverse = DiverseInput(self.diversity_scale, self.diversity_probability)
        resizing = Resizing.stacked([diverse.draw(point, draw.child("resizing")) for draw in draws])
        changed = torch.cat([self._changed(point, draw) for draw in draws])
        classes = target.repeat(len(draws))

        def loss(image: Tensor) -> Tensor:
            return self._loss(resizing.logits(model, image, resize_back=resize_back), classes)

        found: Tensor = gradient_of(loss, changed).unflatten(0, (len(draws), len(point))).sum(dim=0)
        return found

    def _changed(self, point: Tensor, noise: Noise) -> Tensor:
        noisy = point + self.sigma * noise.child("pixels").normal(point)
        return reweigh(noisy, noise.child("spectrum").uniform(point, 1 - self.rho, 1 + self.rho))

    def _loss(self, logits: Tensor, target: Tensor) -> Tensor:
        return functional.cross_entropy(squashed(logits, self.objective), target, reduction="none")
