"""What a command says and where: what informs on standard output, a line for each warning on the other."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric")
# What the user of a command can do nothing about, or what is so on purpose.
_SILENT = (
    # The images lie in memory: worker processes would slow their reading down.
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


@contextmanager
def plain_streams() -> Iterator[None]:
    """Write each warning as one line, `warning: ...`, and Lightning's information to standard output.

    A warning that is repeated word for word is written once. Everything is as before in the end.
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
        with warnings.catch_warnings():
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
