"""The processes of an evaluation end together, whichever of them fails."""

import _thread
import atexit
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn

from lightning.fabric import Fabric

from lit_xai.evaluation.bond import FAILED, INTERRUPTED, LOST, PERIOD, TERMINATED, Bond, is_loss
from lit_xai.refusal import speaks

_GRACE = 1.0
_DEADLINE = 3.0
_ASKED = {int(signal.SIGINT): INTERRUPTED, int(signal.SIGTERM): TERMINATED}
_LOST_WORDS = "Expected every process to finish, but got one that ended early (killed, or out of memory?)."


@contextmanager
def ending_together(fabric: Fabric, remedy: str) -> Iterator[None]:
    """End all processes as soon as one of them fails, is interrupted or is terminated.

    A process that waits for others in a collective does not learn by itself that they are gone: with NCCL it
    waits for half an hour. So each process watches a key of the store that the group was made with. The
    first that fails sets it and raises its error; the others end without a word, with the same exit status.
    Where there is only one process, this only turns SIGTERM into an orderly end, or after some seconds into
    any: Python drops what a handler raises in places such as `__del__` or a callback at a fork.

    Args:
        fabric: Launched; every process calls it.
        remedy: What is said after SIGTERM or Ctrl-C: how to go on.

    Raises:
        SystemExit: In a process that ends because of another, and after SIGTERM with status 143.
        ValueError: In one of several processes, for an error that does not speak to the user: where it arose,
            its traceback on standard output; or if a process is gone.
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
        ending.is_over = True
        if _in_main_thread():
            signal.signal(signal.SIGTERM, before)


class _Ending:
    """Why this process ends, and what it says of it."""

    def __init__(self, fabric: Fabric, remedy: str) -> None:
        self.status: int | None = None
        self.is_over = False
        self.is_lost = False
        self.lost = f"{_LOST_WORDS} {remedy}"
        self._is_first = fabric.is_global_zero
        self._remedy = remedy
        self._process = os.getpid()
        self._unspoken = [True]

    def on_signal(self, _: int, __: FrameType | None) -> None:
        """End the main thread: after SIGTERM, or since another process has ended."""
        status = TERMINATED if self.status is None else self.status
        if os.getpid() != self._process:
            # Forked, by a loader or by the user's own code: what it is told concerns nobody else.
            os._exit(status)
        if self.is_over:
            return
        # Nothing of `threading`: the main thread may have been stopped while it holds its locks.
        _thread.start_new_thread(self._insist, (status,))
        if status == INTERRUPTED:
            raise KeyboardInterrupt
        self.speak(status)
        raise SystemExit(status)

    def speak(self, status: int) -> None:
        """Say once what all were told from outside, in the first process; errors speak where they arise."""
        words = {INTERRUPTED: "Interrupted", TERMINATED: "Terminated"}
        if self.is_lost:
            line = f"error: {self.lost}"
        elif self._is_first and status in words:
            line = f"{words[status]}. {self._remedy}"
        else:
            return
        try:
            # Of two threads one finds it.
            self._unspoken.pop()
        except IndexError:
            return
        sys.stdout.flush()
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()

    def _insist(self, status: int) -> None:
        """End the process if the main thread does not: Python has dropped the exception, or it hangs."""
        end = time.monotonic() + _DEADLINE
        while time.monotonic() < end:
            if self.is_over:
                return
            time.sleep(PERIOD)
        self.speak(status)
        _end(status)


class _Watch(threading.Thread):
    """Ends the main thread, or if that waits for another process the whole one, when another has failed."""

    def __init__(self, bond: Bond, ending: _Ending) -> None:
        super().__init__(name="lit_xai.ending", daemon=True)
        self._bond, self._ending = bond, ending
        self._ended = threading.Event()
        self._signals, self._arrivals = socket.socketpair()
        self._arrivals.setblocking(False)  # noqa: FBT003
        # Python's own handlers have to wait for the main thread, which may be waiting for another process.
        self._before = signal.set_wakeup_fd(self._arrivals.fileno()) if _in_main_thread() else None
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Leave the socket to the process that this one is forked from."""
        if self._before is not None:
            with suppress(ValueError):
                signal.set_wakeup_fd(-1)

    def stop(self) -> None:
        self._ended.set()
        # A thread that asks the store while Python ends would abort the process.
        self.join(_DEADLINE)
        if self._before is not None:
            signal.set_wakeup_fd(self._before)
            self._before = None

    def run(self) -> None:
        asked = failed = None
        while asked is None and failed is None:
            if self._ended.is_set():
                return
            asked, failed = self._asked(), self._bond.failure()
        if failed == LOST and (first := self._bond.claim(FAILED)) is not None:
            failed = first
        self._ending.is_lost = failed == LOST
        status = asked or (FAILED if self._ending.is_lost else failed) or FAILED
        self._ending.status = status
        if asked is None:
            _thread.interrupt_main(signal.SIGTERM)
        if self._ended.wait(_GRACE):
            return
        self._ending.speak(status)
        self._bond.leave()
        self._bond.linger()
        _end(status)

    def _asked(self) -> int | None:
        """Wait a moment; return the exit status that a signal asks for and make it known."""
        if not select.select([self._signals], [], [], PERIOD)[0]:
            return None
        for number in self._signals.recv(16):
            if number in _ASKED:
                self._bond.claim(_ASKED[number])
                return _ASKED[number]
        return None


@contextmanager
def _watched(ending: _Ending, fabric: Fabric) -> Iterator[None]:
    bond = Bond(fabric)
    watch = _Watch(bond, ending)
    watch.start()
    try:
        yield
    except BaseException as error:
        watch.stop()
        _fail(error, bond, ending, fabric)
    watch.stop()
    bond.leave()
    if fabric.is_global_zero:
        bond.linger()


def _fail(error: BaseException, bond: Bond, ending: _Ending, fabric: Fabric) -> NoReturn:
    """Raise what the user is told of an error, or nothing but an exit status if another process tells it."""
    ending.is_over = True
    first = bond.claim(_status(error)) if ending.status is None else ending.status
    bond.leave()
    atexit.register(_exit, bond, _status(error) if first is None else first)
    if first is not None:
        if not isinstance(error, KeyboardInterrupt):
            ending.speak(first)
        raise SystemExit(first) from error
    if not isinstance(error, Exception) or speaks(error):
        raise error
    if is_loss(error):
        raise ValueError(ending.lost) from error
    traceback.print_exception(error, file=sys.stdout)
    raise ValueError(_where(error, fabric)) from error


def _exit(bond: Bond, status: int) -> None:
    """End the process at its exit; torch aborts it there if others of its group are gone already."""
    bond.linger()
    _end(status)


def _end(status: int) -> NoReturn:
    # They would go on for some seconds, or for ever.
    for child in multiprocessing.active_children():
        child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _status(error: BaseException) -> int:
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    code = error.code if isinstance(error, SystemExit) else FAILED
    return code if isinstance(code, int) else FAILED


def _where(error: Exception, fabric: Fabric) -> str:
    reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"process {fabric.global_rank + 1} of {fabric.world_size}, {frame.filename}:{frame.lineno}"
    return (
        f"Expected every process to finish, but got {reason}, in {place}. "
        "Its traceback is on standard output."
    )


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
