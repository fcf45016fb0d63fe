"""The training command."""

import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import wandb
import yaml
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_only, rank_zero_warn

from lit_xai.command import Parser
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.checkpoints import read_checkpoint
from lit_xai.module import LitClassifier
from lit_xai.refusal import one_line_errors
from lit_xai.runs import PLACEHOLDER, fill_in, keep_wandb_inside, new_run_directory, take_out

_RUN_DIR = "LIT_XAI_RUN_DIR"
_KEYWORDS = ("best", "last", "hpc")


class _RunRecord(SaveConfigCallback):
    """Write the whole configuration into the run directory and send it, nested, to every logger."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        run_dir = Path(trainer.default_root_dir)
        config = take_out(yaml.safe_load(self.parser.dump(self.config, skip_none=False)), run_dir)
        (run_dir / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)


class TrainCLI(LightningCLI):
    """LightningCLI with a run directory for each run."""

    run_dir: Path

    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        """Return the subcommands, with the arguments of the trainer's methods that are set elsewhere."""
        left_out = {"model", "train_dataloaders", "val_dataloaders", "dataloaders", "datamodule"}
        return dict.fromkeys(("fit", "validate", "test"), left_out)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add the run directory's options, and let the data say how many classes there are."""
        parser.add_argument(
            "--experiment", type=str, help="Name of the runs (default: the first config file's name)."
        )
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="Directory of all runs.")
        parser.link_arguments("data.num_classes", "model.num_classes", apply_on="instantiate")

    def _parse_ckpt_path(self) -> None:
        """Let a checkpoint's settings win over the command line, as Lightning does, but say so."""
        command = self.config["subcommand"]
        config = self.config[command]
        path = config.get("ckpt_path")
        if not path or str(path) in _KEYWORDS:
            return
        read_checkpoint(Path(path))
        before = _flat(config["model"])
        super()._parse_ckpt_path()
        after = _flat(self.config[command]["model"])
        for key in sorted(before.keys() | after.keys()):
            if before.get(key) != after.get(key) and key != "num_classes":
                given, used = before.get(key), after.get(key)
                rank_zero_warn(f"model.{key}: {given} was given, but the checkpoint's {used} is used.")

    def before_instantiate_classes(self) -> None:
        """Make the run directory and put its path where the configuration has `{run_dir}`."""
        config = self.config[self.subcommand]
        self.run_dir = self._run_directory()
        keep_wandb_inside(self.run_dir)
        # Absolute, since W&B writes from a process of its own.
        own = config["trainer"]["default_root_dir"]
        if own not in (None, PLACEHOLDER):
            raise ValueError(f"Expected no `trainer.default_root_dir`, but got {own}. Set `runs`.")
        config["trainer"] = fill_in(config["trainer"], self.run_dir.resolve())
        config["trainer"]["default_root_dir"] = str(self.run_dir.resolve())

    def instantiate_classes(self) -> None:
        """Build everything; leave no empty run behind if that fails."""
        try:
            super().instantiate_classes()
        except BaseException:
            if self.run_dir.is_dir() and not any(self.run_dir.iterdir()):
                self.run_dir.rmdir()
            raise

    def _run_directory(self) -> Path:
        config = self.config[self.subcommand]
        experiment = config["experiment"] or (
            Path(str(config["config"][0])).stem if config["config"] else "default"
        )
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            # Only the first process writes; not every launcher hands its directory on.
            return Path(os.environ.get(_RUN_DIR, config["runs"] / experiment))
        run_dir = new_run_directory(config["runs"], experiment)
        os.environ[_RUN_DIR] = str(run_dir)
        return run_dir


def _flat(config: Namespace) -> dict[str, Any]:
    return {str(key): value for key, value in config.items() if not isinstance(value, Namespace)}


def _closing_words(run_dir: Path, url: str | None) -> str:
    lines = [f"Run directory: {run_dir}"]
    curves = run_dir / "csv" / "metrics.csv"
    if curves.is_file():
        lines.append(f"Curves:        {curves}")
    if (run_dir / "explanations").is_dir():
        lines.append(f"Explanations:  {run_dir / 'explanations'}")
    last = run_dir / "checkpoints" / "last.ckpt"
    if last.is_file():
        lines.append(f"Evaluate it:   lit-xai-evaluate -c configs/evaluate/quick.yaml --checkpoints {last}")
    if url:
        lines.append(f"Look at it:    {url}")
    for offline in sorted((run_dir / "wandb").glob("offline-run-*")):
        lines += [f"Look at it:    wandb leet run {offline}", f"Sync it:       wandb sync {offline}"]
    return "\n".join(lines) + "\n"


def train_cli(args: Sequence[str] | None = None) -> None:
    """Train, validate or test as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    failed = True
    url = None
    try:
        with one_line_errors(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
            cli = TrainCLI(
                LitClassifier,
                ImageDataModule,
                save_config_callback=_RunRecord,
                save_config_kwargs={"save_to_log_dir": False},
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                parser_class=Parser,
                args=list(args) if args is not None else None,
            )
        failed = False
    finally:
        os.environ.pop(_RUN_DIR, None)
        if wandb.run is not None:
            url = wandb.run.url
            wandb.finish(exit_code=int(failed))
    if cli.trainer.is_global_zero:
        sys.stdout.write(_closing_words(cli.run_dir, url))
