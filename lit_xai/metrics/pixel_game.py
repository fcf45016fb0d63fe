"""Switch pixels in the order of a map and watch the prediction."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torchvision.transforms.functional import gaussian_blur

from lit_xai.gate import evaluating
from lit_xai.metrics.maps import check_finite, descending_rank

Substrate = Literal["black", "blur", "mean"] | Sequence[float]

_KERNEL, _SIGMA = 11, 5.0


def pixel_rank(maps: Tensor) -> Tensor:
    """Return the place of each pixel in the order of a map, ties by lowest flat index.

    Args:
        maps: (N, H, W), one order for all channels; or (N, C, H, W), where every channel is ranked by itself
            and a pixel comes with its first channel, so that up to C pixels share a place.

    Returns:
        Places from 0, (N, H, W), int32.
    """
    if maps.ndim == 3:
        return descending_rank(maps).int()
    return descending_rank(maps.flatten(0, 1)).view(maps.shape).amin(dim=1).int()


def removed(image: Tensor, substrate: Substrate) -> Tensor:
    """Return what stands where pixels are missing.

    Args:
        image: Pixels in [0, 1], (N, C, H, W).
        substrate: `black`; `blur`, a Gaussian of 11 x 11 pixels and standard deviation 5, the image mirrored
            at its border; `mean`, each channel's mean over the image; or one value in [0, 1] a channel.

    Returns:
        Pixels, (N, C, H, W).

    Raises:
        ValueError: If the values are not one for each channel, or the image is too small to be mirrored.
    """
    if substrate == "black":
        return torch.zeros_like(image)
    if substrate == "mean":
        color: Tensor = image.mean(dim=(2, 3), keepdim=True)
        return color.expand_as(image)
    if substrate == "blur":
        if min(image.shape[2:]) <= _KERNEL // 2:
            least, size = _KERNEL // 2 + 1, tuple(image.shape[2:])
            raise ValueError(f"Expected images of at least {least} x {least} pixels to blur, but got {size}.")
        blurred: Tensor = gaussian_blur(image, [_KERNEL, _KERNEL], [_SIGMA, _SIGMA])
        return blurred
    if len(substrate) != image.shape[1]:
        raise ValueError(
            f"Expected `substrate` as black, blur, mean or {image.shape[1]} values, but got {substrate}."
        )
    return image.new_tensor(substrate).view(1, -1, 1, 1).expand_as(image)


@dataclass(frozen=True)
class PixelGame:
    """The rules that insertion and deletion share.

    Args:
        step_size: Pixels switched at a time; as many as a row has if None.
        substrate: What stands where pixels are missing, as in `removed`.
        max_batch: Images in flight in one forward pass.
        insert: Whether pixels appear; otherwise they vanish.

    Raises:
        ValueError: If an option is out of its range.
    """

    step_size: int | None = None
    substrate: Substrate = "black"
    max_batch: int = 512
    insert: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        for name, value in {"step_size": self.step_size, "max_batch": self.max_batch}.items():
            if value is not None and value < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {value}.")
        if not isinstance(self.substrate, str):
            # From a file it comes as a list, which has no hash.
            object.__setattr__(self, "substrate", tuple(self.substrate))
        named = isinstance(self.substrate, str) and self.substrate in ("black", "blur", "mean")
        colored = isinstance(self.substrate, tuple) and all(0 <= value <= 1 for value in self.substrate)
        if not self.substrate or not (named or colored):
            raise ValueError(
                "Expected `substrate` as black, blur, mean or a list of values in [0, 1], "
                f"but got {self.substrate}."
            )

    def curve(self, model: nn.Module, image: Tensor, maps: Tensor, target: Tensor) -> Tensor:
        """Return the class's probability before the first step and after each, (N, steps + 1).

        Raises:
            ValueError: If the tensors do not fit each other, or a map or a probability is not finite.
        """
        _check_fit(image, maps, target)
        check_finite(maps)
        pixels = maps.shape[-2] * maps.shape[-1]
        step = min(self.step_size or maps.shape[-1], pixels)
        stops = torch.arange(-(-pixels // step) + 1, device=image.device, dtype=torch.int32) * step
        rank, absent = pixel_rank(maps)[:, None], removed(image, self.substrate)
        shown, hidden = (image, absent) if self.insert else (absent, image)
        rows = torch.arange(len(image), device=image.device).repeat_interleave(len(stops))
        limits = stops.repeat(len(image)).view(-1, 1, 1, 1)
        probability = []
        with evaluating(model), torch.no_grad():
            for row, limit in zip(rows.split(self.max_batch), limits.split(self.max_batch), strict=True):
                # Nothing but the composed images lives on during the forward pass.
                logits = model(torch.where(rank[row] < limit, shown[row], hidden[row]))
                probability.append(logits.softmax(dim=1).gather(1, target[row, None]).squeeze(1))
        curve = torch.cat(probability).view(len(image), len(stops))
        check_finite(curve, what="probabilities")
        return curve

    def area(self, model: nn.Module, image: Tensor, maps: Tensor, target: Tensor) -> Tensor:
        """Return the area under the curve by the trapezoid rule, every step as wide, (N,), float64."""
        curve = self.curve(model, image, maps, target).double()
        return torch.trapezoid(curve, dx=1 / (curve.shape[1] - 1), dim=1)


def _check_fit(image: Tensor, maps: Tensor, target: Tensor) -> None:
    if target.shape != (len(image),):
        raise ValueError(f"Expected {len(image)} classes in `target`, but got shape {tuple(target.shape)}.")
    if maps.ndim not in (3, 4) or (len(maps), *maps.shape[-2:]) != (len(image), *image.shape[2:]):
        raise ValueError(
            f"Expected maps (N, H, W) or (N, C, H, W) for images {tuple(image.shape)}, "
            f"but got {tuple(maps.shape)}."
        )
