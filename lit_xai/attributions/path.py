"""Integrals of input gradients along straight lines, shared by every integrated gradient."""

from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Score, in_flight, input_gradient
from lit_xai.attributions.recomputed import is_trained, recomputed_sum

Quadrature = Literal["right", "midpoint", "trapezoid", "gauss_legendre"]


def quadrature(rule: Quadrature, path_steps: int) -> tuple[list[float], list[float]]:
    """Return nodes in [0, 1] and weights that sum to one.

    Args:
        rule: `right` ends of equal intervals (Sundararajan et al.), their `midpoint`s, `trapezoid` with both
            ends, or `gauss_legendre`, exact for polynomials of degree 2 * path_steps - 1.
        path_steps: Number of nodes.

    Returns:
        Nodes and weights, `path_steps` of each.

    Raises:
        ValueError: If the rule is unknown or has too few nodes.

    Example:
        >>> quadrature("midpoint", 2)
        ([0.25, 0.75], [0.5, 0.5])
    """
    least = 2 if rule == "trapezoid" else 1
    if path_steps < least:
        raise ValueError(
            f"Expected `path_steps` of at least {least} for the {rule} rule, but got {path_steps}."
        )
    equal = np.full(path_steps, 1 / path_steps)
    if rule == "right":
        nodes, weights = np.arange(1, path_steps + 1) / path_steps, equal
    elif rule == "midpoint":
        nodes, weights = (np.arange(path_steps) + 0.5) / path_steps, equal
    elif rule == "trapezoid":
        nodes, weights = np.linspace(0, 1, path_steps), np.full(path_steps, 1 / (path_steps - 1))
        weights[[0, -1]] /= 2
    elif rule == "gauss_legendre":
        nodes, weights = np.polynomial.legendre.leggauss(path_steps)
        nodes, weights = (nodes + 1) / 2, weights / 2
    else:
        raise ValueError(f"Expected `rule` as right, midpoint, trapezoid or gauss_legendre, but got {rule}.")
    return nodes.tolist(), weights.tolist()


def path_gradient(
    model: nn.Module,
    start: Tensor,
    end: Tensor,
    target: Tensor,
    *,
    score: Score,
    rule: Quadrature,
    path_steps: int,
    max_batch: int,
    recompute: bool | None = None,
) -> Tensor:
    """Return the mean input gradient on the straight line from `start` to `end`.

    Differentiable in both ends and in the weights when grad mode is on.

    Args:
        model: Maps pixels to logits.
        start: (N, C, H, W).
        end: (N, C, H, W).
        target: Class indices, (N,), int64.
        score: What is differentiated.
        rule: The quadrature rule.
        path_steps: Points on the line.
        max_batch: Images in flight in one forward pass.
        recompute: Whether points that do not fit into one forward pass are run again in the backward pass, in
            the memory of one pass: see `lit_xai.attributions.recomputed`. The network has to be in evaluation
            mode. If None, where such a network is trained, not where an image is attacked: that takes less
            memory, and would take longer.

    Returns:
        Mean gradients, (N, C, H, W). Times (end - start), they sum to the difference of the scores
        (completeness).
    """
    nodes, weights = (end.new_tensor(values).view(-1, 1, 1, 1, 1) for values in quadrature(rule, path_steps))

    def part(steps: range, start: Tensor, end: Tensor) -> Tensor:
        chosen = slice(steps.start, steps.stop)
        points = start + nodes[chosen] * (end - start)
        classes = target.repeat(len(points))
        gradient = input_gradient(model, points.flatten(0, 1), classes, score, max_batch)
        total: Tensor = (weights[chosen] * gradient.unflatten(0, points.shape[:2])).sum(dim=0)
        return total

    parts = [partial(part, steps) for steps in in_flight(path_steps, len(end), max_batch)]
    if len(parts) > 1 and (is_trained(model) if recompute is None else recompute):
        return recomputed_sum(model, parts, start, end)
    mean = torch.zeros_like(end)
    for contribution in parts:
        mean = mean + contribution(start, end)
    return mean
