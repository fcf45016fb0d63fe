"""Endings that speak in a few lines; used by every command, so without heavy imports."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

_LINES = 3
_WIDTH = 400


def refuse(message: str) -> NoReturn:
    """Write a message of at most three lines to standard error and exit with status 2."""
    lines = [line.strip()[:_WIDTH] for line in message.strip().splitlines() if line.strip()]
    sys.stderr.write("\n".join(["error: " + lines[0], *lines[1:_LINES]]) + "\n")
    raise SystemExit(2)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for errors that speak to the user; let every other error through.

    Messages of this package that speak to the user have the form "Expected ..., but got ...".
    """
    try:
        yield
    except Exception as error:
        message = _spoken(error)
        if message is None:
            raise
        refuse(message)


def _spoken(error: BaseException) -> str | None:
    """Find this package's own words in an error or in those that it wraps."""
    current: BaseException | None = error
    while current is not None:
        # Not RuntimeError: torch words its own errors the same way.
        lines = str(current).splitlines() if isinstance(current, ValueError | TypeError | OSError) else []
        for line in lines:
            if found := re.match(r"[\s-]*(Expected .*, but got .*)", line):
                return found.group(1)
        current = current.__cause__ or current.__context__
    return None
