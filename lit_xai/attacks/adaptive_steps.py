"""Steps that shorten where they gain too little."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lit_xai.attacks.stepping import Ball, Path, Stepping, lengths
from lit_xai.domain import check_share


@dataclass(frozen=True, eq=False)
class _AdaptivePath(Path):
    """A climb with its history.

    Attributes:
        previous: The images before the current ones, (N, C, H, W).
        step_size: (N, 1, 1, 1).
        value: The objective at the previous images, (N,).
        best: Images of the highest value so far, (N, C, H, W).
        best_value: Their value, (N,).
        best_gradient: Their gradient, (N, C, H, W).
        rises: Steps since the last checkpoint that raised the objective, (N,), int64.
        halved: Whether the last checkpoint halved the step, (N,), bool.
        checked_value: The best value at the last checkpoint, (N,).
    """

    previous: Tensor
    step_size: Tensor
    value: Tensor
    best: Tensor
    best_value: Tensor
    best_gradient: Tensor
    rises: Tensor
    halved: Tensor
    checked_value: Tensor


@dataclass(frozen=True)
class AdaptiveSteps(Stepping):
    """Sign steps with momentum, halved where they gain too little (Croce and Hein, 2020, arXiv 2003.01690).

    The rule of APGD: at checkpoints that come closer and closer, a sample's step is halved and its climb
    resumed from its best point if fewer than a share `rise` of the steps since the last checkpoint raised the
    objective, or if neither the step nor the best value changed since then. An attack that names no
    `step_size` begins with 2 eps. Deviations: a checkpoint looks back before its step, which the paper takes
    and then abandons; the climb resumes without the momentum of the abandoned steps; a sample whose step is
    shorter than `stop` takes no more passes.

    Args:
        rise: Share of the steps between two checkpoints that must raise the objective, in (0, 1].
        momentum: Share of the newest step, in (0, 1]; the rest continues the last one.
        stop: Length of a step at which a sample stops, in shares of eps, in (0, 1].

    Raises:
        ValueError: If an option is out of its range.
    """

    rise: float = 0.75
    momentum: float = 0.75
    stop: float = 0.01

    def __post_init__(self) -> None:
        for name in ("rise", "momentum", "stop"):
            check_share(name, getattr(self, name))

    def first_step(self, eps: float) -> float:
        return min(2 * eps, 1.0)

    def begin(self, start: Tensor, step_size: float) -> Path:
        lowest = start.new_full((len(start),), -torch.inf)
        none = torch.zeros(len(start), dtype=torch.int64, device=start.device)
        return _AdaptivePath(
            point=start,
            previous=start,
            step_size=lengths(step_size, start),
            value=-lowest,
            best=start,
            best_value=lowest,
            best_gradient=torch.zeros_like(start),
            rises=none,
            halved=none.bool(),
            checked_value=lowest,
        )

    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        assert isinstance(path, _AdaptivePath)
        path = _recorded(path, value, gradient)
        checkpoints = checkpoints_of(steps)
        if step == 0:
            path = replace(path, checked_value=path.best_value)
        elif step in checkpoints:
            since = step - checkpoints[checkpoints.index(step) - 1]
            path, gradient = self._checked(path, gradient, since)
        share = self.momentum if step else 1.0
        forward = ball.project(path.point + path.step_size * gradient.sign()) - path.point
        onward = share * forward + (1 - share) * (path.point - path.previous)
        return replace(path, point=ball.project(path.point + onward), previous=path.point)

    def settled(self, path: Path, ball: Ball) -> Tensor:
        assert isinstance(path, _AdaptivePath)
        return (path.step_size < self.stop * ball.eps).flatten()

    def _checked(self, path: _AdaptivePath, gradient: Tensor, since: int) -> tuple[_AdaptivePath, Tensor]:
        stuck = ~path.halved & (path.best_value == path.checked_value)
        halve = (path.rises < self.rise * since) | stuck
        # Before the first value above minus infinity there is no best point to resume from.
        back = halve & (path.best_value > -torch.inf)
        rows = back.view(-1, 1, 1, 1)
        checked = replace(
            path,
            point=torch.where(rows, path.best, path.point),
            previous=torch.where(rows, path.best, path.previous),
            step_size=torch.where(halve.view(-1, 1, 1, 1), path.step_size / 2, path.step_size),
            value=torch.where(back, path.best_value, path.value),
            rises=torch.zeros_like(path.rises),
            halved=halve,
            checked_value=path.best_value,
        )
        return checked, torch.where(rows, path.best_gradient, gradient)


def checkpoints_of(steps: int) -> list[int]:
    """Return the steps at which APGD looks back, from 0: shares .22, .41, .57, ... of all steps, rounded up.

    Example:
        >>> checkpoints_of(20)
        [0, 5, 9, 12, 14, 16, 18, 19, 20]
    """
    last, percent = 0, 22
    shares = [last]
    while percent < 100:
        shares.append(percent)
        last, percent = percent, percent + max(percent - last - 3, 6)
    # In whole numbers: .57 times 100 is more than 57 in binary, or less.
    return sorted({-(-share * steps // 100) for share in shares})


def _recorded(path: _AdaptivePath, value: Tensor, gradient: Tensor) -> _AdaptivePath:
    better = value > path.best_value
    rows = better.view(-1, 1, 1, 1)
    return replace(
        path,
        value=value,
        best=torch.where(rows, path.point, path.best),
        best_value=torch.where(better, value, path.best_value),
        best_gradient=torch.where(rows, gradient, path.best_gradient),
        rises=path.rises + (value > path.value),
    )
