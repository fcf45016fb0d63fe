"""A network whose every unit call runs through a module of its own."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from lit_xai.models.operations import Kind, Operation, Slot
from lit_xai.models.softplus import network_of, sharpness_of
from lit_xai.models.tracing import called, overwritten, trace

Pair = int | tuple[int, int]

_RECTIFIERS = {"relu", "relu6", "hardtanh", "leaky_relu", "prelu"}
_ROUTED = {*_RECTIFIERS, "tanh", "sigmoid", "elu", "softplus", "max_pool2d"}
_STRAIGHT = {
    *("add", "sub", "mul", "div", "neg", "__rsub__", "to", "float", "double"),
    *("dropout", "dropout2d", "clone", "contiguous"),
}


def _pair(size: Pair) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])


class _Clip(nn.Module):
    """Rise from `low` to `high` by the difference of two rectifiers, exact for ReLU6."""

    def __init__(self, low: float, high: float, rectifier: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.lower, self.upper = rectifier(), rectifier()

    def forward(self, values: Tensor) -> Tensor:
        rise: Tensor = self.lower(values - self.low) - self.upper(values - self.high)
        return self.low + rise


class _Leak(nn.Module):
    """A rectifier and a line."""

    def __init__(self, slope: float | Tensor, rectifier: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.slope = slope
        self.rectifier = rectifier()

    def forward(self, values: Tensor) -> Tensor:
        # A copy: a hook on the rectifier's input is not to see the line.
        rise: Tensor = self.rectifier(values.clone())
        return self.slope * values + (1 - self.slope) * rise


class SideBySidePool(nn.MaxPool2d):
    """Max-pooling of windows that share no value."""


class _Pool(nn.Module):
    """Max-pooling of windows that are laid side by side first, so that no two share a value."""

    def __init__(self, kernel_size: Pair, stride: Pair | None, padding: Pair, *, ceil_mode: bool) -> None:
        super().__init__()
        self.kernel = _pair(kernel_size)
        self.stride = self.kernel if stride is None else _pair(stride)
        self.padding = _pair(padding)
        self.ceil_mode = ceil_mode
        self.pool = SideBySidePool(self.kernel)

    def forward(self, values: Tensor) -> Tensor:
        rows, columns = (self._margins(axis, values.shape[2 + axis]) for axis in (0, 1))
        # Not minus infinity: the difference of two margins has to be zero.
        padded = functional.pad(values, (*columns, *rows), value=torch.finfo(values.dtype).min)
        windows = padded.unfold(2, self.kernel[0], self.stride[0]).unfold(3, self.kernel[1], self.stride[1])
        side_by_side = windows.transpose(3, 4).flatten(4, 5).flatten(2, 3)
        pooled: Tensor = self.pool(side_by_side)
        return pooled

    def _margins(self, axis: int, size: int) -> tuple[int, int]:
        kernel, stride, padding = self.kernel[axis], self.stride[axis], self.padding[axis]
        left_over = (size + 2 * padding - kernel) % stride
        windows = (size + 2 * padding - kernel) // stride + 1
        # A window more, if it starts before the margin at the end.
        more = self.ceil_mode and left_over > 0 and windows * stride < size + padding
        return padding, padding + (stride - left_over if more else 0)


class SeparateUnits(nn.Module):
    """A network that calls a module of its own for each unit and max-pooling of its pass.

    What hooks into modules (captum's DeepLIFT) needs every call to be a module of its own that does not write
    over its input; networks use one module twice, work in place, or call a function. The network is run as it
    is, its calls are sent to these modules. They are the only modules that can be seen from outside, and no
    two of them share a tensor. ReLU6 is the difference of two rectifiers; a max-pooling whose windows overlap
    lays them side by side; the units of a `SoftplusTwin` are softplus modules.

    Args:
        model: Maps pixels to logits. It is neither copied nor changed.
        image: Pixels that a first pass finds the calls with, (N, C, H, W).

    Raises:
        ValueError: If the network is in training mode or cannot be recorded; in a pass, if it calls other
            units.
    """

    def __init__(self, model: nn.Module, image: Tensor) -> None:
        super().__init__()
        beta = sharpness_of(model)
        self.operations = trace(model, image).operations
        routed = [operation for operation in self.operations if operation.name in _ROUTED]
        self.names = [operation.name for operation in routed]
        self.units = nn.ModuleList(_module(operation, beta) for operation in routed)
        # In a tuple, out of sight of what looks for modules.
        self._network = (network_of(model),)

    def forward(self, image: Tensor) -> Tensor:
        """Return the network's logits for pixels, (N, K)."""
        rerouting = _Rerouting(self.names, self.units)
        with rerouting:
            logits: Tensor = self._network[0](image)
        pairs = enumerate(zip_longest(self.names, rerouting.called, fillvalue="none"), start=1)
        for place, (expected, found) in pairs:
            if expected != found:
                raise ValueError(
                    f"Expected {expected} as unit {place} of every pass, but got {found}. "
                    "Use IntegratedGradients where passes differ or units are called on parameters."
                )
        return logits

    def curved(self) -> list[str]:
        """Return the names of the functions in the pass that are neither linear nor among the units."""
        return [operation.name for operation in self.operations if _is_curved(operation)]


def _is_curved(operation: Operation) -> bool:
    if operation.name == "div" and not isinstance(operation.argument(0, "input"), Slot):
        return True
    if operation.name == "max_pool2d":
        return operation.argument(4, "dilation") not in (None, 1, (1, 1))
    if operation.kind is Kind.UNIT:
        return operation.name not in _ROUTED | _STRAIGHT
    return operation.kind is Kind.OTHER or "max_pool" in operation.name


def _module(operation: Operation, beta: float | None) -> nn.Module:
    """Return a module that does what a call of a unit or a max-pooling does."""
    argument = operation.argument
    if operation.name in _RECTIFIERS:
        return _rectifier(operation, nn.ReLU if beta is None else partial(nn.Softplus, beta))
    match operation.name:
        case "max_pool2d":
            kernel, stride, padding = (
                argument(1, "kernel_size"),
                argument(2, "stride"),
                argument(3, "padding", 0),
            )
            return _Pool(kernel, stride, padding, ceil_mode=argument(5, "ceil_mode", default=False))
        case "elu":
            return nn.ELU(argument(1, "alpha", 1.0))
        case "softplus":
            return nn.Softplus(argument(1, "beta", 1.0), argument(2, "threshold", 20.0))
    return nn.Tanh() if operation.name == "tanh" else nn.Sigmoid()


def _rectifier(operation: Operation, rectifier: Callable[[], nn.Module]) -> nn.Module:
    """Return a module made of rectifiers, or of softplus units in their place."""
    argument = operation.argument
    match operation.name:
        case "relu6":
            return _Clip(0.0, 6.0, rectifier)
        case "hardtanh":
            return _Clip(argument(1, "min_val", -1.0), argument(2, "max_val", 1.0), rectifier)
        case "leaky_relu":
            return _Leak(argument(1, "negative_slope", 0.01), rectifier)
        case "prelu":
            return _Leak(argument(1, "weight").detach().view(-1, 1, 1), rectifier)
    return rectifier()


class _Rerouting(TorchFunctionMode):
    def __init__(self, names: Sequence[str], units: nn.ModuleList) -> None:
        super().__init__()
        self.left = list(zip(names, units, strict=True))[::-1]
        self.called: list[str] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        name = called(func)
        if name not in _ROUTED:
            return func(*args, **options)
        self.called.append(name)
        expected, unit = self.left.pop() if self.left else ("", None)
        if unit is None or name != expected:
            return func(*args, **options)
        values = args[0] if args else options["input"]
        if overwritten(func, args, options) is values:
            return values.copy_(unit(values.clone()))
        # A tensor of its own: hooks on it are not to see what else the values are used for.
        return unit(values.view_as(values))
