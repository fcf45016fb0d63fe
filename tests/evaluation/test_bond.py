import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from lit_xai.evaluation.bond import LOST, Bond, is_loss


@pytest.fixture
def fabric(monkeypatch):
    """Return a function that stands for the devices of one of two processes."""
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setattr(torch.distributed.distributed_c10d, "_get_default_store", lambda: store)

    def process(rank: int, *children: subprocess.Popen):
        strategy = SimpleNamespace(
            launcher=SimpleNamespace(procs=list(children)),
            cluster_environment=SimpleNamespace(creates_processes_externally=True),
        )
        return SimpleNamespace(global_rank=rank, local_rank=rank, world_size=2, strategy=strategy)

    return process


def child(code: int) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({code})"])
    process.wait()
    return process


def test_all_know_the_status_of_the_first_that_fails(fabric):
    first, second = Bond(fabric(0)), Bond(fabric(1))
    assert first.failure() is second.failure() is None
    assert second.claim(143) is None
    assert first.claim(2) == 143
    assert first.failure() == second.failure() == 143


@pytest.mark.parametrize(("code", "expected"), [(0, None), (1, LOST)])
def test_a_child_that_ended_without_a_word_is_lost(fabric, code, expected):
    assert Bond(fabric(0, child(code))).failure() == expected


def test_a_child_that_said_why_is_not_lost(fabric):
    Bond(fabric(1)).claim(130)
    assert Bond(fabric(0, child(1))).failure() == 130


def test_children_are_observed_by_nobody_else(fabric):
    devices = fabric(0, child(0))
    Bond(devices)
    assert devices.strategy.launcher.procs == []


@pytest.mark.parametrize(
    "words",
    [
        "[../gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1234",
        "Read error [127.0.0.1]:4321: Connection reset by peer",
        "NCCL error: remote process exited or there was a network error",
        "failed to recv, got 0 bytes",
    ],
)
def test_words_of_a_lost_process(words):
    assert is_loss(RuntimeError(words))
    assert not is_loss(OSError(words))


def test_other_errors_are_no_loss():
    assert not is_loss(RuntimeError("mat1 and mat2 shapes cannot be multiplied (4x3 and 4x3)"))
