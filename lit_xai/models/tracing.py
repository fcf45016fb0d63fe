"""A network's forward pass as a list of operations, each of which can be walked back on its own."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from lit_xai.models.operations import Kind, Operation, Slot
from lit_xai.models.softplus import network_of, sharpness_of, smooth_version

_INPLACE_AT: dict[Any, int] = {
    function: list(inspect.signature(function).parameters).index("inplace")
    for _, function in inspect.getmembers(functional, inspect.isfunction)
    if "inplace" in inspect.signature(function).parameters
}

_WRITES_OVER_A_PART = (
    "Expected a network that writes over whole tensors only, but it writes over a part of one. "
    "Use a copy there, or an attribution that needs no rules, such as IntegratedGradients."
)


@dataclass(frozen=True, eq=False)
class Trace:
    """A forward pass.

    Attributes:
        operations: In order of execution; those whose result depends on the image.
        values: The tensor in each slot; the first is the image.
        logits: The slot of the result.
    """

    operations: Sequence[Operation]
    values: Sequence[Tensor]
    logits: int

    def pull(self, operation: Operation, cotangents: Sequence[Tensor | None]) -> list[Tensor]:
        """Return an operation's vector-Jacobian product.

        Args:
            operation: One of the operations.
            cotangents: One for each output, zeros where None; at least one is given.

        Returns:
            One tensor for each input, with a graph when grad mode is on.
        """
        keep_graph = torch.is_grad_enabled()
        # On copies: an input may depend on another one.
        with torch.enable_grad():
            points = {
                slot: self.values[slot].clone() if keep_graph else self.values[slot].detach().requires_grad_()
                for slot in operation.inputs
            }
            results = _differentiable(operation.run(points.__getitem__))
        given = [pair for pair in zip(results, cotangents, strict=True) if pair[1] is not None]
        outputs, values = zip(*given, strict=True)
        return list(torch.autograd.grad(outputs, list(points.values()), values, create_graph=keep_graph))


def trace(model: nn.Module, image: Tensor) -> Trace:
    """Run a network once and record every operation whose result depends on the image.

    PyTorch calls are recorded whoever makes them, a module, a function or a method, so a unit that is used
    twice is two operations. Values that the network writes over are kept as they were. The rectifiers of a
    `SoftplusTwin` are recorded as single smooth operations.

    Args:
        model: Maps pixels to logits.
        image: Pixels, (N, C, H, W). It needs no gradient of its own.

    Returns:
        The pass, with the graph that `Trace.pull` walks.

    Raises:
        ValueError: If the network writes over a part of a tensor, its logits do not depend on the image, or
            its batch norm uses the statistics of the batch, so that no image is alone.
    """
    with torch.enable_grad():
        source = image if image.requires_grad else image.detach().requires_grad_()
        recorder = _Recorder(source.clone(), sharpness_of(model))
        with recorder:
            logits = network_of(model)(recorder.values[0])
    return recorder.finished(logits)


class _Recorder(TorchFunctionMode):
    def __init__(self, image: Tensor, beta: float | None) -> None:
        super().__init__()
        self.beta = beta
        self.operations: list[Operation] = []
        self.values: list[Tensor] = []
        self.versions: list[int] = []
        self.slots: dict[int, int] = {}
        self._keep(image)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        run = func if self.beta is None else smooth_version(func, self.beta) or func
        if not any(self._known(leaf) for leaf in tree_leaves((args, options))):
            return run(*args, **options)
        # It returns nothing: what is filled would pass for a constant.
        if func is Tensor.__setitem__:
            raise ValueError(_WRITES_OVER_A_PART)
        target = overwritten(func, args, options)
        if self._known(target):
            self._preserve(target)
            run = partial(_on_a_copy, run)
        arguments, named = tree_map(
            lambda leaf: Slot(self.slots[id(leaf)]) if self._known(leaf) else leaf, (tuple(args), options)
        )
        operation = Operation(called(func), run, arguments, named, ())
        result = operation.run(self.values.__getitem__)
        if self._known(target):
            result = target.copy_(result)
        if outputs := _differentiable(result):
            kept = tuple(self._keep(output) for output in outputs)
            self.operations.append(replace(operation, outputs=kept))
        return result

    def finished(self, logits: Tensor) -> Trace:
        """Return the pass, if every value is still what it was."""
        if not self._known(logits):
            raise ValueError("Expected logits that depend on the image, but got a constant.")
        if any(value._version != version for value, version in zip(self.values, self.versions, strict=True)):
            raise ValueError(_WRITES_OVER_A_PART)
        if any(one.kind is Kind.NORM and one.argument(5, "training") for one in self.operations):
            raise ValueError(
                "Expected batch norm in evaluation mode, but it uses the statistics of its batch. "
                "Call `model.eval()`."
            )
        return Trace(self.operations, self.values, self.slots[id(logits)])

    def _known(self, leaf: Any) -> TypeGuard[Tensor]:
        return isinstance(leaf, Tensor) and id(leaf) in self.slots

    def _keep(self, tensor: Tensor) -> int:
        self.slots[id(tensor)] = len(self.values)
        self.values.append(tensor)
        self.versions.append(tensor._version)
        return len(self.values) - 1

    def _preserve(self, target: Tensor) -> None:
        """Let a copy stand for a tensor that is about to be written over."""
        before = target.clone()
        for slot, value in enumerate(self.values):
            if value is target:
                self.values[slot], self.versions[slot] = before, before._version


def _differentiable(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and leaf.requires_grad]


def called(function: Callable[..., Any]) -> str:
    """Return a function's name, the same for the form that writes over its input."""
    name: str = function.__name__
    return name if name.endswith("__") else name.removesuffix("_")


def overwritten(function: Callable[..., Any], args: Sequence[Any], options: Mapping[str, Any]) -> Any:
    """Return the tensor that a call is about to write over, or None."""
    place = _INPLACE_AT.get(function)
    if place is None:
        written = function.__name__.endswith("_") and not function.__name__.endswith("__")
    else:
        written = args[place] if place < len(args) else options.get("inplace", False)
    return next(iter((*args, *options.values())), None) if written else None


def _on_a_copy(function: Callable[..., Any], first: Tensor, *args: Any, **options: Any) -> Any:
    return function(first.clone(), *args, **options)
