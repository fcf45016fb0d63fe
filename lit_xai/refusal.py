"""Endings that speak in a few lines; used by every command, so without heavy imports."""

import errno
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn

_LINES = 3
_WIDTH = 400
_REFUSED = 2
_INTERRUPTED = 130
_TERMINATED = 143
# What launchers tell each process about its place; Ctrl-C in a terminal reaches all of them.
_PLACES = ("LOCAL_RANK", "RANK", "SLURM_PROCID")
# What the machine lacks, not what the package does wrong. A missing file is not among them: who expects one
# says which.
_SYSTEM = {
    errno.ENOSPC: "Free space on that disk",
    errno.EDQUOT: "Free space within your quota",
    errno.EFBIG: "Raise the limit on the size of files",
    errno.EROFS: "Choose a directory that can be written to",
    errno.EACCES: "Choose a path that you have the right to use",
    errno.EPERM: "Choose a path that you have the right to use",
    errno.ENOTDIR: "Choose another path",
    errno.EISDIR: "Choose another path",
    errno.EEXIST: "Choose another path",
    errno.ENAMETOOLONG: "Choose another path",
}


class SharedError(ValueError):
    """An error that all processes of a run find at once, in words for the user: the first one says it."""


class TerminatedError(SystemExit):
    """SIGTERM."""

    def __init__(self) -> None:
        super().__init__(_TERMINATED)


def refuse(message: str) -> NoReturn:
    """Write a message of at most three lines to standard error and exit with status 2."""
    lines = [line.strip()[:_WIDTH] for line in message.strip().splitlines() if line.strip()]
    sys.stderr.write("\n".join(["error: " + lines[0], *lines[1:_LINES]]) + "\n")
    raise SystemExit(_REFUSED)


@contextmanager
def one_line_errors(remedy: Callable[[], str] | None = None) -> Iterator[None]:
    """End the process with one line for errors that speak to the user; let every other error through.

    Messages of this package that speak to the user have the form "Expected ..., but got ...". Ctrl-C ends
    with a line that begins with `Interrupted.`, written by the first process, and exit status 130;
    `TerminatedError` the same with `Terminated.` and 143.

    Args:
        remedy: Says in a few words, after either, how to go on.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, TerminatedError):
            _end("Terminated.", _TERMINATED, remedy)
        if is_interrupted(error):
            _end("Interrupted.", _INTERRUPTED, remedy)
        message = _spoken(error) if isinstance(error, Exception) else None
        if message is None:
            raise
        if isinstance(error, SharedError) and not _is_first():
            raise SystemExit(_REFUSED) from error
        refuse(message)


def speaks(error: BaseException) -> bool:
    """Whether `one_line_errors` has words for the user for an error, its own or of one that it wraps."""
    return _spoken(error) is not None


def is_interrupted(error: BaseException) -> bool:
    """Whether an error is Ctrl-C, or how a library ends the process after it."""
    current: BaseException | None = error if isinstance(error, KeyboardInterrupt | SystemExit) else None
    while current is not None and not isinstance(current, KeyboardInterrupt):
        current = current.__cause__ or current.__context__
    return current is not None


def _end(word: str, status: int, remedy: Callable[[], str] | None) -> NoReturn:
    if _is_first():
        # On a line of its own, not behind the `^C` of the terminal or an unfinished progress bar.
        sys.stdout.flush()
        words = f"{word} {remedy()}" if remedy is not None else word
        sys.stderr.write(" ".join(words.split()) + "\n")
    raise SystemExit(status)


def _is_first() -> bool:
    return all(os.environ.get(place, "0") == "0" for place in _PLACES)


def _spoken(error: BaseException) -> str | None:
    """Find words for the user in an error or in those that it wraps."""
    current: BaseException | None = error
    while current is not None:
        # Not RuntimeError: torch words its own errors the same way.
        lines = str(current).splitlines() if isinstance(current, ValueError | TypeError | OSError) else []
        for line in lines:
            # Worker processes of a loader send the whole trace, kinds of errors before the words.
            if found := re.match(r"[\s-]*(?:\w+Error: )?(Expected .*, but got[ :].*)", line):
                return found.group(1)
        if isinstance(current, OSError) and current.errno in _SYSTEM:
            return _of_the_system(current)
        current = current.__cause__ or current.__context__
    return None


def _of_the_system(error: OSError) -> str:
    what = f"to use {error.filename}" if error.filename else "room to write"
    reason = os.strerror(error.errno or 0)
    return f"Expected {what}, but got: {reason}. {_SYSTEM[error.errno or 0]}."
