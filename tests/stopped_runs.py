"""A small training run, and what differs between two of them."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

ROOT = Path(__file__).parents[1]


def fragment(name: str) -> str:
    return str(ROOT / "configs" / f"{name}.yaml")


def configuration(**changes: Any) -> dict[str, Any]:
    """Return a run of 3 epochs of 5 steps; `trainer__max_epochs=1` and the like change it."""
    top_k = {"eps": 0.1, "step_size": 0.05, "steps": 2, "k": 50}
    grid = {
        "attributions": {"saliency": fragment("attributions/saliency")},
        "attacks": {
            "unattacked": fragment("attacks/unattacked"),
            "exiaa": fragment("attacks/exiaa"),
            "top_k": {"class_path": "lit_xai.attacks.top_k.TopK", "init_args": top_k},
        },
        "metrics": {"spearman": fragment("metrics/spearman")},
    }
    robustness = {
        "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
        "max_samples": 10,
    }
    config = {
        "seed_everything": 3,
        "model": {
            "model": {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 2}},
            "regime": {"class_path": "lit_xai.regimes.natural.Natural"},
            "adversary": None,
            "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
            "scheduler": {
                "class_path": "torch.optim.lr_scheduler.StepLR",
                "init_args": {"step_size": 1, "gamma": 0.7},
            },
        },
        "data": {
            "class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion",
            "init_args": {"max_train": 100, "max_val": 60, "batch_size": 20},
        },
        "trainer": {
            "max_epochs": 3,
            "accelerator": "cpu",
            "log_every_n_steps": 2,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "callbacks": [
                {
                    "class_path": "lit_xai.callbacks.explanation_robustness.ExplanationRobustness",
                    "init_args": robustness,
                },
                checkpoint(save_last=True, monitor="val/accuracy", mode="max", save_top_k=2),
                {
                    "class_path": "lit_xai.callbacks.accuracy_gate.AccuracyGate",
                    "init_args": {"max_drop": 0.5},
                },
            ],
            "logger": [fragment("loggers/csv"), fragment("loggers/wandb")],
        },
    }
    for name, value in changes.items():
        *path, last = name.split("__")
        place: dict[str, Any] = config
        for key in path:
            place = place[key]
        place[last] = value
    return config


def checkpoint(**options: Any) -> dict[str, Any]:
    arguments = {"dirpath": "{run_dir}/checkpoints", **options}
    return {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": arguments}


def written(directory: Path, **changes: Any) -> str:
    """Write the configuration and return the file's path."""
    path = directory / "tiny.yaml"
    path.write_text(yaml.safe_dump(configuration(**changes)))
    return str(path)


def differences(first: Path, second: Path) -> list[Any]:
    """Compare the files of two runs, every value of their checkpoints and their curves but for the times."""
    found: list[Any] = []
    names, others = (_files(run) for run in (first, second))
    if names != others:
        found.append(("files", sorted(names ^ others)))
    for name in sorted(name for name in names & others if name.endswith(".ckpt")):
        values, second_values = (dict(_values(run, name)) for run in (first, second))
        assert len(values) > 100
        found += [
            (name, key)
            for key in sorted(values.keys() | second_values.keys())
            if not _equal(values.get(key), second_values.get(key))
        ]
    rows, other_rows = (curves(run) for run in (first, second))
    if rows != other_rows:
        found.append(("curves", len(rows), len(other_rows)))
    return found


def curves(run: Path) -> list[dict[str, str]]:
    (path,) = (path for path in run.rglob("metrics.csv") if "wandb" not in path.parts)
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row in rows:
        row.pop("robustness/time_share", None)
    return rows


def _files(run: Path) -> set[str]:
    return {
        str(path.relative_to(run))
        for path in run.rglob("*")
        if path.is_file() and "wandb" not in path.relative_to(run).parts
    }


def _values(run: Path, name: str) -> Iterator[tuple[str, Any]]:
    for key, value in _flat(torch.load(run / name, weights_only=True), ""):
        if ".val_loop.batch_progress/" in key or key == "/lit_xai_run_id":
            # Where the last validation ended: nothing of it is used again. What tells the runs apart.
            continue
        place = str(run.resolve())
        yield key.replace(place, "RUN"), value.replace(place, "RUN") if isinstance(value, str) else value


def _flat(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _flat(item, f"{key}/{name}")
    elif isinstance(value, list | tuple):
        for place, item in enumerate(value):
            yield from _flat(item, f"{key}/{place}")
    else:
        yield key, value


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return type(first) is type(second) and bool(first == second)
