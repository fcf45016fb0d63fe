"""Second derivatives of a sum in the memory of one of its parts."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lit_xai.gate import explaining, measuring

Part = Callable[[Tensor, Tensor], Tensor]


def is_trained(model: nn.Module) -> bool:
    """Return whether derivatives in the weights are wanted of a network that can be run again.

    That is one in evaluation mode whose parameters have no tensor hooks, which would see every part.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    hooked = any(parameter._backward_hooks for parameter in parameters)
    training = any(module.training for module in model.modules())
    return torch.is_grad_enabled() and bool(parameters) and not (hooked or training)


def recomputed_sum(model: nn.Module, parts: Sequence[Part], start: Tensor, end: Tensor) -> Tensor:
    """Return the sum of parts that are made of a network's input gradients, without keeping their graphs.

    Each part is computed twice: for its value, without a graph, and in the backward pass, one after another,
    for its derivatives along the gradient that arrives there. The derivatives are those of the plain sum, in
    the memory of one part. They are handed to the one backward pass that is running, so that every parameter
    gets its gradient once, whatever the number of processes or of accumulated batches.

    Args:
        model: The network that the parts call, in evaluation mode. The backward pass puts it there again
            (see `lit_xai.gate.explaining`); its buffers have to be the same then.
        parts: Functions of both tensors, each of which returns a tensor of one shape, differentiable once in
            the tensors and in the weights.
        start: (N, C, H, W).
        end: (N, C, H, W).

    Returns:
        The sum, once differentiable in both tensors and in the weights.

    Raises:
        RuntimeError: In a backward pass with `create_graph`.
    """
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]
    total: Tensor = _RecomputedSum.apply(model, parts, start, end, *weights)
    return total


class _RecomputedSum(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, model: nn.Module, parts: Sequence[Part], start: Tensor, end: Tensor, *weights: Tensor
    ) -> Tensor:
        ctx.model, ctx.parts, ctx.weights = model, parts, weights
        # The weights too, for autograd's check that nobody has changed them since.
        ctx.save_for_backward(start, end, *weights)
        total = torch.zeros_like(end)
        for part in parts:
            total = total + part(start, end)
        return total

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():
            raise RuntimeError(
                "Expected one derivative of a recomputed path, but got `create_graph`. Raise `max_batch`."
            )
        needed = ctx.needs_input_grad[2:]
        with measuring(), explaining(ctx.model):
            ends = [
                tensor.detach().requires_grad_(wanted)
                for tensor, wanted in zip(ctx.saved_tensors[:2], needed[:2], strict=True)
            ]
            inputs = [tensor for tensor, wanted in zip([*ends, *ctx.weights], needed, strict=True) if wanted]
            totals = [torch.zeros_like(tensor) for tensor in inputs]
            for part in ctx.parts:
                gradients = torch.autograd.grad(part(*ends), inputs, upstream, materialize_grads=True)
                torch._foreach_add_(totals, gradients)
        found = iter(totals)
        return None, None, *(next(found) if wanted else None for wanted in needed)
