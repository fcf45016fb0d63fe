"""How one operation hands relevance back from its output to its inputs."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Literal

import torch
from torch import Tensor

from lit_xai.attributions.base import safe_root
from lit_xai.models.operations import Operation

Rule = Literal["z_plus", "alpha1_beta0", "epsilon", "z_box"]

# Keeps an output without any contribution from dividing zero by zero.
_TINY = 1e-9


@dataclass(frozen=True, eq=False)
class Linear:
    """A linear operation with weights of one's choice.

    Attributes:
        apply: Takes inputs, weights and bias, each of which may be None if the operation has none.
        weight: Its own weights, batch norm folded in; None for a mean.
        bias: Its own bias, folded alike.
    """

    apply: Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
    weight: Tensor | None
    bias: Tensor | None


@dataclass(frozen=True, eq=False)
class Term:
    """A part of what a linear operation puts out, whose share of the relevance goes back to its point.

    Attributes:
        point: Inputs, of the shape of the operation's.
        weight: Weights.
        bias: Bias, which keeps its share to itself.
        sign: 1, or -1 if the part is taken away.
    """

    point: Tensor
    weight: Tensor | None
    bias: Tensor | None = None
    sign: float = 1.0


def linear_of(operation: Operation, norm: Operation | None) -> Linear:
    """Return the linear map of a convolution, dense layer or mean.

    Args:
        operation: Of kind `LINEAR` or `MEAN`.
        norm: The batch norm right after it, in evaluation mode, to be folded in; None if there is none.
    """
    if operation.name not in ("linear", "conv1d", "conv2d", "conv3d"):
        return Linear(lambda point, _weight, _bias: operation.run(lambda _: point), None, None)
    names = ("input", "weight", "bias")
    weight, bias = (operation.argument(place, names[place]) for place in (1, 2))
    others = operation.arguments[3:]
    options = {name: value for name, value in operation.options.items() if name not in names}

    def apply(point: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        result: Tensor = operation.function(point, weight, bias, *others, **options)
        return result

    return Linear(apply, *(fold(weight, bias, norm) if norm else (weight, bias)))


def fold(weight: Tensor, bias: Tensor | None, norm: Operation) -> tuple[Tensor, Tensor]:
    """Return weights and bias of a linear operation that does what it and the batch norm after it do."""
    names = ("input", "running_mean", "running_var", "weight", "bias")
    mean, variance, scale, shift = (norm.argument(place, names[place]) for place in range(1, 5))
    eps = norm.argument(7, "eps", 1e-5)
    factor = (variance + eps).rsqrt()
    factor = factor if scale is None else factor * scale
    moved = (-mean if bias is None else bias - mean) * factor
    moved = moved if shift is None else moved + shift
    return weight * factor.view(-1, *[1] * (weight.ndim - 1)), moved


def terms_of(linear: Linear, point: Tensor, rule: Rule, box: tuple[Tensor, Tensor] | None) -> list[Term]:
    """Return the parts among which a rule shares an output's relevance.

    Args:
        linear: The operation.
        point: Its inputs.
        rule: The rule.
        box: The smallest and largest inputs there can be, for `z_box`.
    """
    weight = linear.weight
    if rule == "epsilon":
        return [Term(point, weight, linear.bias)]
    if weight is None:
        return [Term(point.abs(), None)]
    if rule == "z_box" and box is not None:
        low, high = Term(box[0], weight.clamp(min=0), sign=-1.0), Term(box[1], weight.clamp(max=0), sign=-1.0)
        return [Term(point, weight), low, high]
    if not bool((point < 0).any()):
        return [Term(point, weight.clamp(min=0))]
    positive = Term(point.clamp(min=0), weight.clamp(min=0))
    return [positive] if rule == "z_plus" else [positive, Term(point.clamp(max=0), weight.clamp(max=0))]


def redistribute(linear: Linear, terms: Sequence[Term], relevance: Tensor, epsilon: float) -> Tensor:
    """Hand each output's relevance to the inputs, in proportion to their contributions.

    Args:
        linear: The operation.
        terms: Parts of its output.
        relevance: Of its output.
        epsilon: How much the outputs are moved away from zero, as a share of each sample's root mean square.

    Returns:
        Relevance of its input; with a graph when grad mode is on.
    """
    keep_graph = torch.is_grad_enabled()
    with torch.enable_grad():
        points = [
            term.point if keep_graph and term.point.requires_grad else term.point.detach().requires_grad_()
            for term in terms
        ]
        outputs = [
            linear.apply(point, term.weight, term.bias) for point, term in zip(points, terms, strict=True)
        ]
    total = _sum(term.sign * output for term, output in zip(terms, outputs, strict=True))
    share = relevance / away_from_zero(total, epsilon)
    pulled = torch.autograd.grad(
        outputs, points, [term.sign * share for term in terms], create_graph=keep_graph
    )
    return _sum(point * gradient for point, gradient in zip(points, pulled, strict=True))


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return reduce(torch.add, parts)


def away_from_zero(values: Tensor, epsilon: float) -> Tensor:
    """Move values away from zero by a share of the root mean square of each sample, and by a trifle."""
    size = safe_root(values.square().mean(dim=tuple(range(1, values.ndim)), keepdim=True)) if epsilon else 0.0
    return values + (epsilon * size + _TINY) * torch.where(values < 0, -1.0, 1.0).to(values)
