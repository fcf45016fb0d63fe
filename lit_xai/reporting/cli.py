"""The command that makes reports again from result files."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lit_xai.refusal import one_line_errors, refuse


class _Parser(argparse.ArgumentParser):
    """Refuses in one line."""

    def error(self, message: str) -> NoReturn:
        refuse(message)


def report_cli(args: Sequence[str] | None = None) -> None:
    """Write the report of every directory named on the command line, and print where it is.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    parser = _Parser(
        prog="lit-xai-report",
        description="Write report.html, results.tex and comparisons.csv from evaluations' result files.",
        allow_abbrev=False,
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="What evaluate.py wrote.")
    directories = parser.parse_args(args).directories
    # Not above: the help must not wait for pandas and matplotlib.
    from lit_xai.reporting.report import write_report

    for directory in directories:
        with one_line_errors():
            sys.stdout.write(f"{write_report(directory)}\n")
