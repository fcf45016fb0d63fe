"""What a command says and where: what informs on standard output, a line for each warning on the other."""

import logging
import re
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO

_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric")
# What the user of a command can do nothing about, or what is so on purpose.
_SILENT = (
    # Images in memory are read faster without worker processes; those in files have two by default.
    "The '.*_dataloader' does not have many workers",
    # Every curve has a point for each epoch, however short epochs are.
    "The number of training batches .* is smaller than the logging interval",
    # A run that goes on does so in its own directory, and keeps what is there.
    "Checkpoint directory .* exists and is not empty",
    "Experiment logs directory .* exists and is not empty",
    # The subcommands set what they need; `args` is for tests and notebooks.
    "LightningCLI's args parameter is intended",
    # `--trainer.logger=true` is a choice of the user's; which packages are there is not.
    "Starting from v1.9.0, `tensorboardX` has been removed",
    # Between Lightning and torch.
    "`isinstance\\(treespec, LeafSpec\\)` is deprecated",
)
_ADVERTISEMENT = "Tip: For seamless cloud "
# How often a bar is seen that is drawn into a file.
_SECONDS = 60.0
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@contextmanager
def plain_streams() -> Iterator[None]:
    """Write each warning as one line, `warning: ...`, and Lightning's information to standard output.

    A warning that is repeated word for word is written once. Where a stream is no terminal, a progress bar
    is a line a minute and its last state, not a line for every step. Everything is as before in the end.
    """
    # Both bring their handlers, and their own way of writing warnings, when they are imported.
    import lightning.fabric
    import lightning.pytorch  # noqa: F401

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [logger.handlers[:] for logger in loggers]
    format_before = warnings.formatwarning
    handler = _Lines()
    handler.setFormatter(logging.Formatter("%(message)s"))
    try:
        for logger in loggers:
            if logger.handlers:
                logger.handlers[:] = [handler]
        warnings.formatwarning = _OneLine()  # type: ignore[assignment]
        with warnings.catch_warnings(), _without_bars():
            for message in _SILENT:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        warnings.formatwarning = format_before
        for logger, handlers in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers


class _OneLine:
    """Stands for `warnings.formatwarning`."""

    def __init__(self) -> None:
        self.written: set[str] = set()

    def __call__(self, message: Warning | str, *_: Any) -> str:
        words = " ".join(str(message).split())
        if words in self.written:
            return ""
        self.written.add(words)
        return f"warning: {words}\n"


class _Lines(logging.Handler):
    """Information to standard output, as it is at that moment; what is worse as a warning."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if _ADVERTISEMENT in text:
            return
        if record.levelno < logging.WARNING:
            sys.stdout.write(text + "\n")
        else:
            sys.stderr.write(f"warning: {' '.join(text.split())}\n")


@contextmanager
def _without_bars() -> Iterator[None]:
    with ExitStack() as stack:
        for stream, redirect in ((sys.stdout, redirect_stdout), (sys.stderr, redirect_stderr)):
            if not stream.isatty():
                lines = Lines(stream)
                stack.callback(lines.end)
                stack.enter_context(redirect(lines))
        yield


class Lines:
    """A text stream in which what is overwritten, after a carriage return, is left out.

    Args:
        stream: Where lines go.
        seconds: After so many a line that is overwritten again and again is written once.
    """

    def __init__(self, stream: TextIO, seconds: float = _SECONDS) -> None:
        self._stream = stream
        self._seconds = seconds
        self._shown = time.monotonic()
        self._line = self._before = ""
        self._drawn = False

    def write(self, text: str) -> int:
        """Write whole lines; hold back what may be overwritten."""
        for part in re.split(r"([\r\n])", _MOVES.sub("", text)):
            if part == "\n":
                self._stream.write(f"{self._state()}\n")
                self._line, self._before, self._drawn = "", "", False
            elif part == "\r":
                self._overwrite()
            else:
                self._line += part
        return len(text)

    def _state(self) -> str:
        # A bar is ended by drawing it, or by blanks over it.
        return self._line if self._line or not self._drawn else self._before

    def _overwrite(self) -> None:
        self._before = self._state().strip()
        self._line, self._drawn = "", True
        if self._before and time.monotonic() - self._shown >= self._seconds:
            self._stream.write(f"{self._before}\n")
            self._stream.flush()
            self._shown = time.monotonic()

    def flush(self) -> None:
        """Write what stands in a line that nobody overwrites."""
        if not self._drawn:
            self._stream.write(self._line)
            self._line = ""
        self._stream.flush()

    def end(self) -> None:
        """Write what is left."""
        left = self._state().strip() if self._drawn else self._line
        if left:
            self._stream.write(f"{left}\n" if self._drawn else left)
        self._line, self._before, self._drawn = "", "", False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
