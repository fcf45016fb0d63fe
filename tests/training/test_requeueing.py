import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lit_xai.refusal import SharedError
from lit_xai.training.requeueing import RequeueError, StopForRequeue, WayBack, requeue
from tests.stopped_runs import ROOT, checkpoint, differences, written


def fake_scontrol(directory, body):
    path = directory / "bin" / "scontrol"
    path.parent.mkdir()
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path.parent)


def test_a_job_is_queued_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", fake_scontrol(tmp_path, f'echo "$@" >> {tmp_path}/asked'))
    requeue("7")
    requeue("12_3")
    assert (tmp_path / "asked").read_text() == "requeue 7\nrequeue 12_3\n"


@pytest.mark.parametrize("job", ["", "None", "7; rm", "7_", "-1"])
def test_something_else_is_no_job(job):
    with pytest.raises(ValueError, match="Expected the number of a SLURM job, but got"):
        requeue(job)


def test_what_slurm_says_is_passed_on(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match=r"queue job 7 again, but got no such command\."):
        requeue("7")
    monkeypatch.setenv("PATH", fake_scontrol(tmp_path, "echo Requeue disabled >&2; exit 1"))
    with pytest.raises(OSError, match=r"queue job 7 again, but got: Requeue disabled\."):
        requeue("7")


def trainer(environment, others_signalled=False):
    def reduced(own, **options):
        return all([own, others_signalled]) if options["all"] else own or others_signalled

    strategy = SimpleNamespace(reduce_boolean_decision=reduced)
    connector = SimpleNamespace(cluster_environment=environment)
    return SimpleNamespace(
        _accelerator_connector=connector, strategy=strategy, global_step=4, is_global_zero=True
    )


def with_an_epoch(callback, environment):
    """Tell a callback of an epoch of four steps that has ended, and of the first step of the next."""
    own = trainer(environment)
    own.global_step = 0
    callback.on_train_start(own, None)
    callback.on_train_batch_start(own, None, None, 0)
    callback.on_train_batch_start(trainer(environment), None, None, 0)
    return callback


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    return SLURMEnvironment()


def test_the_signal_stops_training_after_the_batch(environment):
    callback, before = with_an_epoch(StopForRequeue(), environment), signal.getsignal(signal.SIGUSR1)
    with callback.listening(trainer(environment)):
        callback.on_train_batch_end(trainer(environment), None, None, None, 0)
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(RequeueError, match="after step 4"):
            callback.on_train_batch_end(trainer(environment), None, None, None, 0)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_every_process_stops_with_the_one_that_got_the_signal(environment):
    callback = with_an_epoch(StopForRequeue(), environment)
    with callback.listening(trainer(environment)), pytest.raises(RequeueError):
        callback.on_train_batch_end(trainer(environment, True), None, None, None, 0)


def test_elsewhere_the_signal_is_left_alone(environment):
    before = signal.getsignal(signal.SIGUSR1)
    for other in (None, SLURMEnvironment(auto_requeue=False)):
        callback = StopForRequeue()
        with callback.listening(trainer(other)):
            assert signal.getsignal(signal.SIGUSR1) is before
            callback.on_train_batch_end(trainer(other, True), None, None, None, 0)


def test_a_job_takes_its_way_back_once(asked, monkeypatch):
    way_back = WayBack()
    assert (way_back.take(), way_back.take()) == (True, False)
    assert asked.read_text() == "requeue 7\n"
    monkeypatch.setenv("SLURM_JOB_ID", "x")
    with pytest.raises(ValueError, match="the number of a SLURM job"):
        WayBack().take()


@pytest.fixture
def asked(tmp_path, monkeypatch) -> Path:
    """Where a job finds what it asked SLURM for."""
    monkeypatch.setenv("PATH", fake_scontrol(tmp_path, f'echo "$@" >> {tmp_path}/asked'))
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    return tmp_path / "asked"


def test_a_job_whose_step_does_not_end_is_queued_from_there(asked, environment, capsys):
    callback = with_an_epoch(StopForRequeue(patience=0.2), environment)
    with callback.listening(trainer(environment)):
        time.sleep(1)
        assert not asked.exists()
        os.kill(os.getpid(), signal.SIGUSR1)
        until(callback._way_back.taken.is_set)
        said = []
        until(lambda: said.append(capsys.readouterr().out) or "".join(said).endswith("\n"))
        assert "".join(said) == "Stopped in a long step: job 7 is queued again.\n"
        # It may still end before SLURM ends the processes: the job is not queued twice.
        with pytest.raises(RequeueError) as stopped:
            callback.on_train_batch_end(trainer(environment), None, None, None, 0)
    assert not stopped.value.way_back.take()
    assert asked.read_text() == "requeue 7\n"


def test_a_job_that_cannot_close_everything_in_time_is_queued_from_there(asked, environment):
    callback = with_an_epoch(StopForRequeue(patience=0.2), environment)

    def stopped():
        with callback.listening(trainer(environment)):
            os.kill(os.getpid(), signal.SIGUSR1)
            callback.on_train_batch_end(trainer(environment), None, None, None, 0)

    with pytest.raises(RequeueError):
        stopped()
    until(asked.exists)


@pytest.mark.parametrize("first", [True, False])
def test_a_training_that_ends_is_not_queued(asked, environment, first):
    own = trainer(environment)
    own.is_global_zero = first
    with with_an_epoch(StopForRequeue(patience=1.5), environment).listening(own):
        os.kill(os.getpid(), signal.SIGUSR1)
        # Only the first process watches; it is over before its patience.
        time.sleep(0.1 if first else 3)
    time.sleep(3 if first else 0)
    assert not asked.exists()


def test_a_job_without_an_epoch_is_not_queued(asked, environment, capsys):
    words = (
        "Expected an epoch that ends within the job's time, but got none since step 4. "
        "Raise `--time`, or use smaller epochs."
    )
    callback = StopForRequeue(patience=0.2)
    with callback.listening(trainer(environment)):
        callback.on_train_start(trainer(environment), None)
        callback.on_train_batch_start(trainer(environment), None, None, 0)
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(SharedError) as refused:
            callback.on_train_batch_end(trainer(environment), None, None, None, 0)
        assert str(refused.value) == words
        said = []
        until(lambda: said.append(capsys.readouterr().err) or "".join(said).endswith("\n"))
        assert "".join(said) == f"warning: {words}\n"
    assert not asked.exists()


@pytest.mark.slow
def test_a_requeued_job_goes_on_with_its_run(tmp_path):
    path = fake_scontrol(tmp_path, f'echo "$@" >> {tmp_path}/asked')
    csv = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "{run_dir}"}}
    config = written(
        tmp_path,
        trainer__logger=[csv],
        trainer__callbacks=[checkpoint(save_last=True)],
        trainer__max_epochs=30,
    )
    job = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "train", "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}
    job |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "PATH": f"{path}:{os.environ['PATH']}"}

    def started(experiment, **more):
        arguments = ["fit", "-c", config, "--experiment", experiment]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    stopped, whole = (tmp_path / "runs" / name / "1" for name in ("stopped", "whole"))
    process = started("stopped", **job)
    deadline = time.monotonic() + 120
    while not (stopped / "resume.ckpt").exists() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGUSR1)
    words, _ = process.communicate(timeout=100)
    assert process.returncode == 0, words[-3000:]
    assert "job 7 is queued again and goes on with this run." in words
    assert (tmp_path / "asked").read_text() == "requeue 7\n"
    assert not list(tmp_path.rglob("hpc_ckpt*"))
    words, _ = started("stopped", **job, SLURM_RESTART_COUNT="1").communicate(timeout=100)
    assert "Going on with runs/stopped/1 after " in words
    assert "Going on with runs/stopped/1 after 0 " not in words
    started("whole").communicate(timeout=100)
    assert differences(stopped, whole) == []
    assert [path.name for path in (tmp_path / "runs" / "stopped").iterdir()] == ["1"]
