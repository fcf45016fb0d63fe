"""The way back for iterates that have lost the prediction."""

import torch
from torch import Tensor, nn

from lit_xai.ascent import slope


def margin(logits: Tensor, target: Tensor) -> Tensor:
    """Return by how much a class's logit exceeds the largest other one.

    Args:
        logits: (N, K), at least two classes.
        target: Class indices, (N,), int64.

    Returns:
        Above 0 where the class is predicted, (N,).
    """
    own = logits.gather(1, target[:, None]).squeeze(1)
    return own - logits.scatter(1, target[:, None], -torch.inf).amax(dim=1)


def recovered(
    model: nn.Module, point: Tensor, target: Tensor, value: Tensor, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Put the margin's gradient, and a value below any other, where the prediction is lost.

    One forward pass of all iterates, and a forward and a backward pass of those that are lost.

    Args:
        model: The true network.
        point: Iterates, pixels in [0, 1], (n, C, H, W).
        target: Classes predicted for the clean images, (n,), int64.
        value: The objective at the iterates, (n,).
        gradient: Its gradient there, (n, C, H, W).

    Returns:
        Values, (n,), and gradients, (n, C, H, W); those given are not changed.
    """
    with torch.no_grad():
        lost = (model(point).argmax(dim=1) != target).nonzero().squeeze(1)
    if not len(lost):
        return value, gradient
    _, back = slope(lambda images: margin(model(images), target[lost]), point[lost])
    value, gradient = value.clone(), gradient.clone()
    value[lost], gradient[lost] = -torch.inf, back
    return value, gradient
