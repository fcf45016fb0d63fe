"""Explain eight untrained networks with every method, and say what came of it.

python scripts/networks.py    writes results/networks/results.csv and the tables of docs/attributions.md
"""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pandas as pd
import torch
import yaml
from scipy.stats import spearmanr
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, input_gradient
from lit_xai.evaluation.table import insert
from lit_xai.gate import evaluating
from lit_xai.metrics.maps import pixel_map
from lit_xai.models.small import SmallCNN
from lit_xai.noise import Noise
from lit_xai.types import Batch

FRAGMENTS = ROOT / "configs" / "attributions"
RESULTS = ROOT / "results" / "networks" / "results.csv"
PAGE = ROOT / "docs" / "attributions.md"
CLASSES = 10
SAMPLES = 4
# They know nothing of the network.
CONTROLS = {"constant_map", "random_map"}
# What makes methods dear. A method takes those that it has an option for.
CHEAP = {
    "path_steps": 4,
    "samples": 4,
    "steps": 2,
    "classes": 3,
    "references": 2,
    "scales": 3,
}


@dataclass(frozen=True)
class Network:
    """A network and the images it is measured on.

    Attributes:
        build: Returns the network, untrained.
        shape: Of an image, (C, H, W).
    """

    build: Callable[[], nn.Module]
    shape: tuple[int, int, int] = (3, 64, 64)


@dataclass(frozen=True)
class Row:
    """What came of one method on one network. Without a map, all but the first four are None.

    Attributes:
        method: Name of the class.
        network: A key of `networks`.
        outcome: `runs` or `refused`.
        message: Of the refusal.
        rank_correlation: With the plain gradient, magnitudes summed over channels: Spearman's coefficient,
            mean over the images.
        finite: Whether all values are.
        constant: Number of maps whose pixels are all equal.
        batch_difference: Largest difference between an image's map in a batch and alone, over the maximum of
            the map.
    """

    method: str
    network: str
    outcome: str = "runs"
    message: str = ""
    rank_correlation: float | None = None
    finite: bool | None = None
    constant: int | None = None
    batch_difference: float | None = None


@dataclass(frozen=True, eq=False)
class Subject:
    """A network with random weights, images, the classes that it predicts and the gradients of their logits."""

    model: nn.Module
    image: Tensor
    target: Tensor
    noise: Noise
    gradient: Tensor


def networks() -> dict[str, Network]:
    """Return every network by name."""
    import torchvision

    return {
        "SmallCNN": Network(SmallCNN, (1, 28, 28)),
        "torchvision resnet18": Network(partial(torchvision.models.resnet18, num_classes=CLASSES)),
        "torchvision squeezenet1_1": Network(partial(torchvision.models.squeezenet1_1, num_classes=CLASSES)),
        "torchvision vgg11": Network(partial(torchvision.models.vgg11, num_classes=CLASSES)),
        "timm resnet18": Network(partial(_timm, "resnet18")),
        "timm tf_efficientnet_lite0": Network(partial(_timm, "tf_efficientnet_lite0")),
        "timm convnext_tiny": Network(partial(_timm, "convnext_tiny")),
        "timm vit_tiny_patch16_224": Network(partial(_timm, "vit_tiny_patch16_224", img_size=64)),
    }


def _timm(name: str, **options: int) -> nn.Module:
    # Read when timm is imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=CLASSES, **options)
    return model


def methods(settings: Mapping[str, int] = CHEAP) -> dict[str, Attribution]:
    """Return the method of every fragment but the controls, by the name of its class.

    Args:
        settings: Values of options; a method takes those that it has.
    """
    paths = [path for path in sorted(FRAGMENTS.glob("*.yaml")) if path.stem not in CONTROLS]
    found = [_component(yaml.safe_load(path.read_text()), settings) for path in paths]
    return {type(method).__name__: method for method in found}


def _component(content: Any, settings: Mapping[str, int]) -> Any:
    if isinstance(content, str) and content.endswith(".yaml"):
        content = yaml.safe_load((FRAGMENTS / content).read_text())
    if isinstance(content, list):
        return tuple(_component(part, settings) for part in content)
    if not isinstance(content, dict):
        return content
    module, name = content["class_path"].rsplit(".", 1)
    kind = getattr(import_module(module), name)
    given = {key: _component(value, settings) for key, value in content.get("init_args", {}).items()}
    cheap = {field.name: settings[field.name] for field in fields(kind) if field.name in settings}
    return kind(**(cheap | given))


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Draw biases, scales and the statistics of batch norms; fresh ones make many methods equal."""
    statistics = {name for name, _ in model.named_buffers() if name.endswith(("running_mean", "running_var"))}
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith(("bias", "running_mean")):
            nn.init.normal_(values, std=0.3)
        elif name in statistics or values.ndim == 1:
            nn.init.uniform_(values, 0.5, 1.5)
    return model


def _images(shape: tuple[int, ...], stream: str) -> Batch:
    position = torch.arange(SAMPLES)
    like = torch.empty(SAMPLES, *shape, dtype=torch.float64)
    return Batch(Noise(0, position).child(stream).uniform(like), torch.zeros_like(position), position)


@lru_cache(maxsize=2)
def subject(name: str) -> Subject:
    """Build a network, in double precision, and what it is measured with. Seeds are fixed."""
    network = networks()[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = randomise(network.build()).double().eval()
    image, _, position = _images(network.shape, "image")
    with evaluating(model), torch.no_grad():
        target = model(image).argmax(dim=1)
        gradient = input_gradient(model, image, target)
    return Subject(model, image, target, Noise(0, position), gradient)


def measure(method: str, network: str) -> Row:
    """Explain four images with one method on one network, together and one by one."""
    found, shape = subject(network), networks()[network].shape
    try:
        with evaluating(found.model), torch.no_grad():
            explain = methods()[method].prepare(found.model, lambda: [_images(shape, "reference")])
            together = explain.attribute(found.model, found.image, found.target, found.noise)
            alone = torch.cat([explain.attribute(found.model, *one) for one in _one_by_one(found)])
    except ValueError as error:
        return Row(method, network, "refused", str(error))
    maps, plain = pixel_map(together).flatten(1), pixel_map(found.gradient).flatten(1)
    pairs = zip(maps.numpy(), plain.numpy(), strict=True)
    largest = together.flatten(1).abs().amax(dim=1)
    difference = (together - alone).flatten(1).abs().amax(dim=1) / largest
    return Row(
        method,
        network,
        rank_correlation=float(sum(spearmanr(*pair).statistic for pair in pairs) / SAMPLES),
        finite=bool(together.isfinite().all()),
        constant=int((maps.amax(dim=1) == maps.amin(dim=1)).sum()),
        batch_difference=difference.max().item(),
    )


def _one_by_one(found: Subject) -> Iterator[tuple[Tensor, Tensor, Noise]]:
    for row in range(SAMPLES):
        rows = slice(row, row + 1)
        yield found.image[rows], found.target[rows], Noise(found.noise.seed, found.noise.sample_id[rows])
