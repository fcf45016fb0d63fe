"""The commands that train and evaluate; their help is there before anything heavy is imported."""

import sys
from collections.abc import Sequence

from lit_xai.manual import answered
from lit_xai.refusal import one_line_errors


def train_cli(args: Sequence[str] | None = None) -> None:
    """Train, validate or test as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    arguments = sys.argv[1:] if args is None else args
    if answered("lit-xai-train", arguments):
        return
    # Ctrl-C reaches the imports too.
    with one_line_errors():
        from lit_xai.training.entry import trained
    trained(arguments)


def evaluate_cli(args: Sequence[str] | None = None) -> None:
    """Evaluate networks as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    arguments = sys.argv[1:] if args is None else args
    if answered("lit-xai-evaluate", arguments):
        return
    with one_line_errors():
        from lit_xai.evaluation.cli import evaluated
    evaluated(arguments)
