"""Enter and leave the state in which a network is explained or attacked."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.modules.batchnorm import _NormBase

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
def explaining(model: nn.Module) -> Iterator[nn.Module]:
    """Put a network into the one state in which it is explained, and restore it after.

    Inside, every module is in evaluation mode, autocast and TensorFloat-32 are off (explanations in lower
    precision differ as if attacked), attention uses the kernel that has a second derivative, and
    `torch.compile` is ignored, since it has none. Batch norm uses its running statistics and leaves them as
    they are; SyncBatchNorm is ordinary batch norm then, second derivative included.

    Args:
        model: Any network, its parameters in single precision at least.

    Yields:
        The same network.

    Raises:
        TypeError: If a parameter is in half precision.
    """
    modes = [(module, module.training) for module in model.modules()]
    devices = {"cpu"}
    for parameter in model.parameters():
        devices.add(parameter.device.type)
        if parameter.dtype in (torch.bfloat16, torch.float16):
            raise TypeError(
                f"Expected parameters in single precision or more, but got {parameter.dtype}. Use bf16-mixed."
            )
    try:
        model.eval()
        with (
            _no_autocast(devices),
            _no_tensor_float(),
            sdpa_kernel(SDPBackend.MATH),
            torch.compiler.set_stance("force_eager"),
        ):
            yield model
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """Put a network into the state in which explanations are compared, and restore it after.

    As `explaining`, and no parameter requires a gradient.

    Args:
        model: Any network, its parameters in single precision at least.

    Yields:
        The same network.

    Raises:
        TypeError: If a parameter is in half precision.
    """
    frozen = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        with explaining(model):
            for parameter, _ in frozen:
                parameter.requires_grad_(False)  # noqa: FBT003
            yield model
    finally:
        for parameter, requires_grad in frozen:
            parameter.requires_grad_(requires_grad)


@contextmanager
def keeping_statistics(model: nn.Module) -> Iterator[nn.Module]:
    """Let batch norm in training mode use a batch's statistics without adding them to the running ones.

    A training step passes the network several times; only one of the passes is to be remembered.

    Args:
        model: Any network.

    Yields:
        The same network.
    """
    before = [
        (module, module.momentum, module.num_batches_tracked, module.num_batches_tracked.clone())
        for module in model.modules()
        if isinstance(module, _NormBase) and module.training and module.num_batches_tracked is not None
    ]
    try:
        for module, *_ in before:
            module.momentum = 0.0
        yield model
    finally:
        for module, momentum, batches, count in before:
            module.momentum = momentum
            batches.copy_(count)


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
