"""Integrated gradients along a path that avoids large gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import (
    Attribution,
    Score,
    check_baseline,
    check_counts,
    check_score,
    input_gradient,
    warn_of_zeros,
)
from lit_xai.gate import measuring
from lit_xai.noise import Noise

_CLOSE = 1e-9


def advance(gone: Tensor, limit: Tensor, size: Tensor, need: Tensor, fraction: float) -> Tensor:
    """Move features on, those of small gradients first, until they moved `need` together.

    They move in blocks, each the given share of all features, more where gradients are equal, fewer at the
    end. Every block goes all the way but the last, whose features go a part of theirs.

    Args:
        gone: How far features have moved, (N, F).
        limit: How far they may, (N, F).
        size: Magnitudes of their gradients, (N, F).
        need: Sum of the distances to move, (N, 1).
        fraction: Share of the features in a block, in (0, 1].

    Returns:
        How far they have moved then, (N, F).
    """
    way = limit - gone
    size = size.masked_fill(way == 0, torch.inf)
    rank = int(fraction * (size.shape[1] - 1)) + 1
    begin, before = torch.full_like(need, -1.0, dtype=size.dtype), torch.zeros_like(need)
    for _ in range(0, size.shape[1], rank):
        end = size.masked_fill(size <= begin, torch.inf).kthvalue(rank, dim=1, keepdim=True).values
        after = torch.where(size <= end, way, 0.0).sum(dim=1, keepdim=True)
        # What is a rounding error away from a whole block is one: later blocks hang on it.
        whole = (after < need + _CLOSE) & (before < need - _CLOSE)
        if not bool(whole.any()):
            break
        begin, before = torch.where(whole, end, begin), torch.where(whole, after, before)
    rest = need - before
    part = torch.where(rest > _CLOSE, rest / (after - before), 0.0)
    moved = torch.where(size <= end, gone + part * way, gone)
    return torch.where(size <= begin, limit, moved)


@dataclass(frozen=True)
class GuidedIG(Attribution):
    """Explain by gradients along an adaptive path (Kapishnikov et al., 2021, arXiv 2106.09788).

    At every step the features of the smallest gradients move first, until the path has come as near to the
    image as a straight one would, and no feature leaves a band around the straight line. Deviations: every
    sample of a batch walks its own path at the same time, where the authors explain one image at a time;
    a feature's place is its distance from the baseline, so sums differ from theirs by rounding. An image
    whose every gradient is zero has a map of zeros, and a warning counts it.

    Args:
        path_steps: Gradients along the path.
        fraction: Share of the features that moves at once, in (0, 1].
        max_dist: Half-width of the band, as a share of the line, in [0, 1]; 0 is the straight line.
        baseline: The value of every pixel of the baseline, in [0, 1]; 0 is black.
        score: What is differentiated: `logit`, `probability` or `loss`.

    Raises:
        ValueError: If an option is out of its range.
    """

    path_steps: int = 200
    fraction: float = 0.25
    max_dist: float = 0.02
    baseline: float = 0.0
    score: Score = "logit"
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_score(self.score)
        check_counts(self, "path_steps")
        check_baseline(self.baseline)
        if not 0 < self.fraction <= 1:
            raise ValueError(f"Expected `fraction` in (0, 1], but got {self.fraction:g}.")
        if not 0 <= self.max_dist <= 1:
            raise ValueError(f"Expected `max_dist` in [0, 1], but got {self.max_dist:g}.")

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        with measuring(), torch.no_grad():
            line = image.detach().flatten(1).double() - self.baseline
            length, sign = line.abs(), line.sign()
            gone = attribution = total = torch.zeros_like(line)
            for step in range(1, self.path_steps + 1):
                point = (self.baseline + sign * gone).to(image.dtype).view_as(image)
                gradient = input_gradient(model, point, target, self.score).flatten(1)
                share = step / self.path_steps
                low, high = max(share - self.max_dist, 0.0), min(share + self.max_dist, 1.0)
                least = torch.maximum(gone, low * length)
                need = (share * length - least).sum(dim=1, keepdim=True)
                moved = advance(least, high * length, gradient.abs(), need, self.fraction)
                attribution = attribution + (moved - gone) * gradient
                gone, total = moved, total + gradient.abs()
            warn_of_zeros(total)
            return (sign * attribution).to(image.dtype).view_as(image)
