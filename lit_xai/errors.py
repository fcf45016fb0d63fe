"""How a command ends when its input is wrong."""

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

    Messages of this package that speak to the user begin with `Expected`.
    """
    try:
        yield
    except (ValueError, TypeError, OSError) as error:
        if re.match(r"Expected\b", str(error)) is None:
            raise
        refuse(str(error))
