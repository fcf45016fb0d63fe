"""What a network does to the values that depend on the image, call by call."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


class Kind(Enum):
    """What an operation does to the values that depend on the image.

    `LINEAR` mixes them by weights, `NORM` is batch norm, `UNIT` changes each on its own, `SUM` adds two
    tensors of them, `MEAN` averages them, `MOVE` hands each on to one place or leaves it out.
    """

    LINEAR = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
    NORM = frozenset({"batch_norm"})
    UNIT = frozenset(
        {
            *("relu", "relu6", "hardtanh", "leaky_relu", "softplus", "gelu", "silu", "elu", "selu", "celu"),
            "prelu",
            *("mish", "hardswish", "tanh", "sigmoid", "dropout", "dropout2d", "clone", "contiguous"),
            *("add", "sub", "mul", "div", "neg", "__rsub__", "to", "float", "double"),
        }
    )
    SUM = frozenset({"add"})
    MEAN = frozenset({"avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool2d", "mean", "sum"})
    MOVE = frozenset(
        {
            *("max_pool1d", "max_pool2d", "max_pool3d", "adaptive_max_pool2d", "flatten", "reshape", "view"),
            *("permute", "transpose", "squeeze", "unsqueeze", "cat", "pad", "chunk", "split", "unbind"),
            *("__getitem__", "copy", "flip", "roll", "stack", "expand", "repeat", "unflatten", "movedim"),
        }
    )
    OTHER = frozenset[str]()


@dataclass(frozen=True)
class Slot:
    """The place of a tensor that depends on the image, in the arguments of an operation."""

    index: int


@dataclass(frozen=True, eq=False)
class Operation:
    """One call of a PyTorch function in a forward pass.

    Attributes:
        name: Of the function.
        function: What is called, never writing over its arguments.
        arguments: Positional ones, a `Slot` for each tensor that depends on the image.
        options: Named ones, alike.
        outputs: Slots of the tensors that it returns.
    """

    name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    outputs: tuple[int, ...]

    @cached_property
    def inputs(self) -> tuple[int, ...]:
        """Slots of the tensors that it takes, each once."""
        leaves = tree_leaves((self.arguments, self.options))
        return tuple(dict.fromkeys(leaf.index for leaf in leaves if isinstance(leaf, Slot)))

    @cached_property
    def kind(self) -> Kind:
        """What it does to the values that depend on the image."""
        # The same name as that of `functional.batch_norm`, but another order of arguments.
        if self.function is torch.batch_norm:
            return Kind.OTHER
        leaves = tree_leaves((self.arguments, self.options))
        if sum(isinstance(leaf, Slot) for leaf in leaves) == 1:
            allowed = set(Kind) - {Kind.SUM}
        elif len(self.inputs) > 1 and "alpha" not in self.options:
            allowed = {Kind.SUM, Kind.MOVE}
        else:
            allowed = {Kind.MOVE}
        return next((kind for kind in Kind if kind in allowed and self.name in kind.value), Kind.OTHER)

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument, given by position or by name, or the default if it is left out."""
        return self.arguments[position] if position < len(self.arguments) else self.options.get(name, default)

    def run(self, value: Callable[[int], Tensor]) -> Any:
        """Call the function on the values of its inputs' slots."""
        arguments, options = tree_map(
            lambda leaf: value(leaf.index) if isinstance(leaf, Slot) else leaf, (self.arguments, self.options)
        )
        return self.function(*arguments, **options)
