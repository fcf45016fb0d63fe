"""Explain eight untrained networks with every method, and say what came of it.

python scripts/networks.py    writes results/networks/results.csv and the tables of docs/attributions.md
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from functools import lru_cache, partial
from importlib import import_module
from inspect import getdoc
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
import torchvision
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

ROOT = Path(__file__).resolve().parents[1]
FRAGMENTS = ROOT / "configs" / "attributions"
RESULTS = ROOT / "results" / "networks" / "results.csv"
PAGE = ROOT / "docs" / "attributions.md"
CLASSES, SAMPLES = 10, 4
# They know nothing of the network.
CONTROLS = {"constant_map", "random_map"}
# Few passes, but enough for a path, a walk and a mean.
CHEAP = {"path_steps": 3, "samples": 3, "steps": 2, "classes": 2, "references": 2, "scales": 2}


@dataclass(frozen=True)
class Network:
    """How to build an untrained network, the seed of its weights, and the shape of its images, (C, H, W)."""

    build: Callable[..., nn.Module]
    seed: int = 0
    shape: tuple[int, int, int] = (3, 64, 64)


@dataclass(frozen=True)
class Row:
    """What came of one method on one network. Without a map, all but the first four are None.

    Attributes:
        method: A key of `methods`.
        network: A key of `networks`.
        outcome: `runs` or `refused`.
        message: Of the refusal.
        rank_correlation: Spearman's with the plain gradient, channels' magnitudes summed, mean over images.
        finite: Whether all values are.
        constant: Number of maps whose pixels are all equal.
        batch_difference: Largest difference of the last map in a batch and alone, over its maximum.
    """

    method: str
    network: str
    outcome: str = "runs"
    message: str = ""
    rank_correlation: float | None = None
    finite: bool | None = None
    constant: int | None = None
    batch_difference: float | None = None


class Subject(NamedTuple):
    """A network with random weights, images, the predicted classes and their plain gradients."""

    model: nn.Module
    image: Tensor
    target: Tensor
    position: Tensor
    gradient: Tensor


def networks() -> dict[str, Network]:
    """Return every network by name."""
    vision = torchvision.models
    # Seeds with which no rectified Grad-CAM is black. The smaller the images, the shorter the tests.
    return {
        "SmallCNN": Network(SmallCNN, shape=(1, 28, 28)),
        "torchvision resnet18": Network(vision.resnet18, shape=(3, 32, 32)),
        "torchvision squeezenet1_1": Network(vision.squeezenet1_1),
        "torchvision vgg11": Network(vision.vgg11),
        "timm resnet18": Network(partial(_timm, "resnet18"), seed=1),
        "timm tf_efficientnet_lite0": Network(partial(_timm, "tf_efficientnet_lite0")),
        "timm convnext_tiny": Network(partial(_timm, "convnext_tiny")),
        "timm vit_tiny_patch16_224": Network(partial(_timm, "vit_tiny_patch16_224", img_size=64)),
    }


def _timm(name: str, **options: Any) -> nn.Module:
    # Read when timm is imported.
    os.environ["HF_HUB_OFFLINE"] = "1"
    import timm

    return timm.create_model(name, pretrained=False, **options)


def methods(settings: Mapping[str, int] = CHEAP) -> dict[str, Attribution]:
    """Return the method of every fragment but the controls, by class, with those settings that it has."""
    paths = [path for path in sorted(FRAGMENTS.glob("*.yaml")) if path.stem not in CONTROLS]
    found = [_component(path.name, settings) for path in paths]
    return {type(method).__name__: method for method in found}


def _component(content: Any, settings: Mapping[str, int]) -> Any:
    if isinstance(content, list):
        return tuple(_component(part, settings) for part in content)
    if isinstance(content, str) and content.endswith(".yaml"):
        content = yaml.safe_load((FRAGMENTS / content).read_text())
    if not isinstance(content, dict):
        return content
    module, name = content["class_path"].rsplit(".", 1)
    kind = getattr(import_module(module), name)
    given = {key: _component(value, settings) for key, value in content.get("init_args", {}).items()}
    cheap = {field.name: settings[field.name] for field in fields(kind) if field.name in settings}
    return kind(**(cheap | given))


@torch.no_grad()
def randomise(model: nn.Module) -> nn.Module:
    """Draw weights, biases, scales and batch-norm statistics anew, so that no two methods agree by chance."""
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith(("bias", "running_mean")):
            nn.init.normal_(values, std=0.3)
        elif values.ndim == 1:
            nn.init.uniform_(values, 0.5, 1.5)
        elif name.endswith("weight"):
            nn.init.kaiming_normal_(values)
    return model


def images(shape: tuple[int, ...], stream: str, count: int) -> Batch:
    """Return uniform pixels, (count, *shape), float64."""
    position = torch.arange(count)
    like = torch.empty(count, *shape, dtype=torch.float64)
    return Batch(Noise(0, position).child(stream).uniform(like), torch.zeros_like(position), position)


@lru_cache(maxsize=1)
def subject(name: str) -> Subject:
    """Build a network, in double precision, and what it is measured with."""
    return _subject(networks()[name], SAMPLES)


def _subject(network: Network, count: int) -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(network.seed)
        model = randomise(network.build(num_classes=CLASSES)).double().eval()
    image, _, position = images(network.shape, "image", count)
    with evaluating(model), torch.no_grad():
        target = model(image).argmax(dim=1)
        return Subject(model, image, target, position, input_gradient(model, image, target))


def measure(method: str, network: str) -> Row:
    """Explain four images with one method on one network, together, and the last alone."""
    model, image, target, position, gradient = subject(network)
    try:
        with evaluating(model), torch.no_grad():
            explain = methods()[method].prepare(
                model, lambda: [images(image.shape[1:], "reference", SAMPLES)]
            )
            together = explain.attribute(model, image, target, Noise(0, position))
            alone = explain.attribute(model, image[-1:], target[-1:], Noise(0, position[-1:]))
    except ValueError as error:
        return Row(method, network, "refused", str(error))
    maps, plain = (pixel_map(values).flatten(1) for values in (together, gradient))
    ranks = [spearmanr(*pair).statistic for pair in zip(maps.numpy(), plain.numpy(), strict=True)]
    return Row(
        method,
        network,
        rank_correlation=float(sum(ranks) / SAMPLES),
        finite=bool(together.isfinite().all()),
        constant=int((maps.amax(dim=1) == maps.amin(dim=1)).sum()),
        batch_difference=((together[-1:] - alone).abs().max() / alone.abs().max()).item(),
    )


def passes(method: Attribution) -> int:
    """Count the images that a SmallCNN is run on for one explained image."""
    found = _subject(Network(partial(SmallCNN, width=4), shape=(1, 28, 28)), 1)
    explain = method.prepare(found.model, lambda: [images(found.image.shape[1:], "reference", 100)])
    seen: list[int] = []
    found.model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    with evaluating(found.model), torch.no_grad():
        explain.attribute(found.model, found.image, found.target, Noise(0, found.position))
    return sum(seen)


def read() -> pd.DataFrame:
    """Return the committed results; what was not measured is NaN."""
    numbers = {name: [""] for name in ("rank_correlation", "constant", "batch_difference")}
    return pd.read_csv(RESULTS, dtype={"finite": str}, keep_default_na=False, na_values=numbers)


def _table(header: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [header, ["---"] * len(header), *rows])


def methods_table() -> str:
    """Render what the classes say of themselves."""
    rows = []
    for name, method in methods({}).items():
        link = f"[`{name}`](../{type(method).__module__.replace('.', '/')}.py)"
        first = (getdoc(type(method)) or "").splitlines()[0]
        rows.append([link, first, "yes" if method.differentiable else "no", str(passes(method))])
    return _table(["method", "what it does, and its source", "differentiable", "passes"], rows)


def results_table(results: pd.DataFrame) -> str:
    """Render the correlations with the plain gradient, what was measured beside, and the refusals."""
    names = list(dict.fromkeys(results["network"]))
    ran = results[results["outcome"] == "runs"]
    correlation = {(row.method, row.network): f"{row.rank_correlation:z.2f}" for row in ran.itertuples()}
    chosen = dict.fromkeys(results["method"])
    rows = [[f"`{one}`", *(correlation.get((one, name), "refused") for name in names)] for one in chosen]
    text = (
        f"{len(ran)} of {len(results)} pairs give maps; {(ran['finite'] != 'True').sum()} of these are not "
        f"finite and {(ran['constant'] > 0).sum()} are constant on an image. The last map of a batch differs "
        f"by at most {ran['batch_difference'].max():.0e} of its maximum from the same map alone. Refusals:"
    )
    refusals = []
    for message, cells in results[results["outcome"] == "refused"].groupby("message", sort=False):
        who = ", ".join(f"`{method}`" for method in dict.fromkeys(cells["method"]))
        refusals.append(f"- {who} on {', '.join(dict.fromkeys(cells['network']))}: {message}")
    return "\n\n".join([_table(["method", *names], rows), text, "\n".join(refusals)])


def main() -> None:
    """Measure everything and write the results and the page."""
    rows = [asdict(measure(method, network)) for network in networks() for method in methods()]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(RESULTS, index=False, float_format="%.6g")
    page = insert(PAGE.read_text(), "methods", methods_table())
    PAGE.write_text(insert(page, "networks", results_table(read())))


if __name__ == "__main__":
    main()
