"""The parser that the commands share which build classes from files."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from lit_xai.complaints import in_plain_words
from lit_xai.manual import versions
from lit_xai.refusal import refuse
from lit_xai.shipped import with_shipped

_ARGUMENTS: ContextVar[tuple[str, ...]] = ContextVar("arguments", default=())


class Parser(LightningArgumentParser):
    """A parser that takes no abbreviations and refuses in one line, without a page of usage.

    A file of `configs/` that is not in the current directory is the one that comes with the package.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        # Otherwise `--trainer.max_epoch` would be taken for `--trainer.max_epochs`.
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def add_manners(self) -> None:
        """Add `--version`, which every command has."""
        self.add_argument("--version", action="version", version=versions(), help="Show the versions.")

    def parse_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, *rest: Any, **options: Any
    ) -> Any:
        """Parse as jsonargparse does; `configs/...` is found wherever the command runs."""
        arguments = with_shipped(sys.argv[1:] if args is None else args)
        # Classes inside have parsers of their own, which get a part of the arguments.
        token = _ARGUMENTS.set(_ARGUMENTS.get() or tuple(arguments))
        try:
            return super().parse_args(arguments, *rest, **options)
        finally:
            _ARGUMENTS.reset(token)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End the process with the message, in words that name the option and what is like it."""
        refuse(in_plain_words(message, _options(self), _ARGUMENTS.get()))


def _options(parser: argparse.ArgumentParser) -> set[str]:
    found = set(parser._option_string_actions)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = found.union(*map(_options, action.choices.values()))
    return found


@contextmanager
def modules_beside() -> Iterator[None]:
    """Let modules in the current directory be imported, after all others, as beside a script of one's own."""
    here = str(Path.cwd())
    # `python -P` and PYTHONSAFEPATH say that it must not be.
    if sys.flags.safe_path or {here, ""} & set(sys.path):
        yield
        return
    sys.path.append(here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
