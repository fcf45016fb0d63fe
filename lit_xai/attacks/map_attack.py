"""What attacks that climb an objective of the explanation's map share."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.ascent import slope
from lit_xai.attacks.base import Attack, Criterion
from lit_xai.attacks.iterative import BestIterates, check_ascent, relative_map, starts
from lit_xai.attacks.stepping import Ball, SignSteps, Stepping
from lit_xai.attributions.base import Explain, check_counts
from lit_xai.metrics.maps import pixel_map
from lit_xai.models.softplus import SoftplusTwin, check_beta
from lit_xai.noise import Noise

MapObjective = Callable[[Tensor, Tensor, float], Tensor]


@dataclass(frozen=True, eq=False)
class Subject:
    """What is under attack.

    Attributes:
        explain: The explanation on the true network.
        smooth: The explanation that the steps follow, on a network with curvature.
        image: Clean pixels in [0, 1], (N, C, H, W).
        target: Classes predicted for them, (N,), int64.
        clean: The true network's maps of them, over pixels, (N, H, W).
    """

    explain: Explain
    smooth: Explain
    image: Tensor
    target: Tensor
    clean: Tensor


@dataclass(frozen=True)
class MapAttack(Attack):
    """Climb an objective of the explanation's map, judge the iterates, return the best.

    Steps follow the map of the softplus twin, since a rectifier network's map has no slope; iterates are
    judged on the true network. A sample whose score can fall no further, or whose climb has settled, takes no
    more passes. Defaults are the published loop, every step of one length, every iterate judged.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of the first step, in pixel units of [0, 1]; the stepping's own if None.
        steps: Iterations of each restart.
        beta: Sharpness of the twin's softplus.
        restarts: Runs; the first starts at the image, the others at random in the ball.
        path_steps: Points of a path integral, or noise draws, that the steps look at; all those of the
            explanation if None. Iterates are judged by the whole explanation, and an explanation without such
            points is followed as it is.
        judge_every: Judge each iterate of this number, and the last; a judgement costs one explanation.
        stepping: How iterates move.
        criterion: What the best iterate minimises; the attack's own if None.

    Raises:
        ValueError: If an option is out of its range.
    """

    eps: float = 8 / 255
    step_size: float | None = None
    steps: int = 300
    beta: float = 1.0
    restarts: int = 1
    path_steps: int | None = None
    judge_every: int = 1
    stepping: Stepping = field(default_factory=SignSteps)
    criterion: Criterion | None = None
    needs_gradient: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_ascent(self.eps, self._step_size, self.steps, self.restarts)
        check_beta(self.beta)
        check_counts(self, "judge_every")
        if self.path_steps is not None:
            check_counts(self, "path_steps")

    @abstractmethod
    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        """Return what to climb.

        Args:
            subject: What is under attack.
            noise: The randomness of this restart.

        Returns:
            A function of relative maps, (n, H, W), which sum to one, the samples they belong to, (n,), int64,
            and the share of the steps taken, in [0, 1). It returns scores, (n,).
        """

    @abstractmethod
    def own_criterion(self) -> Criterion:
        """Return what the best iterate minimises where the user names nothing."""

    def goal(self, subject: Subject) -> Tensor:
        """Return the maps that iterates are scored against, (N, H, W); by default the clean ones."""
        return subject.clean

    def sharpness(self, progress: float) -> float:
        """Return the twin's `beta` after a share of the steps in [0, 1); by default always the same."""
        return self.beta

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        with torch.no_grad():
            clean = pixel_map(explain(image, target))
        followed = explain if self.path_steps is None else explain.coarse(self.path_steps)
        smooth = followed.on(SoftplusTwin(model, self.sharpness(0.0)))
        subject = Subject(explain, smooth, image, target, clean)
        criterion = self.criterion or self.own_criterion()
        best = BestIterates(explain, image, target, criterion, clean=clean, goal=self.goal(subject))
        for restart, start in enumerate(starts(image, self.eps, self.restarts, noise)):
            objective = self.objective(subject, noise.child("direction").child(restart))
            self._climb(subject, start, objective, best)
        return best.image

    def _climb(self, subject: Subject, start: Tensor, objective: MapObjective, best: BestIterates) -> None:
        rows = (~best.finished).nonzero().squeeze(1)
        path = self.stepping.begin(start[rows], self._step_size)
        for step in range(self.steps):
            if not len(rows):
                return
            ball = Ball(subject.image[rows], self.eps)
            value, gradient = self._slope(subject, objective, path.point, rows, step / self.steps)
            path = self.stepping.move(path, value, gradient, ball, step=step, steps=self.steps)
            if (step + 1) % self.judge_every == 0 or step + 1 == self.steps:
                best.offer(path.point, rows)
                unfinished = ~(best.finished[rows] | self.stepping.settled(path, ball))
                rows, path = rows[unfinished], path.select(unfinished)

    def _slope(
        self, subject: Subject, objective: MapObjective, point: Tensor, rows: Tensor, progress: float
    ) -> tuple[Tensor, Tensor]:
        twin = SoftplusTwin(subject.explain.model, self.sharpness(progress))
        smooth, target = subject.smooth.on(twin).select(rows), subject.target[rows]
        return slope(lambda images: objective(relative_map(smooth, images, target), rows, progress), point)

    @property
    def _step_size(self) -> float:
        return self.stepping.first_step(self.eps) if self.step_size is None else self.step_size
