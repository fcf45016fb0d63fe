"""The runs of the training command."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities import rank_zero_only

from lit_xai.command import Parser
from lit_xai.data.base import ImageDataModule
from lit_xai.data.listing import keep_split_list
from lit_xai.evaluation.checkpoints import read_checkpoint
from lit_xai.evaluation.components import check_components
from lit_xai.models.library import rebuilding
from lit_xai.module import LitClassifier
from lit_xai.runs import (
    PLACEHOLDER,
    fill_in,
    hold,
    keep_wandb_inside,
    new_run_directory,
    record,
    requeued,
    runs_of,
    wandb_name,
)
from lit_xai.training.arguments import (
    adds_options,
    check_no_secret_missing,
    check_same_run,
    refused_in_one_line,
    resumed_run,
    with_configuration,
)
from lit_xai.training.checkpoint_io import WholeFiles
from lit_xai.training.curves import keep_curves
from lit_xai.training.endings import Started
from lit_xai.training.record import RunRecord
from lit_xai.training.requeueing import StopForRequeue
from lit_xai.training.resuming import (
    EpochCheckpoint,
    check_end,
    check_epoch_is_whole,
    clear_interrupted,
    say_other_data,
    say_other_model,
    say_other_trainer,
)
from lit_xai.training.starting import read_starts
from lit_xai.training.steps import RESUME

RUN_DIR = "LIT_XAI_RUN_DIR"
_KEYWORDS = ("best", "last", "hpc")


class TrainCLI(LightningCLI):
    """LightningCLI with a run directory for each run, in which a run that was stopped goes on.

    `fit --resume RUN` takes the run's own configuration, options given over it win except for the model's,
    and begins after the last epoch that was finished, or anew if there is none. A job that SLURM queued again
    does the same by the command that began it. W&B gets the same run, in which points of the interrupted
    epoch stand twice, at the same steps: what was sent cannot be taken back.

    Args:
        arguments: As on the command line.
        started: Is told what is begun.
    """

    run_dir: Path

    def __init__(self, arguments: Sequence[str], started: Started) -> None:
        self.arguments = list(arguments)
        self.started = started
        self.resumed: Path | None = None
        self.changed = False
        self.steps = 0
        self.stopping = StopForRequeue()
        super().__init__(
            LitClassifier,
            ImageDataModule,
            save_config_callback=RunRecord,
            save_config_kwargs={"save_to_log_dir": False},
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            parser_class=Parser,
            args=self.arguments,
        )

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

    def _prepare_subcommand_parser(
        self, klass: type, subcommand: str, **kwargs: Any
    ) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "fit":
            parser.add_argument("--resume", type=Path | None, help="Directory of a run to go on with.")
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse the arguments; a run that goes on brings its configuration."""
        arguments = self.arguments
        self.resumed = resumed_run(arguments)
        if self.resumed is not None:
            arguments = with_configuration(arguments, self.resumed)
        super().parse_arguments(parser, arguments)
        self.changed = self.resumed is not None and adds_options(self.arguments)
        if self.resumed is None and self.config["subcommand"] == "fit":
            if self.config["fit"]["resume"] is not None:
                raise ValueError("Expected `--resume` on the command line, but got it in a file.")
            self.resumed = requeued(self._parent(), self.arguments)
            if self.resumed is not None:
                super().parse_arguments(parser, with_configuration(["fit"], self.resumed))
        if self.resumed is not None:
            config = self.config["fit"]
            check_same_run(config, self.resumed)
            check_no_secret_missing(config)
            if (self.resumed / RESUME).is_file():
                config["ckpt_path"] = str(self.resumed / RESUME)

    def _parse_ckpt_path(self) -> None:
        """Let a checkpoint's settings win over the command line, as Lightning does, but say so."""
        command = self.config["subcommand"]
        config = self.config[command]
        path = config.get("ckpt_path")
        if not path:
            return
        if str(path) in _KEYWORDS:
            raise ValueError(
                f"Expected the file of a checkpoint for `ckpt_path`, but got {path}. A new run has none."
            )
        content = read_checkpoint(Path(path))
        if command == "fit":
            check_epoch_is_whole(Path(path), content)
        before = config["model"]
        with refused_in_one_line(Path(path)):
            super()._parse_ckpt_path()
        say_other_model(before, self.config[command]["model"])
        if self.resumed is None:
            say_other_data(content, config["data"])
        elif command == "fit":
            check_end(content, config["trainer"])

    def before_instantiate_classes(self) -> None:
        """Make or take the run directory and put its path where the configuration has `{run_dir}`."""
        config = self.config[self.subcommand]
        # Absolute, since W&B writes from a process of its own.
        own = config["trainer"]["default_root_dir"]
        if own not in (None, PLACEHOLDER):
            raise ValueError(f"Expected no `trainer.default_root_dir`, but got {own}. Set `runs`.")
        if self.subcommand == "fit":
            # What is trained can be read back.
            for part in ("model", "data"):
                check_components(config[part].as_dict(), Path("the configuration"))
        self.run_dir = self.started.run_dir = self._run_directory()
        self.started.fitting = self.subcommand == "fit"
        keep_wandb_inside(self.run_dir)
        config["trainer"] = fill_in(config["trainer"], self.run_dir.resolve())
        config["trainer"]["default_root_dir"] = str(self.run_dir.resolve())

    def instantiate_classes(self) -> None:
        """Build all parts; weights that a checkpoint replaces are read only to be compared with."""
        path = self.config[self.subcommand]["ckpt_path"]
        with rebuilding(when=bool(path)) as unread:
            super().instantiate_classes()
        read_starts(self.model, unread, str(self.subcommand), None if self.resumed else path)

    def _run_directory(self) -> Path:
        if rank_zero_only.rank:  # type: ignore[attr-defined]
            # Only the first process writes; not every launcher hands its directory on.
            return self.resumed or Path(os.environ.get(RUN_DIR, self._parent()))
        run_dir = self.resumed or new_run_directory(self._parent().parent, self._parent().name)
        self.started.lock = hold(run_dir)
        if self.resumed is not None:
            self.steps = clear_interrupted(run_dir)
            sys.stdout.write(f"Going on with {run_dir} after {self.steps} steps.\n")
        if self.subcommand == "fit":
            name = os.environ["WANDB_RUN_ID"] = wandb_name(run_dir)
            if self.resumed is None:
                record(run_dir, self.arguments, name)
        os.environ[RUN_DIR] = str(run_dir)
        return run_dir

    def _parent(self) -> Path:
        config = self.config[self.config["subcommand"]]
        files = config["config"]
        return runs_of(
            config["runs"], config["experiment"] or (Path(str(files[0])).stem if files else "default")
        )

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> pl.Trainer:
        plugins = _listed(config.get("plugins"))
        own = getattr(config.get("strategy"), "_checkpoint_io", None)
        if own is None and not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            config["plugins"] = [*plugins, WholeFiles()]
        if self.subcommand == "fit":
            # First: between two epochs, nothing of the next one may have happened.
            resume = EpochCheckpoint(resumed=self.resumed is not None, stopped=not self.changed)
            config["callbacks"] = [self.stopping, resume, *_listed(config.get("callbacks"))]
        return super()._instantiate_trainer(config, callbacks)

    def fit(
        self,
        model: pl.LightningModule,
        datamodule: pl.LightningDataModule,
        ckpt_path: str | None = None,
        weights_only: bool | None = None,  # noqa: FBT001 - Lightning's own
    ) -> None:
        """Fit; the curves of a run that goes on are kept up to its checkpoint."""
        if ckpt_path and self.resumed is None:
            say_other_trainer(read_checkpoint(Path(ckpt_path)), self.trainer)
        if self.trainer.is_global_zero:
            keep_curves(self.trainer.loggers, self.steps, resumed=self.resumed is not None)
        with self.stopping.listening(self.trainer):
            self.trainer.fit(model, datamodule=datamodule, ckpt_path=ckpt_path, weights_only=weights_only)

    def _run_subcommand(self, subcommand: str) -> None:
        self.datamodule.read_ahead(subcommand)
        if subcommand == "fit":
            keep_split_list(self.datamodule, self.run_dir, goes_on=(self.run_dir / RESUME).is_file())
        try:
            super()._run_subcommand(subcommand)
        except RuntimeError as error:
            if "loading state_dict" not in str(error):
                raise
            path, reason = self.config[subcommand]["ckpt_path"], " ".join(str(error).split())
            raise ValueError(
                f"Expected the weights of this network, but got {path}: {reason[:200]}"
            ) from error


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [] if value is None else [value]
