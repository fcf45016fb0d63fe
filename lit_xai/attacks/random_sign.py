"""Random signs: the control that every gradient attack must beat."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lit_xai.ascent import ascend
from lit_xai.attacks.base import Attack, Criterion
from lit_xai.attacks.iterative import best_iterate, check_ascent
from lit_xai.attributions.base import Explain
from lit_xai.noise import Noise


@dataclass(frozen=True)
class RandomSign(Attack):
    """Add random signs to every pixel and channel, in one step or as a walk.

    One step of size `eps` is the reading of Kamath et al. (2024, arXiv 2312.10534) and the default. Many
    small steps with a `criterion` are the walk of the code of Ghorbani et al. (2019, arXiv 1710.10547): fresh
    signs at every step, projected, and the best iterate is kept. A walk of T steps of size s moves a pixel by
    about s times the root of T.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        steps: Steps of the walk.
        step_size: Length of a step, in pixel units of [0, 1]; `eps` if None.
        restarts: Independent walks; more than one need a criterion.
        criterion: Keep each sample's accepted iterate that minimises this; without it the last iterate
            counts, accepted or not.

    Raises:
        ValueError: If an option is out of its range, or there are restarts without a criterion.
    """

    eps: float = 8 / 255
    steps: int = 1
    step_size: float | None = None
    restarts: int = 1
    criterion: Criterion | None = None
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_ascent(
            self.eps, self.eps if self.step_size is None else self.step_size, self.steps, self.restarts
        )
        if self.restarts > 1 and self.criterion is None:
            raise ValueError(
                f"Expected a `criterion` to choose among {self.restarts} `restarts`, but got None."
            )

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        if self.criterion is None:
            *_, last = self._iterates(image, noise)
            return last
        return best_iterate(self._iterates(image, noise), explain, image, target, self.criterion)

    def _iterates(self, image: Tensor, noise: Noise) -> Iterator[Tensor]:
        step_size = self.eps if self.step_size is None else self.step_size
        for restart in range(self.restarts):
            walk = noise.child(restart)
            signs = lambda current, step, walk=walk: walk.child(step).signs(current)  # noqa: E731
            yield from ascend(image, image, signs, self.eps, step_size, self.steps)
