"""The pixel domain [0, 1]: the only place that checks and clamps pixels."""

import torch
from torch import Tensor

from lit_xai.types import Batch


def check_pixels(image: Tensor) -> None:
    """Refuse anything but a batch of finite pixels in [0, 1].

    Args:
        image: Pixels, (N, C, H, W).

    Raises:
        TypeError: If the pixels are not of a floating type.
        ValueError: If the shape is not (N, C, H, W), or a pixel is outside [0, 1] or NaN.
    """
    if not image.is_floating_point():
        raise TypeError(
            f"Expected floating pixels in [0, 1], but got {image.dtype}. Divide 8-bit pixels by 255."
        )
    if image.ndim != 4:
        raise ValueError(f"Expected images of shape (N, C, H, W), but got {tuple(image.shape)}.")
    if image.numel() and not bool(((image >= 0) & (image <= 1)).all()):
        low, high = image.min().item(), image.max().item()
        raise ValueError(
            f"Expected pixels in [0, 1], but got values in [{low:.4g}, {high:.4g}]. "
            "Normalise inside the model, not in the data."
        )


def check_batch(batch: Batch, num_classes: int, split: str) -> None:
    """Refuse a batch that is not one of finite pixels in [0, 1] with labels in [0, `num_classes`).

    Args:
        batch: N images, best while they are on the CPU.
        num_classes: Number of classes.
        split: Where it is from, for the message.

    Raises:
        TypeError: If images are not floating, or labels or positions not int64.
        ValueError: If shapes do not fit, a pixel is outside [0, 1] or NaN, or a label is out of range.
    """
    image, label, sample_id = batch
    for name, numbers in {"labels": label, "positions": sample_id}.items():
        if numbers.dtype != torch.int64:
            raise TypeError(f"Expected {name} of torch.int64 in the {split} split, but got {numbers.dtype}.")
        if numbers.shape != image.shape[:1]:
            raise ValueError(
                f"Expected {name} of shape {tuple(image.shape[:1])} in the {split} split, but got "
                f"{tuple(numbers.shape)}. Each image has one."
            )
    if image.ndim != 4 or not image.is_floating_point():
        check_pixels(image)
    _check_range("pixels", image, (0, 1), batch, split, " Normalise inside the model, not in the data.")
    _check_range("labels", label, (0, num_classes - 1), batch, split, "")


def _check_range(
    name: str, values: Tensor, allowed: tuple[int, int], batch: Batch, split: str, remedy: str
) -> None:
    if not values.numel():
        return
    # NaN is the least and the greatest of any values that it is among.
    low, high = values.aminmax()
    if allowed[0] <= low.item() and high.item() <= allowed[1]:
        return
    inside = (values >= allowed[0]) & (values <= allowed[1])
    place = tuple((~inside).nonzero()[0].tolist())
    raise ValueError(
        f"Expected {name} in [{allowed[0]}, {allowed[1]}], but got {values[place].item():.9g} in sample "
        f"{batch.sample_id[place[0]].item()} of the {split} split.{remedy}"
    )


def check_eps(eps: float, name: str = "eps") -> None:
    """Refuse a radius outside (0, 1].

    Args:
        eps: The radius, in pixel units of [0, 1].
        name: The option's name, for the message.

    Raises:
        ValueError: If `eps` is not in (0, 1].
    """
    if not 0 < eps <= 1:
        raise ValueError(f"Expected `{name}` in (0, 1], but got {eps:g}. Write 8/255 as 0.0314.")


def check_share(name: str, value: float) -> None:
    """Refuse a share outside (0, 1].

    Raises:
        ValueError: If the value is not in (0, 1].
    """
    if not 0 < value <= 1:
        raise ValueError(f"Expected `{name}` in (0, 1], but got {value:g}.")


def clamp_pixels(image: Tensor) -> Tensor:
    """Return the nearest pixels in [0, 1], (N, C, H, W)."""
    return image.clamp(0.0, 1.0)


def project_linf(image: Tensor, center: Tensor, eps: float) -> Tensor:
    """Return the nearest image within `eps` of `center` in every pixel, and within [0, 1].

    Args:
        image: Any values, (N, C, H, W).
        center: Pixels in [0, 1], (N, C, H, W).
        eps: Radius, in pixel units of [0, 1].

    Returns:
        Pixels in [0, 1], (N, C, H, W).

    Example:
        >>> import torch
        >>> project_linf(torch.full((1, 1, 1, 2), 0.9), torch.tensor([0.5, 1.0]).view(1, 1, 1, 2), eps=0.25)
        tensor([[[[0.7500, 0.9000]]]])
    """
    return clamp_pixels(image.clamp(center - eps, center + eps))


def project_l2(image: Tensor, center: Tensor, eps: float) -> Tensor:
    """Return an image within Euclidean distance `eps` of `center`, and within [0, 1].

    The difference is scaled back to the sphere, then clamped. Both sets are convex and contain the centre, so
    the result is in both of them.

    Args:
        image: Any values, (N, C, H, W).
        center: Pixels in [0, 1], (N, C, H, W).
        eps: Radius, in pixel units of [0, 1], over all pixels of one image.

    Returns:
        Pixels in [0, 1], (N, C, H, W).
    """
    difference = image - center
    norm = difference.flatten(1).norm(dim=1).clamp_min(1e-12).view(-1, 1, 1, 1)
    scale: Tensor = (eps / norm).clamp_max(1.0)
    return clamp_pixels(center + difference * scale)
