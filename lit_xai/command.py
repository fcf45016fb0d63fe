"""What the commands share: a parser and an ending that speak in a few lines."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

_LINES = 3
_WIDTH = 400


def refuse(message: str) -> NoReturn:
    """Write a message of at most three lines to standard error and exit with status 2."""
    lines = [line.strip()[:_WIDTH] for line in message.strip().splitlines() if line.strip()]
    sys.stderr.write("\n".join(["error: " + lines[0], *lines[1:_LINES]]) + "\n")
    raise SystemExit(2)


class Parser(LightningArgumentParser):
    """A parser that takes no abbreviations and refuses in a few lines, without a page of usage."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Otherwise `--trainer.max_epoch` would be taken for `--trainer.max_epochs`.
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the process with the message."""
        refuse(message)


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
