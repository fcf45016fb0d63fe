"""The leaderboard command."""

import sys
from collections.abc import Sequence
from pathlib import Path

from lit_xai.plain_parser import PlainParser
from lit_xai.refusal import one_line_errors

_EXAMPLES = (
    "lit-xai-leaderboard runs/evaluate",
    "lit-xai-leaderboard runs/evaluate -o boards/today.html",
)


def _parser() -> PlainParser:
    parser = PlainParser(
        "lit-xai-leaderboard",
        "Rank checkpoints of many evaluations by how well their explanations withstand attacks.",
        _EXAMPLES,
    )
    parser.add_argument(
        "directory", type=Path, metavar="DIR", help="Searched, to any depth, for card.json with results.csv."
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="The page (default: DIR/leaderboard.html); leaderboard.csv is written beside it.",
    )
    return parser


def write_leaderboard(directory: Path, output: Path | None = None) -> Path:
    """Write a ranked page of all evaluations below a directory, and its table as CSV beside it.

    Cards that cannot be read are named at the end of the page. Equal cards give equal bytes.

    Args:
        directory: Searched to any depth.
        output: The page; by default `leaderboard.html` in the directory.

    Returns:
        The page.

    Raises:
        ValueError: If there is no card, or the page cannot be written.
    """
    # Here, so that the command's help needs no tables.
    from lit_xai.reporting.board_page import page, records
    from lit_xai.reporting.boards import boards
    from lit_xai.reporting.cards import find_cards

    output = directory / "leaderboard.html" if output is None else output
    if output.suffix != ".html":
        raise ValueError(f"Expected an `output` that ends in .html, but got {str(output)!r}.")
    if not directory.is_dir():
        raise ValueError(f"Expected a directory with evaluations, but got {str(directory)!r}.")
    evaluations, unread = find_cards(directory)
    if not evaluations and not unread:
        raise ValueError(
            f"Expected a card.json below {str(directory)!r}, but got none. `lit-xai-evaluate` writes them."
        )
    ranked = boards(evaluations)
    text = page(ranked, unread, cards=len(evaluations), directory=directory, output=output)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _write(output, text)
        _write(output.with_name("leaderboard.csv"), records(ranked))
    except OSError as error:
        raise ValueError(
            f"Expected a file for `output`, but got {str(output)!r}: {error.strerror}."
        ) from error
    return output


def _write(path: Path, text: str) -> None:
    # Names from JSON may hold half a character, which no file can.
    path.write_text(text, encoding="utf-8", errors="replace", newline="\n")


def leaderboard_cli(args: Sequence[str] | None = None) -> None:
    """Write a leaderboard as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    options = _parser().parse_args(args)
    with one_line_errors():
        output = write_leaderboard(options.directory, options.output)
    sys.stdout.write(
        f"Leaderboard: {ascii(str(output))[1:-1] if not str(output).isprintable() else output}\n"
    )
