"""What the processes of an evaluation tell each other beside their collectives."""

import os
import subprocess
import time
from contextlib import suppress

import torch.distributed
from lightning.fabric import Fabric

PERIOD = 0.2
PATIENCE = 3.0
FAILED, INTERRUPTED, TERMINATED = 2, 130, 143
LOST = -1
"""Instead of an exit status: a process that is gone without having said why."""

# How gloo, NCCL and the store word that the other end of a connection is gone.
_GONE = (
    "closed by peer",
    "connection reset",
    "connection refused",
    "read error",
    "broken pipe",
    "socket closed",
    "remote process exited",
    "recvvalue failed",
    "failed to recv",
)


class Bond:
    """The failure of the first process that fails, known to all; also to those that wait in a collective.

    Args:
        fabric: Launched, with several processes.
    """

    def __init__(self, fabric: Fabric) -> None:
        store = torch.distributed.distributed_c10d._get_default_store()
        # A connection of its own: the group's may be waiting for an answer.
        self._store = torch.distributed.distributed_c10d.PrefixStore("lit_xai.ending", store.clone())
        self._rank, self._size = fabric.global_rank, fabric.world_size
        environment = fabric.strategy.cluster_environment  # type: ignore[attr-defined]
        is_child = fabric.local_rank > 0 and not environment.creates_processes_externally
        self._parent = os.getppid() if is_child else None
        self._children = _taken_over(fabric)

    def failure(self) -> int | None:
        """Return the exit status of the first process that failed, or `LOST`; None if there is none."""
        if self._is_orphan():
            return FAILED
        # Looked at first: a child makes its failure known before it ends.
        is_lost = any(child.poll() for child in self._children)
        try:
            if self._store.check(["failure"]):
                return int(self._store.get("failure").decode().split()[1])
        except RuntimeError:
            # The process that holds the store is gone.
            return FAILED if self._is_orphan() else LOST
        return LOST if is_lost else None

    def claim(self, status: int) -> int | None:
        """Make a failure known; return None if it is the first, or else the status of the first."""
        own = f"{self._rank} {status}"
        try:
            found = self._store.compare_set("failure", "", own).decode()
        except RuntimeError:
            return status
        return None if found == own else int(found.split()[1])

    def leave(self) -> None:
        """Say that this process needs nobody any more."""
        with suppress(RuntimeError):
            self._store.add("left", 1)

    def linger(self) -> None:
        """Wait for the others to learn of a failure, for a few seconds at most.

        The first process may hold the store. Those that it has started outlive it.
        """
        end = time.monotonic() + PATIENCE
        with suppress(RuntimeError):
            while time.monotonic() < end and self._is_needed():
                time.sleep(PERIOD / 4)

    def _is_needed(self) -> bool:
        if self._rank == 0:
            dead = sum(bool(child.poll()) for child in self._children)
            return self._store.add("left", 0) + dead < self._size
        return self._parent is not None and not self._is_orphan()

    def _is_orphan(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent


def is_loss(error: BaseException) -> bool:
    """Whether an error of torch's only says that another process is gone."""
    words = str(error).lower()
    return isinstance(error, RuntimeError) and any(each in words for each in _GONE)


def _taken_over(fabric: Fabric) -> list[subprocess.Popen[bytes]]:
    """Return the processes that this one has started.

    Lightning's own observer kills the first process with SIGKILL, which nothing survives that it would say,
    within five seconds after another has failed. It ends where there is nothing to observe.
    """
    launched: list[subprocess.Popen[bytes]] = getattr(fabric.strategy.launcher, "procs", [])
    children = launched[:]
    launched.clear()
    return children
