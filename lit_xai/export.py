"""The command that writes the network of a checkpoint for use without this package."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lit_xai.plain_parser import PlainParser
from lit_xai.programs import program
from lit_xai.refusal import one_line_errors
from lit_xai.shipped import evaluation_file

if TYPE_CHECKING:
    from lit_xai.portable import Portable

_EXAMPLES = (
    "lit-xai-export runs/embedded_natural/1/checkpoints/last.ckpt --output exported",
    "lit-xai-export runs/image_folder_ig_norm/1/checkpoints/last.ckpt -o networks/robust",
)
_COLORS = 3


def export_cli(args: Sequence[str] | None = None) -> None:
    """Write the network of the checkpoint on the command line, and say how to use it.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    options = _parser().parse_args(args)
    with one_line_errors():
        # Not above: the help must not wait for torch.
        from lit_xai.command import modules_beside
        from lit_xai.exporting import export
        from lit_xai.streams import plain_streams

        with plain_streams(), modules_beside():
            sys.stdout.write(closing_words(export(options.checkpoint, options.output), options.output))


def closing_words(written: "Portable", folder: Path) -> str:
    """Return where a network is, and what can be done with it.

    Args:
        written: The network.
        folder: Its directory.
    """
    from lit_xai.portable import DESCRIPTION, WEIGHTS

    usage = written.lines(str(folder)).splitlines()
    command = f"{program('lit-xai-evaluate')} -c {evaluation_file(color=written.channels == _COLORS)}"
    return (
        f"Network: {folder} ({written.library}'s own names, {folder / WEIGHTS})\n"
        "Use it:\n" + "".join(f"    {line}\n" for line in usage) + f"Evaluate it: {command} "
        f"--models exported={folder / DESCRIPTION} --data FILE\n"
    )


def _parser() -> PlainParser:
    parser = PlainParser(
        "lit-xai-export",
        "Write the network of a checkpoint as safetensors that timm or torchvision reads.",
        _EXAMPLES,
    )
    parser.add_argument(
        "checkpoint", type=Path, metavar="CHECKPOINT", help="A file that lit-xai-train wrote."
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="Directory to make; it must be new."
    )
    return parser
