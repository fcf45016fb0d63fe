"""A training run that is killed at any moment and goes on has the numbers of one that was not."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.stopped_runs import ROOT, differences, written

# Calls in an uninterrupted run: 5 steps, 1 attack and 3 checkpoints for each of 3 epochs; the attack is also
# called once before training, to count its passes.
# First in the second epoch or so; then soon after each start, so that all of them happen.
CALLS = {"step": ((6, 10), (1, 5)), "attack": ((2, 3), (1, 2)), "checkpoint": ((4, 6), (1, 3))}


def started(directory: Path, arguments: list[str], marked: list[str] | None = None) -> subprocess.Popen:
    program = ROOT / "tests" / "end_to_end" / "marked_fit.py" if marked else ROOT / "train.py"
    # The process in which W&B keeps runs for these tests would hold that of a killed child.
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    return subprocess.Popen(
        [sys.executable, str(program), *(marked or []), "fit", *arguments],
        cwd=directory,
        env={**environment, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "WANDB_MODE": "offline"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def killed(directory: Path, arguments: list[str], place: str, call: int) -> None:
    marker = directory / f"{place}-{call}-{time.monotonic_ns()}"
    process = started(directory, arguments, [place, str(call), str(marker)])
    deadline = time.monotonic() + 300
    while not marker.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    assert marker.exists(), process.kill() or process.communicate()[0][-3000:]
    process.send_signal(signal.SIGKILL)
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output[-3000:]


def finished(directory: Path, arguments: list[str]) -> str:
    process = started(directory, arguments)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    return output


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("whole")
    finished(directory, ["-c", written(directory), "--experiment", "tiny"])
    return directory / "runs" / "tiny" / "1"


@pytest.mark.slow
@pytest.mark.parametrize(("place", "seed"), [("step", 0), ("attack", 1), ("checkpoint", 2)])
def test_a_killed_run_goes_on_to_the_same_numbers(place, seed, whole, tmp_path):
    run = tmp_path / "runs" / "tiny" / "1"
    arguments = ["-c", written(tmp_path), "--experiment", "tiny"]
    drawn = random.Random(seed)
    first, later = CALLS[place]
    calls = [drawn.randint(*first), drawn.randint(*later), drawn.randint(*later)]
    for call in calls:
        killed(tmp_path, arguments, place, call)
        # Half a checkpoint, beside whole ones.
        assert len(list(run.rglob(".*.ckpt.*.part"))) == (place == "checkpoint")
        arguments = ["--resume", "runs/tiny/1"]
    words = finished(tmp_path, arguments)
    assert "Going on with runs/tiny/1 after " in words
    assert differences(run, whole) == []
    offline = sorted((run / "wandb").glob("offline-run-*"))
    assert len(offline) == 4
    assert len({path.name.rsplit("-", 1)[1] for path in offline}) == 1
    shown = " ".join(str(path.relative_to(tmp_path)) for path in offline)
    assert f"wandb sync {shown}\n" in words
