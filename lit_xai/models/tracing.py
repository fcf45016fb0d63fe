"""A network's forward pass as a list of operations, each of which can be walked back on its own."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from lit_xai.models.operations import Operation, Slot
from lit_xai.models.softplus import SoftplusTwin, network_of, sharpness_of, smooth_version

_INPLACE_AT: dict[Any, int] = {
    function: list(inspect.signature(function).parameters).index("inplace")
    for _, function in inspect.getmembers(functional, inspect.isfunction)
    if "inplace" in inspect.signature(function).parameters
}


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
    twice is two operations. Nothing is written over: the new value stands for the old one. The rectifiers of
    a `SoftplusTwin` are recorded as single smooth operations.

    Args:
        model: Maps pixels to logits.
        image: Pixels, (N, C, H, W).

    Returns:
        The pass, with the graph that `Trace.pull` walks.

    Raises:
        ValueError: If the network writes over a part of a tensor, is in training mode, calls what PyTorch
            cannot record (an autograd function of one's own, a script), or does not return logits.
    """
    with torch.enable_grad():
        source = image if image.requires_grad else image.detach().requires_grad_()
        recorder = _Recorder(source.clone(), sharpness_of(model))
        with recorder:
            logits = network_of(model)(recorder.values[0])
    if isinstance(model, SoftplusTwin):
        model.smoothed = model.smoothed or recorder.smoothed
    return recorder.finished(logits)


class _Recorder(TorchFunctionMode):
    def __init__(self, image: Tensor, beta: float | None) -> None:
        super().__init__()
        self.beta = beta
        self.smoothed = False
        self.operations: list[Operation] = []
        self.values: list[Tensor] = []
        self.slots: dict[int, int] = {}
        self.stale: set[int] = set()
        self._keep(image)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        tensors = [leaf for leaf in tree_leaves((args, options)) if isinstance(leaf, Tensor)]
        self._check(func, tensors)
        name, target = called(func), overwritten(func, args, options)
        known = id(target) in self.slots
        if known:
            func, args, options = _writing_nothing(func, args, options)
        smooth = None if self.beta is None else smooth_version(func, self.beta)
        self.smoothed = self.smoothed or smooth is not None
        run = smooth or func
        if not any(id(tensor) in self.slots for tensor in tensors):
            return run(*args, **options)
        arguments, named = tree_map(self._slot, (tuple(args), options))
        operation = Operation(name, run, arguments, named, ())
        check_evaluation(operation)
        result = operation.run(self.values.__getitem__)
        if outputs := _differentiable(result):
            kept = tuple(self._keep(output) for output in outputs)
            self.operations.append(replace(operation, outputs=kept))
            if known:
                self._replace(target, kept[0])
        return result

    def finished(self, logits: Any) -> Trace:
        """Return the pass that ended with these logits."""
        if not isinstance(logits, Tensor):
            raise ValueError(
                f"Expected a network that returns logits, but got a {type(logits).__name__}. Wrap it."
            )
        self._check(None, [logits])
        if id(logits) not in self.slots:
            raise ValueError("Expected logits that depend on the image, but got a constant.")
        return Trace(self.operations, self.values, self.slots[id(logits)])

    def _slot(self, leaf: Any) -> Any:
        known = isinstance(leaf, Tensor) and id(leaf) in self.slots
        return Slot(self.slots[id(leaf)]) if known else leaf

    def _keep(self, tensor: Tensor) -> int:
        self.slots[id(tensor)] = len(self.values)
        self.values.append(tensor)
        return len(self.values) - 1

    def _replace(self, target: Tensor, slot: int) -> None:
        """Let a new value stand for a tensor that the network has written over.

        The tensor itself stays as it was. What shares its memory does not know of the new value.
        """
        before = self.slots[id(target)]
        memory = self.values[before].untyped_storage().data_ptr()
        sharing = {
            place
            for place, value in enumerate(self.values)
            if place != before and value.untyped_storage().data_ptr() == memory
        }
        self.stale |= {known for known, place in self.slots.items() if place in sharing}
        self.slots |= {known: slot for known, place in self.slots.items() if place == before}

    def _check(self, function: Callable[..., Any] | None, tensors: Sequence[Tensor]) -> None:
        """Refuse what would pass for a constant, or for what it no longer is."""
        changed = function is Tensor.__setitem__ and any(id(tensor) in self.slots for tensor in tensors)
        if changed or any(id(tensor) in self.stale for tensor in tensors):
            raise ValueError(
                "Expected a network that writes over whole tensors only, but it writes over a part of one. "
                "Use a copy there, or an attribution that needs no rules, such as IntegratedGradients."
            )
        origin = self.values[0].grad_fn
        for tensor in tensors:
            if id(tensor) not in self.slots and _reaches(tensor.grad_fn, origin):
                raise ValueError(
                    "Expected operations that PyTorch can record, but got a result of one that it cannot "
                    f"({tensor.grad_fn}). Use IntegratedGradients."
                )


def check_evaluation(operation: Operation) -> None:
    """Refuse a call in training mode: its result belongs to its batch or to chance, not to the image.

    Raises:
        ValueError: If it is batch norm or dropout in training mode.
    """
    place = {"batch_norm": 5, "dropout": 2, "dropout2d": 2}.get(operation.name)
    if place is not None and operation.argument(place, "training"):
        raise ValueError(
            f"Expected a network in evaluation mode, but got {operation.name} in training mode. "
            "Call `model.eval()`."
        )


def _reaches(node: Any, origin: Any) -> bool:
    """Return whether a result's graph leads back to another node."""
    waiting, seen = [node] if node is not None else [], set()
    while waiting:
        current = waiting.pop()
        if current is origin:
            return True
        if current not in seen:
            seen.add(current)
            waiting.extend(following for following, _ in current.next_functions if following is not None)
    return False


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


def _writing_nothing(
    function: Callable[..., Any], args: Sequence[Any], options: dict[str, Any]
) -> tuple[Callable[..., Any], Sequence[Any], dict[str, Any]]:
    """Return a call with the same result that writes over none of its arguments."""
    place = _INPLACE_AT.get(function)
    if place is not None and place < len(args):
        return function, [*args[:place], False, *args[place + 1 :]], options
    if place is not None:
        return function, args, {**options, "inplace": False}
    owners = (Tensor, torch, functional)
    owner = next((one for one in owners if getattr(one, function.__name__, None) is function), None)
    other = getattr(owner, called(function), None)
    return other or partial(_on_a_copy, function), args, options


def _on_a_copy(function: Callable[..., Any], first: Tensor, *args: Any, **options: Any) -> Any:
    return function(first.clone(), *args, **options)
