"""The training command."""

import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import wandb
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_xai.redaction import check_command
from lit_xai.refusal import TerminatedError, is_interrupted, one_line_errors
from lit_xai.runs import job
from lit_xai.streams import plain_streams
from lit_xai.training.command import RUN_DIR, TrainCLI
from lit_xai.training.endings import Started, closing_words
from lit_xai.training.requeueing import RequeueError


def train_cli(args: Sequence[str] | None = None) -> None:
    """Train, validate or test as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    started = Started()
    with plain_streams(), one_line_errors(started.how_to_go_on), _terminating():
        _train(list(sys.argv[1:] if args is None else args), started)


@contextmanager
def _terminating() -> Iterator[None]:
    """End at once after SIGTERM, as after Ctrl-C: Lightning waits for the batch, or for an attack, to end."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process = os.getpid()

    def end(number: int, _: FrameType | None) -> None:
        if os.getpid() != process:
            # Forked, by a loader or by the user's own code: what it is told concerns nobody else.
            os._exit(128 + number)
        raise TerminatedError

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    except SIGTERMException as error:
        # Lightning's own end, where Python drops what the handler raises, as in `__del__`.
        raise TerminatedError from error
    finally:
        signal.signal(signal.SIGTERM, before)


def _train(arguments: list[str], started: Started) -> None:
    stopped: RequeueError | None = None
    error: BaseException | None = None
    try:
        check_command(arguments)
        TrainCLI(arguments, started)
    except RequeueError as found:
        stopped = found
    except BaseException as found:
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
        return closing_words(started.run_dir, url)
    ended = isinstance(error, SIGTERMException | TerminatedError) or is_interrupted(error)
    return "" if ended else started.remark()
