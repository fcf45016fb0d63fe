"""What an evaluation was: everything that a leaderboard, or a reader, has to know."""

import math
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.fabric import Fabric

from lit_xai.attacks.base import Attack
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.checkpoints import checksum
from lit_xai.evaluation.code import source_digests
from lit_xai.evaluation.cost import Passes
from lit_xai.evaluation.donors import needs_donors
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.plan import Plan, Settings
from lit_xai.metrics.base import SampleMetric
from lit_xai.reporting.claims import measure_claims

FORMAT = 1
_PACKAGES = (
    "lit_xai",
    "torch",
    "torchvision",
    "lightning",
    "torchmetrics",
    "captum",
    "timm",
    "wandb",
    "numpy",
)


def content(
    config: Mapping[str, Any],
    plans: Sequence[Plan],
    settings: Settings,
    results: pd.DataFrame,
    passes: Passes,
) -> dict[str, Any]:
    """Return what a card says, but for the command and its times.

    Args:
        config: All options, as parsed.
        plans: Of each network.
        settings: What decided the numbers beside the networks.
        results: The content of `results.csv`.
        passes: Of all pieces.
    """
    subset = plans[0].subset
    return {
        "format": FORMAT,
        "versions": settings.environment["versions"],
        "code": settings.environment["code"],
        "device": settings.environment["device"],
        "precision": settings.environment["precision"],
        "seeds": {"grid": plans[0].grid.seed, "subset": subset.seed},
        "samples": {
            "split": "test",
            "count": len(subset),
            "accuracy_count": plans[0].accuracy.images(),
            "batch_size": subset.batch_size,
        },
        "data": {name: settings.data[name] for name in ("class_path", "init_args", "sha256")},
        "checkpoints": {plan.subject.name: plan.subject.card for plan in plans},
        "attributions": settings.attributions,
        "attacks": settings.attacks,
        "metrics": settings.metrics,
        "claims": _plain(measure_claims(config["claims"], results)),
        "passes": vars(passes),
        "config": config,
    }


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that numbers depend on."""
    return {"python": platform.python_version(), **dict(_installed())}


def _installed() -> Iterator[tuple[str, str]]:
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def described_device(fabric: Fabric) -> dict[str, Any]:
    """Describe what numbers are computed on, to the last bit as far as one can say."""
    device: dict[str, Any] = {"type": fabric.device.type, "processes": fabric.world_size}
    if fabric.device.type == "cuda":
        cudnn = torch.backends.cudnn.version()
        return {
            **device,
            "name": torch.cuda.get_device_name(fabric.device),
            "cuda": torch.version.cuda,
            "cudnn": cudnn,
        }
    return {**device, "name": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"}


def described_data(data: ImageDataModule, checksums: Mapping[str, str]) -> dict[str, Any]:
    """Describe a data module: its class, its options, and what `checksums` returned."""
    return {
        "class_path": _path(data),
        "init_args": {
            name: _plain(value) for name, value in data.hparams.items() if not name.startswith("_")
        },
        "sha256": dict(checksums),
    }


def checksums(data: ImageDataModule, grid: Grid) -> dict[str, str]:
    """Return the checksums of the test images, and of the donors where the grid needs any.

    All files of these splits are read: one process does it for the others.
    """
    found = {"test": data.checksum("test")}
    return {**found, "donors": data.checksum(data.donor_split)} if needs_donors(grid) else found


def described_attributions(grid: Grid, config: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each attribution of a grid: its class and all its options."""
    return {
        name: _options(name, attribution, config.get("attributions", {}))
        for name, attribution in grid.attributions.items()
    }


def described_attacks(
    grid: Grid, config: Mapping[str, Any], families: Mapping[str, tuple[str, Mapping[str, float]]]
) -> dict[str, Any]:
    """Describe each attack of a grid: its class, all its options, its radius, and what it is a version of.

    Args:
        grid: With the versions in the place of the attacks that are swept.
        config: The options of the grid, as parsed.
        families: For each version the name of its attack and its values.
    """
    result = {}
    for name, attack in grid.attacks.items():
        family, values = families.get(name, (None, {}))
        described = _options(family or name, attack, config.get("attacks", {}))
        result[name] = {
            **described,
            "init_args": _updated(described["init_args"], attack),
            "radius": _radius(attack),
            "needs_gradient": attack.needs_gradient,
            "sweep": family,
            "values": dict(values),
        }
    return result


def described_metrics(grid: Grid, config: Mapping[str, Any]) -> dict[str, Any]:
    """Describe each metric of a grid: its class, all its options, which way is up, and what it is."""
    result = {}
    for name, metric in grid.metrics.items():
        assert isinstance(metric, SampleMetric)
        result[name] = {
            **_options(name, metric, config.get("metrics", {})),
            "higher_is_better": metric.higher_is_better,
            "description": (type(metric).__doc__ or "").strip().partition("\n")[0],
        }
    return result


def _plain(value: Any) -> Any:
    """Return a value that JSON can hold: undefined numbers become null, what is not plain its text."""
    if isinstance(value, Mapping):
        return {str(name): _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _options(name: str, part: object, config: Mapping[str, Any]) -> dict[str, Any]:
    given = dict((config.get(name) or {}).get("init_args") or {})
    described: dict[str, Any] = {"class_path": _path(part), "init_args": given}
    # A file that an option names, or a user's own code, decides as much as the option.
    if files := {text: checksum(Path(text)) for text in _texts(given) if _is_file(text)}:
        described["files"] = files
    classes = [described["class_path"], *(text for text in _texts(given) if "." in text)]
    if code := source_digests(path.rpartition(".")[0] for path in classes):
        described["code"] = code
    return described


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in plain values."""
    if isinstance(value, str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(inner)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:
        # Too long for a name, so it is none.
        return False


def _updated(options: Mapping[str, Any], attack: Attack) -> dict[str, Any]:
    """Return an attack's options, and of one that it holds, with the numbers that a sweep has changed."""
    return {name: _now(value, getattr(attack, name, value)) for name, value in options.items()}


def _now(value: Any, part: Any) -> Any:
    if isinstance(part, Attack):
        return {**value, "init_args": _updated(value.get("init_args") or {}, part)}
    return part if type(value) in (int, float) else value


def _radius(attack: Attack) -> float | None:
    """Return the radius that an attack promises; None if it promises nothing but pixels."""
    if isinstance(attack, Unattacked):
        return 0.0
    return attack.radius if attack.radius < 1 else None


def _path(part: object) -> str:
    return f"{type(part).__module__}.{type(part).__qualname__}"
