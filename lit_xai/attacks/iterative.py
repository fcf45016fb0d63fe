"""What attacks that climb in several steps share."""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from lit_xai.ascent import ascend, check_steps, gradient_sign
from lit_xai.attacks.base import Criterion
from lit_xai.attributions.base import Explain
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise

_SMALLEST = 1e-12


def check_ascent(eps: float, step_size: float, steps: int, restarts: int) -> None:
    """Refuse options that leave nothing to climb.

    Raises:
        ValueError: If an option is out of its range.
    """
    check_steps(eps, step_size, steps)
    if restarts < 1:
        raise ValueError(f"Expected `restarts` of at least 1, but got {restarts}.")


def starts(image: Tensor, eps: float, restarts: int, noise: Noise) -> Iterator[Tensor]:
    """Yield the clean image, then uniform draws from the ball around it, (N, C, H, W)."""
    yield image
    for restart in range(1, restarts):
        yield image + noise.child("start").child(restart).uniform(image, -eps, eps)


def relative_map(explain: Explain, image: Tensor, target: Tensor) -> Tensor:
    """Return the map over pixels as shares of its sum, (N, H, W), so that no attack gains by shrinking it."""
    maps = pixel_map(explain(image, target))
    return maps / maps.sum(dim=(1, 2), keepdim=True).clamp_min(_SMALLEST)


def map_ascent(
    twin: Explain,
    image: Tensor,
    target: Tensor,
    start: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    eps: float,
    step_size: float,
    steps: int,
) -> Iterator[Tensor]:
    """Yield the iterates that climb an objective of the relative map.

    Args:
        twin: The explanation on a network with curvature.
        image: Centre of the ball, pixels in [0, 1], (N, C, H, W).
        target: The explained classes, (N,), int64.
        start: First point, (N, C, H, W).
        objective: Takes relative maps (N, H, W), returns (N,).
        eps: Radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Number of iterates.

    Yields:
        Pixels in [0, 1], (N, C, H, W).
    """
    direction = gradient_sign(lambda point: objective(relative_map(twin, point, target)))
    yield from ascend(image, start, direction, eps, step_size, steps)


@torch.no_grad()
def best_iterate(
    iterates: Iterable[Tensor], explain: Explain, image: Tensor, target: Tensor, criterion: Criterion
) -> Tensor:
    """Return each sample's accepted iterate with the lowest score.

    An iterate is accepted if the true network predicts the same class for it and its score is below that of
    the clean map against itself; a sample without one keeps its clean image. NaN is never accepted.

    Args:
        iterates: Images, each (N, C, H, W).
        explain: The explanation on the true network.
        image: Clean pixels in [0, 1], (N, C, H, W).
        target: Classes predicted for them, (N,), int64.
        criterion: What to minimise.

    Returns:
        Pixels in [0, 1], (N, C, H, W).
    """
    clean_map = pixel_map(explain(image, target))
    best, lowest = image, criterion.score(clean_map, clean_map)
    for iterate in iterates:
        kept = explain.model(iterate).argmax(dim=1) == target
        score = criterion.score(clean_map, pixel_map(explain(iterate, target)))
        better = kept & (score < lowest)
        best = torch.where(better.view(-1, 1, 1, 1), iterate, best)
        lowest = torch.where(better, score, lowest)
    return best
