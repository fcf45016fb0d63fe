"""What becomes of a network that leaves the package: names, settings and lines of code of its own library."""

import json
import tempfile
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import timm.models._hub
from torch import Tensor, nn

from lit_xai.models.library import LibraryClassifier
from lit_xai.models.preprocessing import Preprocessing, share_of
from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier

WEIGHTS = "model.safetensors"
DESCRIPTION = "network.yaml"
# Arguments of networks of a library that say where weights come from.
SOURCES = ("weights", "pretrained")
# Of the weights that timm releases, not of these.
_OTHERS = ("tag", "license", "description", "origin_url", "paper_name", "paper_ids", "notes")


class Portable(NamedTuple):
    """A network without this package.

    Args:
        library: `timm`, `torchvision`, or `lit_xai` for any class of this package or of the user's.
        weights: By the library's own names.
        config: That the library builds the network from; for timm in its own format.
        description: Class path and arguments that this package builds the network from, without weights.
        normalisation: `mean` and `std` of each channel in pixel units of [0, 1], where they stand apart.
        usage: Lines of Python that build it from a folder, `{folder}` inside double quotes, and give logits
            of `pixels`; see `lines`.
        channels: Of its images; None where no convolution says it.
        preprocessing: Of the pictures that it was trained on, if they were resized.
    """

    library: str
    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]
    description: Mapping[str, Any]
    normalisation: Mapping[str, list[float]]
    usage: str
    channels: int | None
    preprocessing: Mapping[str, Any] = MappingProxyType({})

    def lines(self, folder: str) -> str:
        """Return the lines of Python, for a path of the folder that holds it."""
        # As JSON, without its quotes: whatever a path holds, it ends no string of Python.
        return self.usage.format(folder=json.dumps(folder, ensure_ascii=False)[1:-1])


def portable(model: nn.Module, settings: Mapping[str, Any], preprocessing: Preprocessing | None) -> Portable:
    """Return a network as its library has it.

    Args:
        model: As a classifier trains it.
        settings: Class path and arguments that it was built from.
        preprocessing: Of the pictures that it was trained on, if they were resized.
    """
    # A class that is derived from one of these may do more.
    if type(model) is TimmClassifier:
        return _of_timm(model, preprocessing)
    if type(model) is TorchvisionClassifier:
        return _of_torchvision(model, preprocessing)
    derived = {_path(type(part)) for part in model.modules() if isinstance(part, LibraryClassifier)}
    description = _without_sources(settings, derived)
    pictures = _pictures(preprocessing)
    config = {**description, **({"preprocessing": pictures} if pictures else {})}
    usage = f"""\
from pathlib import Path
from lit_xai.evaluation.subjects import from_model
network = from_model("exported", Path("{{folder}}/{DESCRIPTION}")).load().eval()
logits = network(pixels)"""
    channels = _channels(model)
    return Portable("lit_xai", model.state_dict(), config, description, {}, usage, channels, pictures)


def _of_timm(model: TimmClassifier, preprocessing: Preprocessing | None) -> Portable:
    network: Any = model.network.model
    mean, std = _statistics(model)
    size = network.pretrained_cfg["input_size"][1:]
    options: dict[str, Any] = {"mean": mean, "std": std, "input_size": (model.channels, *size)}
    if preprocessing is not None:
        options |= {
            "input_size": (model.channels, preprocessing.size, preprocessing.size),
            "crop_pct": share_of(preprocessing.size, preprocessing.resize),
            "crop_mode": "squash" if preprocessing.squash else "center",
            "interpolation": preprocessing.interpolation,
        }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        timm.models._hub.save_config_for_hf(network, str(path), data_config=options)
        config = json.loads(path.read_text())
    for name in _OTHERS:
        config["pretrained_cfg"].pop(name, None)
    usage = f"""\
import timm
from torchvision.transforms.functional import normalize
network = timm.create_model("local-dir:{{folder}}", pretrained=True).eval()
logits = network(normalize(pixels, {mean}, {std}))"""
    normalisation = {"mean": mean, "std": std}
    return Portable(
        "timm",
        network.state_dict(),
        config,
        _description(model),
        normalisation,
        usage,
        model.channels,
        _pictures(preprocessing),
    )


def _of_torchvision(model: TorchvisionClassifier, preprocessing: Preprocessing | None) -> Portable:
    network = model.network.model
    mean, std = _statistics(model)
    options = {**model.options, "num_classes": model.num_classes}
    given = ", ".join(f"{name}={value}" for name, value in options.items())
    change = ""
    if model.channels != 3:
        (layer,) = model.ends().first
        name = next(name for name, module in network.named_modules() if module is layer)
        change = f'network.set_submodule("{name}", torch.nn.{layer!r})\n'
    usage = f"""\
import torch, torchvision
from safetensors.torch import load_file
from torchvision.transforms.functional import normalize
network = torchvision.models.get_model("{model.name}", weights=None, {given})
{change}network.load_state_dict(load_file("{{folder}}/{WEIGHTS}"))
logits = network.eval()(normalize(pixels, {mean}, {std}))"""
    normalisation = {"mean": mean, "std": std}
    pictures = _pictures(preprocessing)
    config = {"architecture": model.name, **options, "channels": model.channels, **normalisation}
    if pictures:
        config["preprocessing"] = pictures
    return Portable(
        "torchvision",
        network.state_dict(),
        config,
        _description(model),
        normalisation,
        usage,
        model.channels,
        pictures,
    )


def _pictures(preprocessing: Preprocessing | None) -> dict[str, Any]:
    return {} if preprocessing is None else asdict(preprocessing)


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _channels(model: nn.Module) -> int | None:
    return next((each.in_channels for each in model.modules() if isinstance(each, nn.Conv2d)), None)


def _statistics(model: LibraryClassifier) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each channel, in decimals that give the same 32 bits."""
    buffers = (model.network.mean, model.network.std)
    mean, std = ([float(str(value)) for value in buffer.flatten().numpy()] for buffer in buffers)
    return mean, std


def _description(model: LibraryClassifier) -> dict[str, Any]:
    return {
        "class_path": _path(type(model)),
        "init_args": {"name": model.name, "num_classes": model.num_classes, "channels": model.channels},
    }


def _without_sources(settings: Any, derived: Collection[str]) -> Any:
    """Leave out where networks of a library inside, or of classes derived from them, take weights from."""
    if isinstance(settings, Mapping):
        kind = str(settings.get("class_path", ""))
        library = kind in derived or kind.startswith(TimmClassifier.__module__)
        return {
            name: {
                key: _without_sources(inner, derived) for key, inner in value.items() if key not in SOURCES
            }
            if library and name == "init_args"
            else _without_sources(value, derived)
            for name, value in settings.items()
        }
    return (
        [_without_sources(value, derived) for value in settings] if isinstance(settings, list) else settings
    )
