"""What attacks with several iterates share: where they start, and which iterate they keep."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from lit_xai.ascent import check_steps
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


class BestIterates:
    """Each sample's accepted iterate with the lowest score.

    An iterate is accepted if the true network predicts the same class for it and its score is below that of
    the clean map; a sample without one keeps its clean image. NaN is never accepted, and where the clean map
    has no score nothing is.

    Args:
        explain: The explanation on the true network.
        image: Clean pixels in [0, 1], (N, C, H, W).
        target: Classes predicted for them, (N,), int64.
        criterion: What to minimise.
        clean: Maps of the clean images over pixels, (N, H, W), if they are known already.
        goal: Maps that iterates are scored against, (N, H, W); the clean ones if None.

    Attributes:
        image: The best images so far, (N, C, H, W).
    """

    def __init__(
        self,
        explain: Explain,
        image: Tensor,
        target: Tensor,
        criterion: Criterion,
        *,
        clean: Tensor | None = None,
        goal: Tensor | None = None,
    ) -> None:
        with torch.no_grad():
            clean = pixel_map(explain(image, target)) if clean is None else clean
            self._goal = clean if goal is None else goal
            self._score = criterion.score(self._goal, clean)
        self._explain, self._target, self._criterion = explain, target, criterion
        self.image = image.clone()

    @property
    def finished(self) -> Tensor:
        """Which samples cannot be improved, (N,), bool."""
        return self._score <= self._criterion.lowest

    @torch.no_grad()
    def offer(self, iterate: Tensor, rows: Tensor) -> None:
        """Keep the iterates that are better than the best so far.

        Args:
            iterate: Pixels in [0, 1], (M, C, H, W).
            rows: The samples they belong to, (M,), int64.
        """
        if not len(rows):
            return
        kept = self._explain.model(iterate).argmax(dim=1) == self._target[rows]
        iterate, rows = iterate[kept], rows[kept]
        maps = pixel_map(self._explain.select(rows)(iterate, self._target[rows]))
        score = self._criterion.score(self._goal[rows], maps)
        better = score < self._score[rows]
        self.image[rows[better]] = iterate[better]
        self._score[rows[better]] = score[better]


def best_iterate(
    iterates: Iterable[Tensor], explain: Explain, image: Tensor, target: Tensor, criterion: Criterion
) -> Tensor:
    """Return each sample's best iterate, as `BestIterates` has it.

    Args:
        iterates: Images, each (N, C, H, W).
        explain: The explanation on the true network.
        image: Clean pixels in [0, 1], (N, C, H, W).
        target: Classes predicted for them, (N,), int64.
        criterion: What to minimise.

    Returns:
        Pixels in [0, 1], (N, C, H, W).
    """
    best = BestIterates(explain, image, target, criterion)
    for iterate in iterates:
        rows = (~best.finished).nonzero().squeeze(1)
        if len(rows):
            best.offer(iterate[rows], rows)
    return best.image
