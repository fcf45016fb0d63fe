"""The one projected ascent loop, shared by attacks on predictions and on explanations."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lit_xai.domain import project_linf

Objective = Callable[[Tensor], Tensor]
Direction = Callable[[Tensor, int], Tensor]


def gradient_sign(objective: Objective) -> Direction:
    """Return the direction of steepest ascent under the L-infinity norm.

    Args:
        objective: Takes images (N, C, H, W), returns a score for each, (N,), differentiable in its own image
            only.

    Returns:
        A direction for `ascend`: the sign of the objective's gradient. Parameters' gradients are never
        touched.
    """

    def direction(image: Tensor, step: int) -> Tensor:  # noqa: ARG001
        if not len(image):
            return image
        with torch.enable_grad():
            point = image.detach().clone().requires_grad_()
            (gradient,) = torch.autograd.grad(objective(point).sum(), point)
        return gradient.sign()

    return direction


def ascend(
    image: Tensor, start: Tensor, direction: Direction, eps: float, step_size: float, steps: int
) -> Iterator[Tensor]:
    """Yield the iterates of projected ascent in an L-infinity ball, without the start.

    Args:
        image: Centre of the ball, pixels in [0, 1], (N, C, H, W).
        start: First point, (N, C, H, W). It is projected with the first step, not before.
        direction: Takes the current images and the number of the step, returns where to go, (N, C, H, W).
        eps: Radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Number of iterates.

    Yields:
        Detached pixels in [0, 1], within `eps` of `image`, (N, C, H, W).
    """
    center, current = image.detach(), start.detach()
    for step in range(steps):
        current = project_linf(current + step_size * direction(current, step), center, eps)
        yield current
