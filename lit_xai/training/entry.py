"""One call of the training command, from its arguments to its last words."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import lightning.pytorch as pl
import wandb
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_xai.command import Parser, modules_beside
from lit_xai.module import SPLITS
from lit_xai.redaction import check_command
from lit_xai.refusal import TerminatedError, is_interrupted, one_line_errors
from lit_xai.runs import job
from lit_xai.streams import plain_streams
from lit_xai.training.command import RUN_DIR, TrainCLI
from lit_xai.training.endings import Started, closing_words
from lit_xai.training.progress import EpochLines
from lit_xai.training.requeueing import RequeueError

_COLORS = 3
# How torch begins to say that a process of a loader has ended.
_WORKER = "DataLoader worker"


class Command(TrainCLI):
    """The training command with its manners: help of every option, completion, progress that suits a file."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser that bears the command's name, as completion needs it."""
        kwargs.setdefault("prog", "lit-xai-train")
        parser = super().init_parser(**kwargs)
        parser.add_argument("--help_all", action="help", help="Show every option and exit.")
        return parser

    def setup_parser(self, *args: Any) -> None:
        """Set the parsers up; what every command has stands before the subcommand."""
        super().setup_parser(*args)
        assert isinstance(self.parser, Parser)
        self.parser.add_manners()

    def _parse_ckpt_path(self) -> None:
        super()._parse_ckpt_path()
        path = self.config[self.config["subcommand"]].get("ckpt_path")
        self.started.checkpoint = None if path is None else Path(path)

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> pl.Trainer:
        own = config.get("callbacks") or []
        own = own if isinstance(own, list) else [own]
        bar = config.get("enable_progress_bar") in (None, True) and not config.get("barebones")
        if bar and not sys.stdout.isatty() and not any(isinstance(each, ProgressBar) for each in own):
            config["callbacks"] = [*own, EpochLines()]
        return super()._instantiate_trainer(config, callbacks)

    def _run_subcommand(self, subcommand: str) -> None:
        super()._run_subcommand(subcommand)
        image = self.datamodule.images(SPLITS[subcommand])[0].image
        self.started.color = len(image) == _COLORS


def trained(arguments: Sequence[str]) -> None:
    """Train, validate or test.

    Args:
        arguments: As on the command line.
    """
    started = Started()
    with (
        plain_streams(),
        modules_beside(),
        one_line_errors(started.how_to_go_on),
        _terminating() as terminated,
    ):
        _train(list(arguments), started, terminated)


@contextmanager
def _terminating() -> Iterator[threading.Event]:
    """End at once after SIGTERM, as after Ctrl-C: Lightning waits for the batch, or for an attack, to end.

    Yields:
        Whether SIGTERM came.
    """
    terminated = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield terminated
        return
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:
            # Forked, by a loader or by the user's own code: what it is told concerns nobody else.
            os._exit(128 + number)
        terminated.set()
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield terminated
    except SIGTERMException as error:
        # Lightning's own end, where Python drops what the handler raises, as in `__del__`.
        raise TerminatedError from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _train(arguments: list[str], started: Started, terminated: threading.Event) -> None:
    stopped: RequeueError | None = None
    error: BaseException | None = None
    try:
        check_command(arguments)
        Command(arguments, started)
    except RequeueError as found:
        stopped = found
    except BaseException as found:
        # The signal reached the workers of a loader too, and their end this process before its own.
        if terminated.is_set() and _WORKER in str(found):
            error = TerminatedError()
            raise error from found
        error = found
        raise
    finally:
        os.environ.pop(RUN_DIR, None)
        url = _close_wandb(failed=error is not None, preempted=stopped is not None)
        if stopped is None:
            sys.stdout.write(_last_words(started, error, url))
        started.end()
    if stopped is not None and started.lock is not None and stopped.way_back.take():
        sys.stdout.write(f"Stopped {stopped}: job {job()} is queued again and goes on with this run.\n")


def _close_wandb(*, failed: bool, preempted: bool) -> str | None:
    """End the run in W&B, if there is one, and return the address of its page."""
    if wandb.run is None:
        return None
    url = wandb.run.url
    if preempted:
        wandb.run.mark_preempting()
    wandb.finish(exit_code=int(failed))
    return url


def _last_words(started: Started, error: BaseException | None, url: str | None) -> str:
    """Return what is said in the first process: after Ctrl-C or SIGTERM nothing, as their line says it."""
    if started.lock is None or started.run_dir is None:
        return ""
    if error is None:
        return closing_words(started.run_dir, url, started.checkpoint, color=started.color)
    ended = isinstance(error, SIGTERMException | TerminatedError) or is_interrupted(error)
    return "" if ended else started.remark()
