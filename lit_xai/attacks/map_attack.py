"""What attacks that climb an objective of the explanation's map share."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.ascent import slope
from lit_xai.attacks.base import Attack, Criterion
from lit_xai.attacks.iterative import BestIterates, check_ascent, relative_map, starts
from lit_xai.attacks.recovery import recovered
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
        goal: What `MapAttack.goal` returned, (N, H, W).
    """

    explain: Explain
    smooth: Explain
    image: Tensor
    target: Tensor
    clean: Tensor
    goal: Tensor

    @cached_property
    def probabilities(self) -> Tensor:
        """The true network's, for the clean images, (N, K)."""
        with torch.no_grad():
            probabilities: Tensor = self.explain.model(self.image).softmax(dim=1)
        return probabilities


@dataclass(frozen=True)
class MapAttack(Attack):
    """Climb an objective of the explanation's map, judge the iterates, return the best.

    Steps follow the map of the softplus twin, since a rectifier network's gradient has no slope; iterates are
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
        judge_every: Of so many iterates judge the one of the highest objective, and judge the last; a
            judgement costs one explanation.
        recover: Where an iterate has lost the prediction, climb the true network's margin until it is back,
            instead of climbing on: one forward pass more for each step, and a backward pass where it is lost.
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
    recover: bool = False
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
        """Return the maps that the attack's own criterion compares with, (N, H, W); by default clean ones.

        A criterion that the user names compares with the clean maps.

        Args:
            subject: What is under attack, without a goal yet.
        """
        return subject.clean

    def penalty(self, subject: Subject, image: Tensor, rows: Tensor) -> Tensor | None:
        """Return what an iterate pays for more than its map, subtracted from the objective; by default None.

        Args:
            subject: What is under attack.
            image: Iterates, with a graph, (n, C, H, W).
            rows: The samples they belong to, (n,), int64.

        Returns:
            Differentiable in the iterates, (n,).
        """
        return None

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
        subject = Subject(explain, smooth, image, target, clean, goal=clean)
        subject = replace(subject, goal=self.goal(subject))
        best = self._best(subject)
        for restart, start in enumerate(starts(image, self.eps, self.restarts, noise)):
            if best.finished.all():
                break
            objective = self.objective(subject, noise.child("direction").child(restart))
            self._climb(subject, start, objective, best)
        return best.image

    def _best(self, subject: Subject) -> BestIterates:
        goal = subject.goal if self.criterion is None else subject.clean
        return BestIterates(
            subject.explain,
            subject.image,
            subject.target,
            self.criterion or self.own_criterion(),
            clean=subject.clean,
            goal=goal,
        )

    def _climb(self, subject: Subject, start: Tensor, objective: MapObjective, best: BestIterates) -> None:
        rows = (~best.finished).nonzero().squeeze(1)
        ball = Ball(subject.image, self.eps)
        path = self.stepping.begin(ball.project(start)[rows], self._step_size)
        highest = _Highest.of_none(path.point)
        for step in range(self.steps):
            if not len(rows):
                return
            ball = Ball(subject.image[rows], self.eps)
            value, gradient = self._slope(subject, objective, path.point, rows, step / self.steps)
            if self.recover:
                value, gradient = recovered(
                    subject.explain.model, path.point, subject.target[rows], value, gradient
                )
            if step:
                highest = highest.and_of(path.point, value)
            path = self.stepping.move(path, value, gradient, ball, step=step, steps=self.steps)
            if step and step % self.judge_every == 0:
                best.offer(highest.point[highest.found], rows[highest.found])
                left = ~(best.finished[rows] | self.stepping.settled(path, ball))
                rows, path = rows[left], path.select(left)
                highest = _Highest.of_none(path.point)
        best.offer(highest.point[highest.found], rows[highest.found])
        best.offer(path.point, rows)

    def _slope(
        self, subject: Subject, objective: MapObjective, point: Tensor, rows: Tensor, progress: float
    ) -> tuple[Tensor, Tensor]:
        twin = SoftplusTwin(subject.explain.model, self.sharpness(progress))
        smooth, target = subject.smooth.on(twin).select(rows), subject.target[rows]

        def height(images: Tensor) -> Tensor:
            value = objective(relative_map(smooth, images, target), rows, progress)
            penalty = self.penalty(subject, images, rows)
            return value if penalty is None else value - penalty

        value, gradient = slope(height, point)
        # One NaN would stay in the image for good.
        return value, gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)

    @property
    def _step_size(self) -> float:
        return self.stepping.first_step(self.eps) if self.step_size is None else self.step_size


@dataclass(frozen=True, eq=False)
class _Highest:
    """The iterates of the highest objective since the last judgement.

    Attributes:
        point: Pixels in [0, 1], (n, C, H, W).
        value: The objective there, minus infinity where there is none yet, (n,).
    """

    point: Tensor
    value: Tensor

    @classmethod
    def of_none(cls, like: Tensor) -> "_Highest":
        return cls(like, like.new_full((len(like),), -torch.inf))

    @property
    def found(self) -> Tensor:
        return self.value > -torch.inf

    def and_of(self, point: Tensor, value: Tensor) -> "_Highest":
        higher = value > self.value
        return _Highest(
            torch.where(higher.view(-1, 1, 1, 1), point, self.point), torch.where(higher, value, self.value)
        )
