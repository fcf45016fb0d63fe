"""The size, resizing and interpolation that a network's released weights were made for."""

import math
from dataclasses import dataclass
from typing import Any, Literal

import timm
import torchvision
from PIL import Image
from timm.data.config import resolve_data_config
from timm.models import PretrainedCfg
from torchvision.transforms import InterpolationMode, functional

from lit_xai.models.library import unknown_name

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]
_SHARE = 0.875


@dataclass(frozen=True)
class Preprocessing:
    """How a picture of any size becomes a square: resized, then cut out of the centre.

    Args:
        size: Height and width of the square, in pixels.
        resize: Length of the shorter side before the cut, in pixels. A side that is shorter than `size` then
            is filled with black.
        interpolation: Of the resizing, always with antialiasing but for `nearest`.
        squash: Whether both sides become `resize` pixels long, instead of the shorter one.

    Raises:
        ValueError: If a length is below 1, or the interpolation is unknown.
    """

    size: int
    resize: int
    interpolation: Interpolation = "bilinear"
    squash: bool = False

    def __post_init__(self) -> None:
        for name, length in {"size": self.size, "resize": self.resize}.items():
            if length < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {length}.")
        known = Interpolation.__args__  # type: ignore[attr-defined]
        if self.interpolation not in known:
            raise ValueError(f"Expected `interpolation` as {', '.join(known)}, but got {self.interpolation}.")

    def __call__(self, picture: Image.Image) -> Image.Image:
        """Return the square of a picture."""
        length = [self.resize] * 2 if self.squash else [self.resize]
        mode = InterpolationMode(self.interpolation)
        square: Image.Image = functional.center_crop(
            functional.resize(picture, length, mode), [self.size] * 2
        )
        return square


def resized_for(size: int, share: float = _SHARE) -> int:
    """Return the length of the shorter side of which a square in the centre is a share, in pixels."""
    return math.floor(size / share)


def share_of(size: int, resize: int) -> float:
    """Return the share, about `size / resize`, for which `resized_for` and timm return exactly `resize`."""
    share = size / resize
    while (found := resized_for(size, share)) != resize:
        share = math.nextafter(share, 0.0 if found < resize else math.inf)
    return share


def released_preprocessing(network: str) -> Preprocessing:
    """Return what belongs to a network's released weights; nothing is downloaded.

    Args:
        network: `timm/` or `torchvision/` with the name that the library has for it: `timm/resnet18.a1_in1k`.

    Raises:
        ValueError: If there is no such library or network, or its images are not square.
    """
    library, _, name = network.partition("/")
    match library:
        case "timm":
            return _of_timm(name)
        case "torchvision":
            return _of_torchvision(name)
    raise ValueError(f"Expected `network` as timm/NAME or torchvision/NAME, but got {network}.")


def _of_timm(name: str) -> Preprocessing:
    if not timm.is_model(name):
        raise _unknown("timm", name, timm.list_models())
    try:
        # None for a network that was never registered with settings.
        settings = timm.get_pretrained_cfg(name) or PretrainedCfg()
    except RuntimeError as error:
        # Of a tag; `is_model` looks at what stands before it only.
        raise _unknown(
            "timm", name, timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        ) from error
    found: dict[str, Any] = resolve_data_config(
        pretrained_cfg=settings.to_dict()  # type: ignore[no-untyped-call]
    )
    _, height, width = found["input_size"]
    if height != width or found["crop_mode"] == "border":
        raise ValueError(
            f"Expected a network of squares from the centre, but got {name}, made for {height} x {width} "
            f"pixels, cut by {found['crop_mode']}. Set `size`, `resize` and `interpolation` instead."
        )
    # timm draws one at random while it trains some networks.
    interpolation: Any = "bilinear" if found["interpolation"] == "random" else found["interpolation"]
    squash = found["crop_mode"] == "squash"
    return Preprocessing(height, resized_for(height, found["crop_pct"]), interpolation, squash)


def _of_torchvision(name: str) -> Preprocessing:
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise _unknown("torchvision", name, known)
    transform: Any = torchvision.models.get_model_weights(name).DEFAULT.transforms()
    mode: Any = InterpolationMode(transform.interpolation).value
    return Preprocessing(transform.crop_size[0], transform.resize_size[0], mode)


def _unknown(library: str, name: str, known: list[str]) -> ValueError:
    return unknown_name(f"`network` as {library}/NAME of a classifier", name, known)
