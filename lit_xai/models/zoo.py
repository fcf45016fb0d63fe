"""Networks of timm and torchvision by name, behind the normalisation that they were made for."""

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import timm
import torchvision
from torch import Tensor, nn

from lit_xai.models.normalized import Normalized
from lit_xai.models.weights import load_weights

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# The released weights expect this, and torchvision sets it along with them only.
_RELEASED = {"transform_input": True, "init_weights": True}
_OPTIONS = {"googlenet": _RELEASED, "inception_v3": _RELEASED}


class TimmClassifier(nn.Module):
    """A network of timm (Wightman, 2019) that takes pixels; nothing is ever downloaded.

    Mean and deviation are those that timm names for the network's released weights.

    Args:
        name: As timm has it, with the tag of the weights or without: `resnet18`, `resnet18.a1_in1k`.
        num_classes: Number of classes; as many as the released weights have if None.
        channels: Of the images. For any number but 3, each is normalised by the mean over timm's three.
        weights: File of weights, of this class or as timm publishes them; drawn at random if None. To train
            from a file, name it as `warm_start` of the classifier: then checkpoints do not need it.

    Raises:
        FileNotFoundError: If there is no such file of weights.
        ValueError: If timm has no such network or cannot build it so, or if the weights are not its own.
    """

    def __init__(
        self, name: str, num_classes: int | None = None, channels: int = 3, weights: Path | None = None
    ) -> None:
        super().__init__()
        _check_sizes({"num_classes": num_classes, "channels": channels})
        # A name with a source, `hf-hub:...`, would be fetched; it is none of those known here.
        if not timm.is_model(name):
            raise _unknown("timm", name, timm.list_models())
        # Not every network takes channels; None leaves the option out.
        options: dict[str, Any] = {
            "num_classes": num_classes,
            "in_chans": None if channels == 3 else channels,
        }
        try:
            network: Any = timm.create_model(name, pretrained=False, **options)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"Expected a network that timm builds, but got {name}: {' '.join(str(error).split())}"
            ) from error
        mean = _for_channels(network.pretrained_cfg.get("mean") or _IMAGENET_MEAN, channels)
        std = _for_channels(network.pretrained_cfg.get("std") or _IMAGENET_STD, channels)
        self.network = Normalized(network, mean, std)
        if weights is not None:
            load_weights(self, Path(weights))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        logits: Tensor = self.network(image)
        return logits


class TorchvisionClassifier(nn.Module):
    """A classifier of torchvision that takes pixels; nothing is ever downloaded.

    Mean and deviation are those of the transform that belongs to the network's released weights. The
    auxiliary outputs that GoogLeNet and Inception have while training are left out.

    Args:
        name: As torchvision has it: `resnet18`.
        num_classes: Number of classes; as many as the released weights have if None.
        weights: File of weights, of this class or as torchvision publishes them; drawn at random if None. To
            train from a file, name it as `warm_start` of the classifier: then checkpoints do not need it.

    Raises:
        FileNotFoundError: If there is no such file of weights.
        ValueError: If torchvision has no such classifier, or if the weights are not its own.
    """

    def __init__(self, name: str, num_classes: int | None = None, weights: Path | None = None) -> None:
        super().__init__()
        _check_sizes({"num_classes": num_classes})
        known = torchvision.models.list_models(module=torchvision.models)
        if name not in known:
            raise _unknown("torchvision", name, known)
        options: dict[str, Any] = dict(_OPTIONS.get(name, {}))
        if num_classes is not None:
            options["num_classes"] = num_classes
        network = torchvision.models.get_model(name, weights=None, **options)
        transform = torchvision.models.get_model_weights(name).DEFAULT.transforms()
        mean = getattr(transform, "mean", _IMAGENET_MEAN)
        self.network = Normalized(network, mean, getattr(transform, "std", _IMAGENET_STD))
        if weights is not None:
            load_weights(self, Path(weights))

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, 3, H, W)."""
        output: Any = self.network(image)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits


def _check_sizes(sizes: Mapping[str, int | None]) -> None:
    for name, size in sizes.items():
        if size is not None and size < 1:
            raise ValueError(f"Expected `{name}` of at least 1, but got {size}.")


def _unknown(library: str, name: str, known: Iterable[str]) -> ValueError:
    close = get_close_matches(name, list(known), n=3)
    remedy = f" Did you mean {' or '.join(close)}?" if close else ""
    return ValueError(f"Expected the `name` of a classifier in {library}, but got {name}.{remedy}")


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels
