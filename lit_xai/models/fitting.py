"""Whether a network and the images belong together, and whether its weights are numbers."""

from collections.abc import Collection, Mapping

import torch
from torch import Tensor, nn

from lit_xai.domain import check_pixels
from lit_xai.gate import evaluating, on_network
from lit_xai.types import Batch


def check_fits(
    network: nn.Module, image: Tensor, num_classes: int, name: str, *, exactly: bool = False
) -> None:
    """Refuse a network that does not take the images or has no logit for one of their classes.

    Args:
        network: Maps pixels in [0, 1], (N, C, H, W), to logits, (N, K).
        image: One of the images: pixels in [0, 1], (C, H, W).
        num_classes: Number of classes.
        name: Of the network, for the message.
        exactly: Whether a logit that belongs to no class is refused too.

    Raises:
        TypeError: If the pixels are not of a floating type.
        ValueError: If it does not, or a pixel is outside [0, 1] or NaN.
    """
    # One image tells whether a data set is normalised; batches are checked one by one.
    check_pixels(image[None])
    nothing = torch.zeros(1, dtype=torch.long)
    try:
        with torch.no_grad(), evaluating(network):
            logits = network(on_network(network, Batch(image[None], nothing, nothing)).image)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected networks that take images {tuple(image.shape)}, but got {name}: {reason[:200]}"
        ) from error
    if logits.ndim != 2 or logits.shape[1] < num_classes or (exactly and logits.shape[1] > num_classes):
        raise ValueError(
            f"Expected networks of {'' if exactly else 'at least '}{num_classes} classes, but got {name}, "
            f"whose logits are {tuple(logits.shape[1:])}. Set its `num_classes` to {num_classes}."
        )


def check_weights(network: nn.Module, where: str, remedy: str = "") -> None:
    """Refuse a network that holds NaN, or parameters that are infinite.

    Args:
        network: Any network.
        where: The weights are from, for the message: `in weights.pt`.
        remedy: What to do, for the message.

    Raises:
        ValueError: If a parameter is not finite, or a buffer has a NaN.
    """
    names = {name for name, _ in network.named_parameters(remove_duplicate=False)}
    check_finite(network.state_dict(), names, where, remedy)


def check_finite(weights: Mapping[str, object], parameters: Collection[str], where: str, remedy: str) -> None:
    """Do as `check_weights` for a `state_dict`.

    Args:
        weights: Tensors by name; anything else is left alone.
        parameters: Names of those that are parameters. A buffer may hold infinities, such as a mask.
        where: The weights are from, for the message.
        remedy: What to do, for the message.

    Raises:
        ValueError: If a parameter is not finite, or a buffer has a NaN.
    """
    for name, value in weights.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            continue
        wrong = value.isfinite().logical_not() if name in parameters else value.isnan()
        if wrong.any():
            found = value[wrong][0].item()
            raise ValueError(
                f"Expected finite weights {where}, but got {found} in `{name}`. {remedy}".rstrip()
            )
