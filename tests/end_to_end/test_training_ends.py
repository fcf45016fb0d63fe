"""How the training command ends, whatever ends it; nothing is trained here."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from types import SimpleNamespace

import pytest
from lightning.pytorch.utilities.exceptions import SIGTERMException

from lit_xai.programs import program
from lit_xai.runs import hold
from lit_xai.training import entry
from lit_xai.training.command import RUN_DIR
from lit_xai.training.requeueing import RequeueError, WayBack


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Let the command hold a run with a finished epoch, and then do something."""
    for name in ("config.yaml", "resume.ckpt"):
        (tmp_path / name).touch()

    def ended(action):
        def training(arguments, started):
            started.run_dir, started.fitting, started.lock = tmp_path, True, hold(tmp_path)
            action()

        monkeypatch.setattr(entry, "Command", training)
        entry.trained(["fit"])

    return ended


@pytest.fixture
def told(monkeypatch):
    """What W&B is told."""
    calls = []
    own = SimpleNamespace(url="https://x", mark_preempting=lambda: calls.append("preempting"))
    monkeypatch.setattr(entry.wandb, "run", own)
    monkeypatch.setattr(entry.wandb, "finish", lambda *, exit_code: calls.append(exit_code))
    return calls


def raising(error):
    def action():
        raise error

    return action


def terminated():
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(10)


def terminated_with_workers():
    """Be told that a worker has ended, where what the handler raises is dropped, as in `__del__`."""
    with contextlib.suppress(SystemExit):
        terminated()
    raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")


@pytest.mark.parametrize(
    ("action", "status", "word"),
    [
        (terminated, 143, "Terminated"),
        (terminated_with_workers, 143, "Terminated"),
        (raising(SIGTERMException()), 143, "Terminated"),
        (raising(KeyboardInterrupt()), 130, "Interrupted"),
    ],
)
def test_an_end_from_outside_is_said_once(action, status, word, run, told, tmp_path, capsys):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        run(action)
    assert end.value.code == status
    assert capsys.readouterr() == (
        "",
        f"{word}. Go on with it: {program('lit-xai-train')} fit --resume {tmp_path}\n",
    )
    assert told == [1]
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_that_ends_by_itself_is_an_error(run, told):
    with pytest.raises(RuntimeError, match="worker"):
        run(raising(RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated. ")))
    assert told == [1]


def test_an_error_says_how_to_go_on(run, told, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        run(raising(ValueError("Expected one, but got two.")))
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == f"Go on with it: {program('lit-xai-train')} fit --resume {tmp_path}\n"
    assert err == "error: Expected one, but got two.\n"
    assert told == [1]


def test_a_requeued_job_has_not_failed(run, told, capsys, monkeypatch):
    way_back = WayBack()
    asked = []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(subprocess, "run", lambda command, **_: asked.append(command))
    for _ in range(2):
        run(raising(RequeueError(4, way_back)))
    assert asked == [["scontrol", "requeue", "7"]]
    words = "Stopped after step 4: job 7 is queued again and goes on with this run.\n"
    assert capsys.readouterr() == (words, "")
    assert told == ["preempting", 0] * 2


def test_a_training_that_ends_says_where_everything_is(run, told, tmp_path, capsys):
    run(lambda: None)
    assert capsys.readouterr() == (f"Run directory: {tmp_path}\nLook at it:    https://x\n", "")
    assert told == [0]


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_what_processes_are_told_of_the_run_ends_with_it(run, told, error):
    def action():
        os.environ[RUN_DIR] = "mine"
        if error is not None:
            raise error

    with contextlib.suppress(SystemExit):
        run(action)
    assert RUN_DIR not in os.environ


def test_what_a_forked_process_is_told_ends_nothing_else(run, capfd):
    statuses = []

    def forking():
        process = os.fork()
        if not process:
            terminated()
            os._exit(1)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]))

    run(forking)
    assert statuses == [143]
    assert capfd.readouterr().err == ""


def test_a_thread_leaves_signals_alone(run):
    found = []
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=run, args=(lambda: found.append(signal.getsignal(signal.SIGTERM)),))
    thread.start()
    thread.join()
    assert found == [before]
