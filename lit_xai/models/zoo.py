"""Networks of timm and torchvision by name, behind the normalisation that they were made for."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import timm
import torchvision
from timm.models import adapt_input_conv, set_pretrained_check_hash
from torch import Tensor, nn

from lit_xai.models.adapting import Ends
from lit_xai.models.library import LibraryClassifier, unknown_name
from lit_xai.models.normalized import Normalized

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_CHANNELS = 3
# The released weights expect this, and torchvision sets it along with them only.
_RELEASED = {"transform_input": True, "init_weights": True}
_OPTIONS = {"googlenet": _RELEASED, "inception_v3": _RELEASED}


class TimmClassifier(LibraryClassifier):
    """A network of timm (Wightman, 2019) that takes pixels; nothing is downloaded unless asked for.

    Mean and deviation are those that timm names for the network's released weights. Attention uses the kernel
    that has a second derivative. Weights of another number of classes or of three channels are adapted, and a
    line says so: the head is drawn at random, the first convolution is made of theirs. A classifier that is
    read back from its checkpoint needs neither the file nor the internet.

    Args:
        name: As timm has it, with the tag of the weights or without: `resnet18`, `resnet18.a1_in1k`.
        num_classes: Number of classes. If None, as many as the weights have; as many as the data have where
            it is trained.
        channels: Of the images. For any number but 3, each is normalised by the mean over timm's three.
        weights: File of weights, of this class or as timm publishes them; drawn at random if None.
        pretrained: Whether to download the weights that timm releases, or take them from its cache.

    Raises:
        FileNotFoundError: If there is no such file of weights.
        OSError: If weights cannot be downloaded.
        ValueError: If timm has no such network or cannot build it so, or if the weights are not its own.
    """

    library: ClassVar[str] = "timm"

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        channels: int = 3,
        weights: Path | None = None,
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__(name, num_classes, channels, weights, pretrained=pretrained)

    def built(self, num_classes: int | None) -> Normalized:
        # A name with a source, `hf-hub:...`, would be fetched; it is none of those known here.
        if not timm.is_model(self.name):
            raise unknown_name("the `name` of a classifier in timm", self.name, timm.list_models())
        # Not every network takes channels; None leaves the option out.
        options: dict[str, Any] = {
            "num_classes": num_classes,
            "in_chans": None if self.channels == _CHANNELS else self.channels,
        }
        try:
            network: Any = timm.create_model(self.name, pretrained=False, **options)
        except (RuntimeError, TypeError) as error:
            raise ValueError(
                f"Expected a network that timm builds, but got {self.name}: {' '.join(str(error).split())}"
            ) from error
        mean = _for_channels(network.pretrained_cfg.get("mean") or _IMAGENET_MEAN, self.channels)
        std = _for_channels(network.pretrained_cfg.get("std") or _IMAGENET_STD, self.channels)
        return Normalized(network, mean, std)

    def fetched(self) -> Mapping[str, Tensor]:
        # Where the name of the file has a hash.
        set_pretrained_check_hash(enable=True)
        network: nn.Module = timm.create_model(self.name, pretrained=True)
        return network.state_dict()

    def ends(self) -> Ends:
        settings: Any = self.network.model.pretrained_cfg
        layers = dict(self.network.model.named_modules(remove_duplicate=False))
        # Of some encoders timm names the head of the whole network.
        heads = [layers[name] for name in _listed(settings.get("classifier")) if name in layers]
        first = [layers.get(name) for name in _listed(settings.get("first_conv"))]
        return Ends(heads, [layer for layer in first if isinstance(layer, nn.Conv2d)], self.channels)


class TorchvisionClassifier(LibraryClassifier):
    """A classifier of torchvision that takes pixels; nothing is downloaded unless asked for.

    Mean and deviation are those of the transform that belongs to the network's released weights. The
    auxiliary outputs that GoogLeNet and Inception have while training are left out, and what they are made of
    is frozen: no loss reaches it. It is kept, so that weights have torchvision's names. Attention uses the
    kernel that has a second derivative. Weights of another number of classes or of three channels are
    adapted, and a line says so: the head is drawn at random, the first convolution is made of theirs. A
    classifier that is read back from its checkpoint needs neither the file nor the internet.

    Args:
        name: As torchvision has it: `resnet18`.
        num_classes: Number of classes. If None, as many as the weights have; as many as the data have where
            it is trained.
        weights: File of weights, of this class or as torchvision publishes them; drawn at random if None.
        channels: Of the images. For any number but 3, each is normalised by the mean over the three, and the
            first convolution is that of three channels, adapted.
        pretrained: Whether to download the weights that torchvision releases (its `DEFAULT`), or take them
            from its cache.

    Raises:
        FileNotFoundError: If there is no such file of weights.
        OSError: If weights cannot be downloaded.
        ValueError: If torchvision has no such classifier, or if the weights are not its own.
    """

    library: ClassVar[str] = "torchvision"

    def __init__(
        self,
        name: str,
        num_classes: int | None = None,
        weights: Path | None = None,
        channels: int = 3,
        *,
        pretrained: bool = False,
    ) -> None:
        super().__init__(name, num_classes, channels, weights, pretrained=pretrained)

    @property
    def options(self) -> dict[str, Any]:
        """What torchvision builds the network with, but for the number of classes."""
        options = dict(_OPTIONS.get(self.name, {}))
        # Images are rescaled for three channels only, from ImageNet's statistics to halves.
        return options | {"transform_input": False} if options and self.channels != _CHANNELS else options

    def built(self, num_classes: int | None) -> Normalized:
        known = torchvision.models.list_models(module=torchvision.models)
        if self.name not in known:
            raise unknown_name("the `name` of a classifier in torchvision", self.name, known)
        options = self.options if num_classes is None else {**self.options, "num_classes": num_classes}
        network = torchvision.models.get_model(self.name, weights=None, **options)
        transform = torchvision.models.get_model_weights(self.name).DEFAULT.transforms()
        mean = getattr(transform, "mean", _IMAGENET_MEAN)
        std = getattr(transform, "std", _IMAGENET_STD)
        for branch in _auxiliary(network):
            # A parameter that learns and gets no gradient would stop training in several processes.
            branch.requires_grad_(requires_grad=False)
        if self.channels != _CHANNELS:
            _take_channels(network, self.channels)
            if self.options:
                mean = std = (0.5,)
        return Normalized(network, _for_channels(mean, self.channels), _for_channels(std, self.channels))

    def fetched(self) -> Mapping[str, Tensor]:
        released = torchvision.models.get_model_weights(self.name).DEFAULT
        weights: Mapping[str, Tensor] = released.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
        return weights

    def ends(self) -> Ends:
        network = self.network.model
        # Auxiliary outputs have heads of their own; the network's is its last layer.
        heads = [layers[-1] for layers in map(_layers, [*_auxiliary(network), network]) if layers]
        first = [layer for layer in _layers(network) if isinstance(layer, nn.Conv2d)]
        return Ends(heads, first[:1], self.channels)


def _auxiliary(network: nn.Module) -> list[nn.Module]:
    return [child for name, child in network.named_children() if name.lower().startswith("aux")]


def _layers(network: nn.Module) -> list[nn.Module]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]


def _take_channels(network: nn.Module, channels: int) -> None:
    """Replace the first convolution, which torchvision makes for three channels."""
    name, before = next(
        (name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)
    )
    layer = nn.Conv2d(
        channels,
        before.out_channels,
        before.kernel_size,  # type: ignore[arg-type]
        before.stride,  # type: ignore[arg-type]
        before.padding,  # type: ignore[arg-type]
        bias=before.bias is not None,
    )
    layer.load_state_dict(
        {**before.state_dict(), "weight": adapt_input_conv(channels, before.weight.detach())}
    )
    network.set_submodule(name, layer)


def _for_channels(values: Sequence[float], channels: int) -> tuple[float, ...]:
    return tuple(values) if len(values) == channels else (sum(values) / len(values),) * channels


def _listed(names: str | Sequence[str] | None) -> list[str]:
    return [names] if isinstance(names, str) else list(names or [])
