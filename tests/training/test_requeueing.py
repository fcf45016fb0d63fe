import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

from lit_xai.training.requeueing import RequeueError, StopForRequeue, requeue
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
    return SimpleNamespace(_accelerator_connector=connector, strategy=strategy, global_step=4)


@pytest.fixture
def environment(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    return SLURMEnvironment()


def test_the_signal_stops_training_after_the_batch(environment):
    callback, before = StopForRequeue(), signal.getsignal(signal.SIGUSR1)
    with callback.listening(trainer(environment)):
        callback.on_train_batch_end(trainer(environment), None, None, None, 0)
        os.kill(os.getpid(), signal.SIGUSR1)
        with pytest.raises(RequeueError, match="after step 4"):
            callback.on_train_batch_end(trainer(environment), None, None, None, 0)
    assert signal.getsignal(signal.SIGUSR1) is before


def test_every_process_stops_with_the_one_that_got_the_signal(environment):
    callback = StopForRequeue()
    with callback.listening(trainer(environment)), pytest.raises(RequeueError):
        callback.on_train_batch_end(trainer(environment, True), None, None, None, 0)


def test_elsewhere_the_signal_is_left_alone(environment):
    before = signal.getsignal(signal.SIGUSR1)
    for other in (None, SLURMEnvironment(auto_requeue=False)):
        callback = StopForRequeue()
        with callback.listening(trainer(other)):
            assert signal.getsignal(signal.SIGUSR1) is before
            callback.on_train_batch_end(trainer(other, True), None, None, None, 0)


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
    while not (stopped / "resume.ckpt").exists() and process.poll() is None:
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
