"""The softplus twin: a network with the same weights and a curved activation."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class SoftplusTwin(nn.Module):
    """A network whose rectifiers are smooth while it runs (Ghorbani et al., 2019, arXiv 1710.10547).

    Rectifier networks are piecewise linear, so their gradient maps have no gradient to attack. The twin calls
    the given network, with its own weights, and replaces each rectifier call, whether a module, a function or
    a method makes it: ReLU by softplus(x), ReLU6 by softplus(x) - softplus(x - 6) and hard tanh alike, leaky
    ReLU and PReLU of slope s by s x + (1 - s) softplus(x). A network of curved activations (GELU, SiLU) runs
    unchanged, and so does what is no rectifier by name (clamp, threshold, maximum).

    Attributes:
        smoothed: Whether a pass has replaced any rectifier.

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
        self.training = model.training
        self.beta = beta
        self.smoothed = False

    def forward(self, image: Tensor) -> Tensor:
        """Return the smooth network's logits for pixels in [0, 1], (N, K)."""
        with _Smooth(self.beta) as smooth:
            logits: Tensor = self.model(image)
        self.smoothed = self.smoothed or smooth.used
        return logits


def network_of(model: nn.Module) -> nn.Module:
    """Return the network inside a twin, or the network itself."""
    return network_of(model.model) if isinstance(model, SoftplusTwin) else model


def sharpness_of(model: nn.Module) -> float | None:
    """Return the sharpness that a twin runs its network with, None for any other network."""
    if not isinstance(model, SoftplusTwin):
        return None
    # The inner mode sees a rectifier first.
    return sharpness_of(model.model) or model.beta


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


def _prelu(beta: float, input: Tensor, weight: Tensor) -> Tensor:
    slope = weight.view(1, -1, *[1] * (input.ndim - 2)) if input.ndim > 1 else weight
    return slope * input + (1 - slope) * functional.softplus(input, beta)


_SMOOTH: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    functional.relu: _relu,
    torch.relu: _relu,
    Tensor.relu: _relu,
    functional.relu6: _relu6,
    functional.hardtanh: _hardtanh,
    functional.leaky_relu: _leaky_relu,
    functional.prelu: _prelu,
}
_SMOOTH_IN_PLACE: Mapping[Callable[..., Any], Callable[..., Tensor]] = {
    torch.relu_: _relu,
    Tensor.relu_: _relu,
    functional.hardtanh_: _hardtanh,
    functional.leaky_relu_: _leaky_relu,
}


def smooth_version(function: Callable[..., Any], beta: float) -> Callable[..., Any] | None:
    """Return the smooth version of a rectifier as PyTorch calls it, or None for any other function."""
    if function in _SMOOTH:
        return partial(_SMOOTH[function], beta)
    if function in _SMOOTH_IN_PLACE:
        return partial(_SMOOTH_IN_PLACE[function], beta, inplace=True)
    return None


class _Smooth(TorchFunctionMode):
    def __init__(self, beta: float) -> None:
        super().__init__()
        self.beta = beta
        self.used = False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        smooth = smooth_version(func, self.beta)
        self.used = self.used or smooth is not None
        return (smooth or func)(*args, **(kwargs or {}))
