"""How alike two images, or two maps, look."""

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import Reduce, check_pair, check_reduce, map_pair
from lit_xai.noise import Noise
from lit_xai.types import AttackResult

Border = Literal["mirror", "cut"]
Scale = Literal["min_max", "max"]

_MARGIN, _SIGMA = 5, 1.5
_C1, _C2 = 0.01**2, 0.03**2


def ssim(first: Tensor, second: Tensor, *, border: Border = "mirror") -> Tensor:
    """Return the structural similarity of images (Wang et al., 2004).

    Gaussian window of 11 x 11 pixels and standard deviation 1.5, k1 = 0.01, k2 = 0.03, data range 1.

    Args:
        first: Values in [0, 1], (N, C, H, W).
        second: Values in [0, 1], (N, C, H, W).
        border: `cut` averages over the windows inside the image, as the authors do; `mirror` over every
            pixel, the image mirrored at its border.

    Returns:
        Similarities in [-1, 1], (N,), float64.

    Raises:
        ValueError: If the shapes differ, a value is not finite, or the images have fewer than 6 rows or
            columns (11 for `cut`).
    """
    check_pair(first, second)
    if first.ndim != 4:
        raise ValueError(f"Expected images of shape (N, C, H, W), but got {tuple(first.shape)}.")
    check_border(border)
    least = _MARGIN + 1 if border == "mirror" else 2 * _MARGIN + 1
    if min(first.shape[2:]) < least:
        raise ValueError(
            f"Expected at least {least} x {least} pixels for SSIM with `border` {border}, "
            f"but got {tuple(first.shape[2:])}."
        )
    # In double precision: the variances are differences of squares.
    p, q = first.double(), second.double()
    if border == "mirror":
        p, q = (functional.pad(image, [_MARGIN] * 4, mode="reflect") for image in (p, q))
    mean_p, mean_q = _windowed(p), _windowed(q)
    variances = (_windowed(p * p) - mean_p**2).clamp_min(0) + (_windowed(q * q) - mean_q**2).clamp_min(0)
    covariance = _windowed(p * q) - mean_p * mean_q
    luminance = (2 * mean_p * mean_q + _C1) / (mean_p**2 + mean_q**2 + _C1)
    similarity = luminance * (2 * covariance + _C2) / (variances + _C2)
    return similarity.flatten(1).mean(dim=1).clamp(-1.0, 1.0)


def _windowed(image: Tensor) -> Tensor:
    """Return Gaussian means over the windows inside an image, one axis after the other."""
    offset = torch.arange(-_MARGIN, _MARGIN + 1, dtype=torch.float64)
    weights = torch.exp(-offset.square() / (2 * _SIGMA**2))
    for axis in (2, 3):
        length = image.shape[axis] - 2 * _MARGIN
        total = torch.zeros_like(image.narrow(axis, 0, length))
        for start, share in enumerate((weights / weights.sum()).tolist()):
            total.add_(image.narrow(axis, start, length), alpha=share)
        image = total
    return image


def map_ssim(first: Tensor, second: Tensor, *, scale: Scale = "min_max", border: Border = "mirror") -> Tensor:
    """Return the structural similarity of maps, each scaled to [0, 1] by itself.

    Unscaled, SSIM calls any two maps of small values alike.

    Args:
        first: Maps, (N, H, W).
        second: Maps, (N, H, W).
        scale: `min_max` takes the smallest value to 0 and the largest to 1, `max` keeps 0 where it is and is
            for maps without negative values. A constant map stays flat.
        border: As in `ssim`.

    Returns:
        Similarities in [-1, 1], (N,), float64.

    Raises:
        ValueError: As `ssim`, or if `scale` is unknown, or `max` and a value is negative.
    """
    check_pair(first, second)
    return ssim(_scaled(first, scale)[:, None], _scaled(second, scale)[:, None], border=border)


def _scaled(maps: Tensor, scale: Scale) -> Tensor:
    if scale not in get_args(Scale):
        raise ValueError(f"Expected `scale` as min_max or max, but got {scale}.")
    if not len(maps):
        return maps
    values = maps.double()
    if scale == "min_max":
        values = values - values.amin(dim=(1, 2), keepdim=True)
    if bool((values < 0).any()):
        raise ValueError("Expected maps without negative values for `scale` max. Use min_max.")
    size = values.amax(dim=(1, 2), keepdim=True)
    return values / size.masked_fill(size == 0, 1.0)


def check_border(border: str) -> None:
    """Refuse an unknown border.

    Raises:
        ValueError: If `border` is neither mirror nor cut.
    """
    if border not in get_args(Border):
        raise ValueError(f"Expected `border` as mirror or cut, but got {border}.")


class ImageSSIM(SampleMetric):
    """Mean structural similarity of the clean and the attacked image (Wang et al., 2004).

    Args:
        border: `mirror` averages over every pixel, the image mirrored at its border; `cut` over the windows
            inside the image, as the authors do.

    Raises:
        ValueError: If `border` is unknown, or an image has fewer than 6 rows or columns (11 for `cut`).
    """

    higher_is_better = True

    def __init__(self, border: Border = "mirror") -> None:
        super().__init__()
        check_border(border)
        self.border = border

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return ssim(result.image, result.image_adv, border=self.border)


class MapSSIM(SampleMetric):
    """Mean structural similarity of the maps before and after an attack (Dombrowski et al., 2019).

    The paper (arXiv 1906.07983) does not say how its maps are scaled.

    Args:
        reduce: From channels to pixels, as in `pixel_map`.
        scale: `min_max` scales each map to [0, 1], `max` divides it by its largest value, as in `map_ssim`.
        border: As in `ImageSSIM`.

    Raises:
        ValueError: If an option is unknown, `max` meets signed maps, or a map is too small.
    """

    higher_is_better = True
    compares_maps = True

    def __init__(
        self, reduce: Reduce = "abs_sum", *, scale: Scale = "min_max", border: Border = "mirror"
    ) -> None:
        super().__init__()
        check_reduce(reduce)
        check_border(border)
        if scale not in get_args(Scale) or (scale == "max" and reduce == "sum"):
            raise ValueError(f"Expected `scale` as min_max, or max of unsigned maps, but got {scale}.")
        self.reduce = reduce
        self.scale = scale
        self.border = border

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return map_ssim(*map_pair(result, self.reduce), scale=self.scale, border=self.border)
