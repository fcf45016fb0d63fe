"""Slopes of objectives, and the plain projected ascent loop."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from lit_xai.domain import check_eps, project_linf

Objective = Callable[[Tensor], Tensor]
Direction = Callable[[Tensor, int], Tensor]


def check_steps(eps: float, step_size: float, steps: int) -> None:
    """Refuse options that leave nothing to climb.

    Raises:
        ValueError: If a radius or step is not in (0, 1], or `steps` is below 1.
    """
    check_eps(eps)
    check_eps(step_size, "step_size")
    if steps < 1:
        raise ValueError(f"Expected `steps` of at least 1, but got {steps}.")


def slope(objective: Objective, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return an objective's value and its gradient.

    Args:
        objective: Takes images (N, C, H, W), returns a score for each, (N,), differentiable in its own image
            only.
        image: Where, (N, C, H, W).

    Returns:
        Detached scores, (N,), and gradients, (N, C, H, W), zero where there is none. Parameters' gradients
        are never touched.
    """
    if not len(image):
        return image.new_zeros(0), image
    with torch.enable_grad():
        point = image.detach().clone().requires_grad_()
        value = objective(point)
        if not value.requires_grad:
            return value, torch.zeros_like(point)
        (gradient,) = torch.autograd.grad(value.sum(), point, materialize_grads=True)
    return value.detach(), gradient


def gradient_sign(objective: Objective) -> Direction:
    """Return the direction of steepest ascent under the L-infinity norm.

    Args:
        objective: As in `slope`.

    Returns:
        A direction for `ascend`: the sign of the objective's gradient, zero where it has none.
    """

    def direction(image: Tensor, step: int) -> Tensor:  # noqa: ARG001
        return slope(objective, image)[1].sign()

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
