"""The softplus twin: a network with the same weights and a curved activation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SoftplusTwin(nn.Module):
    """A network whose rectifiers are smooth while it runs (Ghorbani et al., 2019, arXiv 1710.10547).

    Rectifier networks are piecewise linear, so their gradient maps have no gradient to attack. The twin calls
    the given network, with its own weights, and replaces each rectifier call, whether a module, a function or
    a method makes it: ReLU by softplus(x), ReLU6 by softplus(x) - softplus(x - 6), leaky ReLU of slope s by s
    x + (1 - s) softplus(x). A network of curved activations (GELU, SiLU) runs unchanged.

    Args:
        model: Any network. It is neither copied nor changed.
        beta: Sharpness of the softplus, softplus(x) = log(1 + exp(beta x)) / beta; large values approach the
            rectifier.

    Raises:
        ValueError: If `beta` is not above 0.

    Example:
        >>> SoftplusTwin(nn.ReLU())(torch.zeros(1))
        tensor([0.6931])
    """

    def __init__(self, model: nn.Module, beta: float = 1.0) -> None:
        super().__init__()
        check_beta(beta)
        self.model = model
        self.beta = beta

    def forward(self, image: Tensor) -> Tensor:
        """Return the smooth network's logits for pixels in [0, 1], (N, K)."""
        with _Smooth(self.beta):
            logits: Tensor = self.model(image)
        return logits


def check_beta(beta: float) -> None:
    """Refuse a sharpness that is not above 0.

    Raises:
        ValueError: If `beta` is not above 0.
    """
    if not beta > 0:
        raise ValueError(f"Expected `beta` above 0, but got {beta:g}.")


def _write(value: Tensor, target: Tensor, inplace: bool) -> Tensor:
    return target.copy_(value) if inplace else value


def _relu(beta: float, input: Tensor, inplace: bool = False) -> Tensor:
    return _write(functional.softplus(input.clone(), beta), input, inplace)


def _hardtanh(
    beta: float, input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Tensor:
    rise = functional.softplus(input - min_val, beta) - functional.softplus(input - max_val, beta)
    return _write(min_val + rise, input, inplace)


def _relu6(beta: float, input: Tensor, inplace: bool = False) -> Tensor:
    return _hardtanh(beta, input, 0.0, 6.0, inplace)


def _leaky_relu(beta: float, input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    line = negative_slope * input
    return _write(line + (1 - negative_slope) * functional.softplus(input.clone(), beta), input, inplace)


_SMOOTH: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    functional.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
    functional.leaky_relu: _leaky_relu,
}
_SMOOTH_IN_PLACE: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    torch.relu_: _relu,
    Tensor.relu_: _relu,
    functional.hardtanh_: _hardtanh,
    functional.leaky_relu_: _leaky_relu,
}


class _Smooth(TorchFunctionMode):
    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = dict(kwargs or {})
        if func in _SMOOTH:
            return _SMOOTH[func](self.beta, *args, **options)
        if func in _SMOOTH_IN_PLACE:
            return _SMOOTH_IN_PLACE[func](self.beta, *args, **options, inplace=True)
        return func(*args, **options)
