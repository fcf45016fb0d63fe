"""Steps of the optimiser Adam."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_xai.attacks.stepping import Ball, Path, Stepping, lengths

_FIRST, _SECOND, _SMALLEST = 0.9, 0.999, 1e-8


@dataclass(frozen=True, eq=False)
class _AdamPath(Path):
    step_size: Tensor
    mean: Tensor
    square: Tensor


@dataclass(frozen=True)
class AdamSteps(Stepping):
    """Steps of Adam (Kingma and Ba, 2015, arXiv 1412.6980), each projected; its state belongs to the pixel.

    The decay rates are the authors' .9 and .999. An attack that names no `step_size` steps by eps / 16.
    """

    def begin(self, start: Tensor, step_size: float) -> Path:
        return _AdamPath(start, lengths(step_size, start), torch.zeros_like(start), torch.zeros_like(start))

    def move(self, path: Path, value: Tensor, gradient: Tensor, ball: Ball, *, step: int, steps: int) -> Path:
        assert isinstance(path, _AdamPath)
        mean = _FIRST * path.mean + (1 - _FIRST) * gradient
        square = _SECOND * path.square + (1 - _SECOND) * gradient.square()
        height = mean / (1 - _FIRST ** (step + 1))
        width = (square / (1 - _SECOND ** (step + 1))).sqrt() + _SMALLEST
        return _AdamPath(
            ball.project(path.point + path.step_size * height / width), path.step_size, mean, square
        )
