"""How an attack moves from one iterate to the next, and the published rule."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lit_xai.domain import project_linf


class Ball(NamedTuple):
    """Where iterates may be.

    Attributes:
        center: Clean pixels in [0, 1], (N, C, H, W).
        eps: L-infinity radius, in pixel units of [0, 1].
    """

    center: Tensor
    eps: float

    def project(self, image: Tensor) -> Tensor:
        """Return the nearest pixels in the ball and in [0, 1], (N, C, H, W)."""
        return project_linf(image, self.center, self.eps)


@dataclass(frozen=True, eq=False)
class Path:
    """Where a climb is; every field holds a row for each sample.

    Attributes:
        point: The current images, (N, C, H, W).
    """

    point: Tensor

    def select(self, rows: Tensor) -> Self:
        """Return the climb of some of the samples; rows: (N,), bool, or indices."""
        return type(self)(*(getattr(self, field.name)[rows] for field in fields(self)))


class Stepping(ABC):
    """A rule that moves images uphill: frozen settings; what a climb remembers is in its `Path`."""

    def first_step(self, eps: float) -> float:
        """Return the length of the first step where the attack names none: eps / 16, in pixel units."""
        return eps / 16

    @abstractmethod
    def begin(self, start: Tensor, step_size: float) -> Path:
        """Return where a climb begins.

        Args:
            start: First images, (N, C, H, W).
            step_size: Length of the first step, in pixel units of [0, 1].
        """

    @abstractmethod
    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        """Return where the climb goes.

        Args:
            path: Where it is, as `begin` or `move` returned it.
            value: The objective there, (N,).
            gradient: Its gradient there, (N, C, H, W).
            ball: Where the images may be.
            step: Number of the step, from 0.
            steps: Number of steps in all.
        """

    def settled(self, path: Path, ball: Ball) -> Tensor:
        """Return which samples will hardly move any more, (N,), bool; by default none."""
        return torch.zeros(len(path.point), dtype=torch.bool, device=ball.center.device)


def lengths(step_size: float, like: Tensor) -> Tensor:
    """Return the length of a step for each sample, (N, 1, 1, 1)."""
    return like.new_full((len(like), 1, 1, 1), step_size)


@dataclass(frozen=True, eq=False)
class _SignPath(Path):
    step_size: Tensor


@dataclass(frozen=True)
class SignSteps(Stepping):
    """Steps of one length along the gradient's sign, as published (Ghorbani et al., 2019, arXiv 1710.10547).

    An attack that names no `step_size` steps by eps / 16, the authors' 0.5/255 at 8/255.
    """

    def begin(self, start: Tensor, step_size: float) -> Path:
        return _SignPath(start, lengths(step_size, start))

    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        assert isinstance(path, _SignPath)
        return _SignPath(ball.project(path.point + path.step_size * gradient.sign()), path.step_size)
