"""The processes of an evaluation end together, whichever of them fails."""

import atexit
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from _thread import interrupt_main
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import torch.distributed
from lightning.fabric import Fabric

_PERIOD = 0.2
_GRACE = 1.0
_PATIENCE = 3.0
_FAILED, _INTERRUPTED, _TERMINATED = 2, 130, 143
_ASKED = {int(signal.SIGINT): _INTERRUPTED, int(signal.SIGTERM): _TERMINATED}


@contextmanager
def ending_together(fabric: Fabric, remedy: str) -> Iterator[None]:
    """End all processes as soon as one of them fails, is interrupted or is terminated.

    A process that waits for others in a collective does not learn by itself that they are gone: with NCCL it
    waits for half an hour. So each process watches a key of the store that the group was made with. The
    first that fails sets it and raises its error; the others end without a word, with the same exit status.
    Where there is only one process, this only turns SIGTERM into an orderly end.

    Args:
        fabric: Launched; every process calls it.
        remedy: What is said after SIGTERM or Ctrl-C: how to go on.

    Raises:
        SystemExit: In a process that ends because of another, and after SIGTERM with status 143.
        ValueError: In one of several processes, for an error that does not speak to the user: where it arose.
    """
    ending = _Ending(fabric, remedy)
    before = signal.signal(signal.SIGTERM, ending.on_signal) if _in_main_thread() else None
    try:
        if fabric.world_size == 1:
            yield
        else:
            with _watched(ending, fabric):
                yield
    finally:
        if _in_main_thread():
            signal.signal(signal.SIGTERM, before)


class _Ending:
    """Why this process ends, and what it says of it."""

    def __init__(self, fabric: Fabric, remedy: str) -> None:
        self.status: int | None = None
        self._is_first = fabric.is_global_zero
        self._remedy = remedy

    def on_signal(self, _: int, __: FrameType | None) -> None:
        """End the main thread: after SIGTERM, or since another process has ended."""
        status = _TERMINATED if self.status is None else self.status
        if status == _INTERRUPTED:
            raise KeyboardInterrupt
        self.speak(status)
        raise SystemExit(status)

    def speak(self, status: int) -> None:
        """Say what every process was told from outside, in the first one; errors speak where they arise."""
        words = {_INTERRUPTED: "Interrupted", _TERMINATED: "Terminated"}
        if self._is_first and status in words:
            sys.stdout.flush()
            sys.stderr.write(f"{words[status]}. {self._remedy}\n")
            sys.stderr.flush()


class _Bond:
    """What the processes tell each other beside the collectives."""

    def __init__(self, fabric: Fabric) -> None:
        store = torch.distributed.distributed_c10d._get_default_store()
        # A connection of its own: the group's may be waiting for an answer.
        self._store = torch.distributed.distributed_c10d.PrefixStore("lit_xai.ending", store.clone())
        self._rank, self._size = fabric.global_rank, fabric.world_size
        environment = fabric.strategy.cluster_environment  # type: ignore[attr-defined]
        is_child = fabric.local_rank > 0 and not environment.creates_processes_externally
        self._parent = os.getppid() if is_child else None

    def failure(self) -> int | None:
        """Return the exit status of the first process that failed; None if there is none."""
        if self._is_orphan():
            return _FAILED
        try:
            if not self._store.check(["failure"]):
                return None
            return int(self._store.get("failure").decode().split()[1])
        except RuntimeError:
            # The process that holds the store is gone.
            return _FAILED

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

        The first process may hold the store. Those that it has started outlive it: Lightning kills it as soon
        as it sees that one of them has failed.
        """
        end = time.monotonic() + _PATIENCE
        with suppress(RuntimeError):
            while time.monotonic() < end and self._is_needed():
                time.sleep(_PERIOD / 4)

    def _is_needed(self) -> bool:
        if self._rank == 0:
            return self._store.add("left", 0) < self._size
        return self._parent is not None and not self._is_orphan()

    def _is_orphan(self) -> bool:
        return self._parent is not None and os.getppid() != self._parent


class _Watch(threading.Thread):
    """Ends the main thread, or if that waits for another process the whole one, when another has failed."""

    def __init__(self, bond: _Bond, ending: _Ending) -> None:
        super().__init__(name="lit_xai.ending", daemon=True)
        self._bond, self._ending = bond, ending
        self._ended = threading.Event()
        self._signals, self._arrivals = socket.socketpair()
        self._arrivals.setblocking(False)  # noqa: FBT003
        # Python's own handlers have to wait for the main thread, which may be waiting for another process.
        self._before = signal.set_wakeup_fd(self._arrivals.fileno()) if _in_main_thread() else None

    def stop(self) -> None:
        self._ended.set()
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
            self._before = None

    def run(self) -> None:
        asked = failed = None
        while asked is None and failed is None:
            if self._ended.is_set():
                return
            asked, failed = self._asked(), self._bond.failure()
        status = asked or failed or _FAILED
        self._ending.status = status
        if asked is None:
            interrupt_main(signal.SIGTERM)
        if self._ended.wait(_GRACE):
            return
        self._ending.speak(status)
        self._bond.leave()
        self._bond.linger()
        sys.stdout.flush()
        os._exit(status)

    def _asked(self) -> int | None:
        """Wait a moment; return the exit status that a signal asks for and make it known."""
        if not select.select([self._signals], [], [], _PERIOD)[0]:
            return None
        for number in self._signals.recv(16):
            if number in _ASKED:
                self._bond.claim(_ASKED[number])
                return _ASKED[number]
        return None


@contextmanager
def _watched(ending: _Ending, fabric: Fabric) -> Iterator[None]:
    bond = _Bond(fabric)
    watch = _Watch(bond, ending)
    watch.start()
    try:
        yield
    except BaseException as error:
        watch.stop()
        first = bond.claim(_status(error)) if ending.status is None else ending.status
        bond.leave()
        atexit.register(_exit, bond, _status(error) if first is None else first)
        if first is not None:
            raise SystemExit(first) from error
        if isinstance(error, Exception) and not _speaks(error):
            raise ValueError(_where(error, fabric)) from error
        raise
    watch.stop()
    bond.leave()
    if fabric.is_global_zero:
        bond.linger()


def _exit(bond: _Bond, status: int) -> None:
    """End the process at its exit; torch aborts it there if others of its group are gone already."""
    bond.linger()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return _INTERRUPTED
    code = error.code if isinstance(error, SystemExit) else _FAILED
    return code if isinstance(code, int) else _FAILED


def _speaks(error: Exception) -> bool:
    return isinstance(error, ValueError | TypeError | OSError) and "but got" in str(error)


def _where(error: Exception, fabric: Fabric) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"process {fabric.global_rank + 1} of {fabric.world_size}, {frame.filename}:{frame.lineno}"
    return (
        f"Expected every process to finish, but got {reason}, in {place}. "
        "With one process the whole traceback is shown."
    )


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
