"""Enter and leave the state in which a network is explained or attacked."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_xai.types import Batch


@contextmanager
def measuring() -> Iterator[None]:
    """Leave inference mode and enable gradients, locally.

    Tensors made in inference mode stay unusable by autograd: clone them inside.
    """
    with torch.inference_mode(mode=False), torch.enable_grad():
        yield


def on_network(model: nn.Module, batch: Batch) -> Batch:
    """Return a copy of a batch on the network's device, its pixels in the network's precision."""
    weight = next(chain(model.parameters(), model.buffers()), batch.image)
    image, label, sample_id = batch
    return Batch(
        image.detach().to(weight, copy=True),
        label.to(weight.device, copy=True),
        sample_id.to(weight.device, copy=True),
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a network into the one state in which explanations are compared, and restore it after.

    Inside, every module is in evaluation mode, no parameter requires a gradient, autocast and TensorFloat-32
    are off (explanations in lower precision differ as if attacked) and attention uses the kernel that has a
    second derivative.

    Args:
        model: Any network, its parameters in single precision at least.

    Yields:
        The same network.

    Raises:
        TypeError: If a parameter is in half precision.
    """
    modes = [(module, module.training) for module in model.modules()]
    frozen = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    for parameter, _ in frozen:
        if parameter.dtype in (torch.bfloat16, torch.float16):
            raise TypeError(
                f"Expected parameters in single precision or more, but got {parameter.dtype}. Use bf16-mixed."
            )
    devices = {parameter.device.type for parameter, _ in frozen} | {"cpu"}
    try:
        model.eval()
        for parameter, _ in frozen:
            parameter.requires_grad_(False)  # noqa: FBT003
        with _no_autocast(devices), _no_tensor_float(), sdpa_kernel(SDPBackend.MATH):
            yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in frozen:
            parameter.requires_grad_(requires_grad)


@contextmanager
def _no_tensor_float() -> Iterator[None]:
    convolution = torch.backends.cudnn.conv  # type: ignore[attr-defined]
    backends = (convolution, torch.backends.cuda.matmul)
    before = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, before, strict=True):
            backend.fp32_precision = precision


@contextmanager
def _no_autocast(devices: set[str]) -> Iterator[None]:
    if not devices:
        yield
        return
    first, *rest = sorted(devices)
    with torch.autocast(first, enabled=False), _no_autocast(set(rest)):
        yield
