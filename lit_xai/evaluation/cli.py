"""The evaluation command."""

import json
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import yaml
from jsonargparse import ActionConfigFile, Namespace  # type: ignore[attr-defined]
from lightning.pytorch.utilities import rank_zero_only

from lit_xai.callbacks.explanation_robustness import ExplanationRobustness
from lit_xai.command import Parser, one_line_errors
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.checkpoints import checksum, load_classifier, load_data, named
from lit_xai.evaluation.grid import Grid, Row
from lit_xai.evaluation.table import comparison
from lit_xai.module import LitClassifier
from lit_xai.runs import new_run_directory

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


def _parser() -> Parser:
    parser = Parser(
        prog="evaluate.py", description="Attack the explanations of trained classifiers and compare them."
    )
    parser.add_argument("-c", "--config", action=ActionConfigFile, help="File with any of the options below.")
    parser.add_argument("--checkpoints", type=str, nargs="+", required=True, help="Files, or name=file.")
    parser.add_subclass_arguments(Grid, "grid", help="What is measured.", required=True)
    parser.add_subclass_arguments(
        ImageDataModule,
        "data",
        required=False,
        help="The images (default: the data of the first checkpoint).",
    )
    parser.add_argument(
        "--max_samples", type=int, default=256, help="Size of the stratified subset of the test split."
    )
    parser.add_argument(
        "--batch_size", type=int, default=64, help="Samples attacked at once, in each process."
    )
    parser.add_argument("--seed", type=int, default=0, help="Of the subset.")
    parser.add_argument(
        "--output", type=Path | None, default=None, help="New directory (default: runs/evaluate/<n>)."
    )
    parser.add_argument("--accelerator", type=str, default="auto", help="As in Lightning's Trainer.")
    parser.add_argument("--devices", type=int | str, default="auto", help="As in Lightning's Trainer.")
    return parser


def evaluate(
    classifier: LitClassifier, data: ImageDataModule, robustness: ExplanationRobustness, trainer: pl.Trainer
) -> tuple[list[Row], pd.DataFrame]:
    """Test one classifier.

    Args:
        classifier: With its weights.
        data: Its test split is used: all of it for the accuracies, a subset for the grid.
        robustness: The callback that holds the grid.
        trainer: With that callback.

    Returns:
        The rows of accuracies (attribution `none`) and of the grid, and the grid's single scores.
    """
    trainer.test(classifier, data, verbose=False)
    count = len(data.images("test"))
    rows = []
    for key, attack in {"test/accuracy": "unattacked", "test/pgd_accuracy": "pgd"}.items():
        if key in trainer.callback_metrics:
            value = round(float(trainer.callback_metrics[key]) * count) / count
            stderr = (value * (1 - value) / max(count - 1, 1)) ** 0.5
            rows.append(Row("none", attack, "accuracy", value, stderr, count, 0, 0, value, count))
    return [*rows, *robustness.grid.rows()], robustness.grid.records()


def _described(data: ImageDataModule) -> dict[str, Any]:
    options = {name: str(value) if isinstance(value, Path) else value for name, value in data.hparams.items()}
    kept = {name: value for name, value in options.items() if not name.startswith("_")}
    return {"class_path": f"{type(data).__module__}.{type(data).__qualname__}", "init_args": kept}


def _versions() -> Iterator[tuple[str, str]]:
    yield "python", platform.python_version()
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"


def _output_directory(config: Namespace) -> Path:
    if config.output is None:
        return new_run_directory(Path("runs"), "evaluate")
    output: Path = config.output
    if (output / "results.csv").exists():
        raise ValueError(f"Expected a new `output` directory, but got {output}, which holds results.")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"Expected a directory for `output`, but got {output}: {error.strerror}.") from error
    return output


def _write(output: Path, results: pd.DataFrame, samples: pd.DataFrame, card: dict[str, Any]) -> None:
    samples.to_parquet(output / "samples.parquet", index=False)
    results.to_csv(output / "results.csv", index=False)
    (output / "card.json").write_text(json.dumps(card, indent=2) + "\n")


def _trainer(config: Namespace, robustness: ExplanationRobustness) -> pl.Trainer:
    return pl.Trainer(
        accelerator=config.accelerator,
        devices=config.devices,
        callbacks=[robustness],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )


def _run(config: Namespace, parser: Parser, command: Sequence[str]) -> None:
    checkpoints = named(config.checkpoints)
    classifiers = {name: load_classifier(path) for name, path in checkpoints.items()}
    built = parser.instantiate(config)
    data = built.data or load_data(next(iter(checkpoints.values())))
    # Before the work, so that a directory that cannot be used costs nothing.
    output = None if rank_zero_only.rank else _output_directory(config)  # type: ignore[attr-defined]
    results, samples, seconds = [], [], {}
    for name, classifier in classifiers.items():
        robustness = ExplanationRobustness(built.grid, config.max_samples, 1, config.batch_size, config.seed)
        begun = time.monotonic()
        rows, records = evaluate(classifier, data, robustness, _trainer(config, robustness))
        seconds[name] = round(time.monotonic() - begun, 1)
        results.append(pd.DataFrame(rows).assign(checkpoint=name))
        samples.append(records.assign(checkpoint=name))
    if output is not None:
        card = {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": list(command),
            "versions": dict(_versions()),
            "checkpoints": {name: {"sha256": checksum(path)} for name, path in checkpoints.items()},
            "config": yaml.safe_load(parser.dump(config)),
            "data": _described(data),
            "seconds": seconds,
        }
        table = pd.concat(results)[["checkpoint", *Row._fields]]
        columns = ["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]
        _write(output, table, pd.concat(samples)[columns], card)
        sys.stdout.write(
            f"\n{comparison(table)}\n\n"
            f"Results: {output / 'results.csv'}\nSamples: {output / 'samples.parquet'}\n"
        )


def evaluate_cli(args: Sequence[str] | None = None) -> None:
    """Evaluate checkpoints as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    arguments = sys.argv[1:] if args is None else list(args)
    with one_line_errors():
        parser = _parser()
        _run(parser.parse_args(arguments), parser, ["evaluate.py", *arguments])
