import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import yaml
from lightning.fabric import Fabric
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.evaluation.together import ending_together
from lit_xai.noise import Noise

ROOT = Path(__file__).parents[2]
LOST = (
    "error: Expected every process to finish, but got one that ended early (killed, or out of memory?). "
    "The same command continues it."
)
SAMPLE = 5  # Of the second process, since every second one is.


@dataclass(frozen=True)
class Trap(Attack):
    """Do something to the process that attacks one sample; the others wait for it."""

    needs_gradient: ClassVar[bool] = False
    kind: str = "words"

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        if SAMPLE in noise.sample_id.tolist():
            Path("reached").touch()
            if self.kind == "words":
                raise ValueError("Expected another sample, but got this one.")
            if self.kind == "workers":
                for _ in iter(lambda: list(DataLoader([0, 1], num_workers=2)), None):
                    pass
            if self.kind == "bug":
                raise RuntimeError("a bug of the user's")
            if self.kind == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(300)
        return image.clone()


@pytest.fixture
def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def test_one_process_is_terminated_in_order(fabric, capsys):
    before = signal.getsignal(signal.SIGTERM)
    closed = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        finally:
            closed.append(True)

    with pytest.raises(SystemExit) as ended, ending_together(fabric, "Do it again."):
        work()
    assert ended.value.code == 143
    assert closed == [True]
    assert capsys.readouterr().err == "Terminated. Do it again.\n"
    assert signal.getsignal(signal.SIGTERM) is before


def test_errors_of_one_process_are_left_alone(fabric):
    with pytest.raises(ZeroDivisionError), ending_together(fabric, "Do it again."):
        raise ZeroDivisionError


def test_it_works_beside_the_main_thread(fabric):
    done = []

    def work() -> None:
        with ending_together(fabric, "Do it again."):
            done.append(True)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert done == [True]


def started(tmp_path: Path, kind: str, processes: int = 2) -> subprocess.Popen[str]:
    grid = {
        "attributions": {"saliency": f"{ROOT}/configs/attributions/saliency.yaml"},
        "attacks": {
            "random_sign": f"{ROOT}/configs/attacks/random_sign.yaml",
            "trap": {"class_path": "tests.evaluation.test_together.Trap", "init_args": {"kind": kind}},
        },
        "metrics": {"top_k": f"{ROOT}/configs/metrics/top_k.yaml"},
    }
    data = {"class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion", "init_args": {"max_test": 21}}
    config = {
        "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
        "data": data,
        "max_samples": 21,
        "batch_size": 4,
        "accelerator": "cpu",
        "devices": processes,
        "output": str(tmp_path / "out"),
    }
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(config))
    model = {"model": {"class_path": "tests.evaluation.test_together.Even"}}
    (tmp_path / "even.yaml").write_text(yaml.safe_dump(model))
    command = [sys.executable, str(ROOT / "evaluate.py"), "-c", "evaluate.yaml", "--models", "even.yaml"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    for name in ("PYTEST_CURRENT_TEST", "MASTER_PORT"):
        environment.pop(name, None)
    return subprocess.Popen(
        command,
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell lets what it runs in the background ignore Ctrl-C.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


class Even(nn.Module):
    """Classify every image of the sample by its label, which the data tells it."""

    def __init__(self) -> None:
        super().__init__()
        from lit_xai.data.embedded_fashion import EmbeddedFashion

        images = EmbeddedFashion(max_test=21).images("test")
        self.register_buffer("known", images.pixels.float().flatten(1) / 255)
        self.register_buffer("label", images.labels)

    def forward(self, image: Tensor) -> Tensor:
        # The nearest known image decides.
        distance = (image.flatten(1)[:, None] - self.known.to(image.dtype)).square().sum(dim=2)
        return -(distance[:, :, None] + 100 * (self.label[None, :, None] != Tensor(range(10)).long())).amin(
            dim=1
        )


def reached(process: subprocess.Popen[str], tmp_path: Path) -> None:
    end = time.monotonic() + 60
    while not (tmp_path / "reached").exists() and time.monotonic() < end and process.poll() is None:
        time.sleep(0.05)
    assert (tmp_path / "reached").exists(), process.communicate(timeout=10)
    # The other process is done with its share by now, and waits.
    time.sleep(1)


def ended(process: subprocess.Popen[str]) -> tuple[int, list[str], float]:
    begun = time.monotonic()
    try:
        printed, errors = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    took = time.monotonic() - begun
    # A loader's worker that was being forked ends by itself a moment later.
    while running(process.pid) and time.monotonic() - begun < 30:
        time.sleep(0.1)
    assert not running(process.pid)
    # In the line that says where it arose, and on standard output.
    assert printed.count("Traceback") == errors.count("a bug of the user's") <= 1
    return process.returncode, errors.splitlines(), took


def running(group: int) -> list[int]:
    """Return the processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, number = path.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(number) == group and state != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("words", "error: Expected another sample, but got this one."),
        (
            "bug",
            "error: Expected every process to finish, but got RuntimeError: a bug of the user's, in process "
            "2 of 2, ",
        ),
    ],
)
def test_a_failure_in_one_process_ends_both(tmp_path, kind, words):
    process = started(tmp_path, kind)
    reached(process, tmp_path)
    code, errors, took = ended(process)
    assert code == 2
    assert len(errors) == 1
    assert errors[0].startswith(words)
    assert took < 8
    # What was finished stays, and nothing half-written does; the last piece may not have been written yet.
    assert len(list((tmp_path / "out" / "cells").glob("*.scores.parquet"))) >= 2
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.slow
@pytest.mark.ddp
def test_a_killed_process_ends_the_other(tmp_path):
    process = started(tmp_path, "kill")
    reached(process, tmp_path)
    code, errors, took = ended(process)
    assert code == 2
    assert errors == [LOST]
    assert took < 10


@pytest.mark.slow
@pytest.mark.ddp
def test_a_killed_process_ends_one_that_does_not_wait_for_it(tmp_path):
    process = started(tmp_path, "sleep")
    reached(process, tmp_path)
    # The second sleeps in its share.
    (second,) = set(running(process.pid)) - {process.pid}
    os.kill(second, signal.SIGSTOP)
    time.sleep(1)
    os.kill(second, signal.SIGKILL)
    code, errors, took = ended(process)
    assert code == 2
    assert errors == [LOST]
    assert took < 10


@pytest.mark.slow
@pytest.mark.ddp
@pytest.mark.parametrize(
    ("number", "code", "word", "everybody"),
    [
        (signal.SIGINT, 130, "Interrupted", True),
        (signal.SIGTERM, 143, "Terminated", False),
    ],
)
def test_a_signal_during_an_attack_ends_both_with_one_line(tmp_path, number, code, word, everybody):
    process = started(tmp_path, "sleep")
    reached(process, tmp_path)
    # Ctrl-C reaches all processes of a terminal, `kill` one: the first, which waits for the second.
    (os.killpg if everybody else os.kill)(process.pid, number)
    found, errors, took = ended(process)
    assert found == code
    assert errors == [f"{word}. The same command continues it."]
    assert took < 10
    assert len(list((tmp_path / "out" / "cells").glob("*.scores.parquet"))) == 3


@pytest.mark.slow
def test_ctrl_c_during_an_attack_of_one_process_is_one_line(tmp_path):
    process = started(tmp_path, "sleep", processes=1)
    reached(process, tmp_path)
    process.send_signal(signal.SIGINT)
    code, errors, _ = ended(process)
    assert code == 130
    assert errors == ["Interrupted. The same command continues it."]
    assert len(list((tmp_path / "out" / "cells").glob("*.scores.parquet"))) == 3
    assert not list(tmp_path.rglob("*.part"))


SWALLOWING = """
import os, signal, sys, time
from lightning.fabric import Fabric
from lit_xai.evaluation.together import ending_together

class Last:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.1)

fabric = Fabric(accelerator="cpu", devices=1)
with ending_together(fabric, "Do it again."):
    Last()
    time.sleep(60)
"""


def test_a_main_thread_that_drops_the_exception_ends_all_the_same():
    begun = time.monotonic()
    program = subprocess.run(
        [sys.executable, "-c", SWALLOWING], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert program.returncode == 143
    assert "Exception ignored in: <function Last.__del__" in program.stderr
    assert program.stderr.count("Terminated. Do it again.\n") == 1
    assert program.stderr.splitlines()[-1].startswith(("SystemExit: 143", "Terminated"))
    assert 3 < time.monotonic() - begun < 30


def test_a_forked_process_that_is_terminated_ends_alone(fabric, capfd):
    with ending_together(fabric, "Do it again."):
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        # Python forgets the signals that arrive while it forks.
        time.sleep(0.5)
        child.terminate()
        child.join(10)
        assert child.exitcode in (143, -signal.SIGTERM)
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.ddp)])
def test_termination_amid_forks_ends_with_one_line(tmp_path, processes):
    process = started(tmp_path, "workers", processes)
    reached(process, tmp_path)
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    assert process.wait(20) == 143
    took = time.monotonic() - begun
    # A worker that was being forked looks for its parent every five seconds, and holds the pipe until then.
    _, errors, _ = ended(process)
    assert [line for line in errors if "Terminated" in line] == ["Terminated. The same command continues it."]
    assert took < 10
