"""The command that makes reports again from result files."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lit_xai.plain_parser import PlainParser
from lit_xai.refusal import one_line_errors

_EXAMPLES = (
    "lit-xai-report runs/evaluate/1",
    "lit-xai-report runs/evaluate/*",
    "lit-xai-leaderboard runs/evaluate    one page that ranks them all",
)


def report_cli(args: Sequence[str] | None = None) -> None:
    """Write the report of every directory named on the command line, and print where it is.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    parser = PlainParser(
        "lit-xai-report",
        "Write report.html, results.tex and comparisons.csv from evaluations' result files.",
        _EXAMPLES,
    )
    parser.add_argument("directories", metavar="DIR", nargs="+", type=Path, help="What evaluate.py wrote.")
    directories = parser.parse_args(args).directories
    with one_line_errors():
        # Not above: the help must not wait for pandas and matplotlib.
        from lit_xai.reporting.report import write_report

        for directory in directories:
            sys.stdout.write(f"{write_report(directory)}\n")
