"""SLURM jobs that are stopped before their time is up, and queued again."""

import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import lightning.pytorch as pl
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch.callbacks import Callback

from lit_xai.refusal import SharedError
from lit_xai.runs import job

# Between two looks for the signal. A handler can only note it: it may interrupt code that holds locks.
_LOOK = 0.5


class WayBack:
    """The place of the job in SLURM's queue, taken once."""

    def __init__(self) -> None:
        self.taken = threading.Event()
        self._lock = threading.Lock()

    def take(self) -> bool:
        """Queue this job again, unless that is done.

        Returns:
            Whether this call did it.

        Raises:
            ValueError: If this is no job.
            OSError: If SLURM does not take it.
        """
        with self._lock:
            if self.taken.is_set():
                return False
            requeue(str(job()))
            self.taken.set()
            return True


class RequeueError(Exception):
    """Training stopped because the job's time is nearly up.

    Args:
        step: The last one.
        way_back: To be taken once everything is closed.
    """

    def __init__(self, step: int, way_back: WayBack) -> None:
        super().__init__(f"after step {step}")
        self.way_back = way_back


class StopForRequeue(Callback):
    """Stop training between two batches once SLURM says that the time is nearly up (`--signal=USR1@120`).

    Lightning's own handler writes a checkpoint at once, wherever training is, so possibly from the middle of
    a step of the optimiser. It leaves the signal alone if there is a handler already: this one only notes the
    signal. Nothing is written: the run goes on from the last epoch that was finished. Every process stops
    after the same batch, whichever of them got the signal.

    Where no batch ends in time, in a long attack or validation, the first process queues the job from there:
    the epoch is trained again anyway. A job in which no epoch ended is not queued again: the next one would
    do the same, for ever.

    Args:
        patience: Seconds from the signal to that.
    """

    def __init__(self, patience: float = 60.0) -> None:
        self._patience = patience
        self._signalled = False
        self._listening = False
        self._way_back = WayBack()
        self._began = self._kept = 0

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
        over = threading.Event()
        if trainer.is_global_zero:
            threading.Thread(target=self._watch, args=(over,), daemon=True).start()
        self._listening = True
        try:
            yield
        except RequeueError:
            # Watched further: what is closed before the job is queued may take too long as well.
            raise
        except BaseException:
            over.set()
            raise
        else:
            over.set()
        finally:
            self._listening = False
            signal.signal(number, before)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._began = self._kept = trainer.global_step

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            # By now every callback has begun this epoch, and the one before is written.
            self._kept = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._listening and trainer.strategy.reduce_boolean_decision(self._signalled, all=False):
            self._check_progress()
            raise RequeueError(trainer.global_step, self._way_back)

    def _check_progress(self) -> None:
        if self._kept == self._began:
            raise SharedError(
                "Expected an epoch that ends within the job's time, but got none since step "
                f"{self._began}. Raise `--time`, or use smaller epochs."
            )

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._signalled = True

    def _watch(self, over: threading.Event) -> None:
        """Queue the job if the main thread has not done so some time after the signal."""
        while not self._signalled:
            if over.wait(_LOOK):
                return
        if over.wait(self._patience) or self._way_back.taken.is_set():
            return
        try:
            self._check_progress()
            if self._way_back.take():
                sys.stdout.write(f"Stopped in a long step: job {job()} is queued again.\n")
                sys.stdout.flush()
        except (ValueError, OSError) as error:
            # Training may still come to the end of its batch or epoch.
            sys.stderr.write(f"warning: {error}\n")


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
