"""The training command."""

import os
import sys
from collections.abc import Sequence

import wandb

from lit_xai.redaction import check_command
from lit_xai.refusal import one_line_errors
from lit_xai.runs import job
from lit_xai.streams import plain_streams
from lit_xai.training.command import RUN_DIR, TrainCLI
from lit_xai.training.endings import Started, closing_words
from lit_xai.training.requeueing import RequeueError, requeue


def train_cli(args: Sequence[str] | None = None) -> None:
    """Train, validate or test as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    started = Started()
    with plain_streams(), one_line_errors(started.how_to_go_on):
        _train(list(sys.argv[1:] if args is None else args), started)


def _train(arguments: list[str], started: Started) -> None:
    stopped: RequeueError | None = None
    words = ""
    failed, url = True, None
    try:
        check_command(arguments)
        TrainCLI(arguments, started)
        failed = False
    except RequeueError as error:
        stopped = error
    finally:
        os.environ.pop(RUN_DIR, None)
        if wandb.run is not None:
            url = wandb.run.url
            wandb.finish(exit_code=int(failed))
        if started.lock is not None and started.run_dir is not None:
            words = started.remark() if failed else closing_words(started.run_dir, url)
            sys.stdout.write(words)
        started.end()
    if stopped is not None and started.lock is not None:
        requeue(str(job()))
        sys.stdout.write(f"Stopped {stopped}: job {job()} is queued again and goes on with this run.\n")
