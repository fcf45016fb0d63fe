"""The parser of commands that have few options and build nothing from files."""

import argparse
import sys
from collections.abc import Sequence
from typing import NoReturn

from lit_xai.manual import ENDINGS, SHELLS, versions
from lit_xai.refusal import refuse


class PlainParser(argparse.ArgumentParser):
    """A parser of few options: refuses in one line, takes no abbreviations, knows its version.

    Args:
        prog: The command.
        description: What it does.
        examples: Commands, shown in the help.
    """

    def __init__(self, prog: str, description: str, examples: Sequence[str]) -> None:
        lines = "".join(f"  {example}\n" for example in examples)
        super().__init__(
            prog=prog,
            description=description,
            epilog=f"examples:\n{lines}\n{ENDINGS}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        self.add_argument("--version", action="version", version=versions(), help="Show the versions.")
        self.add_argument(
            "--print_completion",
            choices=SHELLS,
            action=_PrintCompletion,
            help="Print what completes this command in a shell.",
        )

    def error(self, message: str) -> NoReturn:
        """End the process with the message."""
        refuse(message)


class _PrintCompletion(argparse.Action):
    def __init__(self, option_strings: Sequence[str], dest: str, choices: Sequence[str], help: str) -> None:  # noqa: A002, ARG002
        super().__init__(
            option_strings, argparse.SUPPRESS, choices=choices, default=argparse.SUPPRESS, help=help
        )

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,  # noqa: ARG002
        values: object,
        _: str | None = None,
    ) -> None:
        import shtab

        sys.stdout.write(shtab.complete(parser, str(values)) + "\n")
        parser.exit()
