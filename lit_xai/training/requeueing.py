"""SLURM jobs that are stopped before their time is up, and queued again."""

import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback


class RequeueError(Exception):
    """Training stopped because the job's time is nearly up."""


class StopForRequeue(Callback):
    """Stop training between two batches once SLURM says that the time is nearly up (`--signal=USR1@120`).

    Lightning's own handler writes a checkpoint at once, wherever training is, so possibly from the middle of
    a step of the optimiser. It leaves the signal alone if there is a handler already: this one only notes the
    signal. Nothing is written: the run goes on from the last epoch that was finished. Every process stops
    after the same batch, whichever of them got the signal.
    """

    def __init__(self) -> None:
        self._signalled = False
        self._listening = False

    @contextmanager
    def listening(self, trainer: pl.Trainer) -> Iterator[None]:
        """Note the signal of a job that SLURM may queue again; elsewhere do nothing."""
        environment = trainer._accelerator_connector.cluster_environment
        wanted = isinstance(environment, SLURMEnvironment) and environment.auto_requeue
        if not wanted or threading.current_thread() is not threading.main_thread():
            yield
            return
        assert isinstance(environment, SLURMEnvironment)
        number = environment.requeue_signal or signal.SIGUSR1
        before = signal.signal(number, self._note)
        self._listening = True
        try:
            yield
        finally:
            self._listening = False
            signal.signal(number, before)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._listening and trainer.strategy.reduce_boolean_decision(self._signalled, all=False):
            raise RequeueError(f"after step {trainer.global_step}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True


def requeue(job: str) -> None:
    """Queue a SLURM job again; SLURM then ends the processes of this one.

    Raises:
        ValueError: If it is no number of a job.
        OSError: If SLURM does not take it.
    """
    if not re.fullmatch(r"\d+(_\d+)?", job):
        raise ValueError(f"Expected the number of a SLURM job, but got {job!r}.")
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise OSError(f"Expected `scontrol` to queue job {job} again, but got no such command.") from error
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split())[:200] or f"exit status {error.returncode}"
        raise OSError(f"Expected `scontrol` to queue job {job} again, but got: {reason}.") from error
