"""The arguments of a training command that goes on with a run."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from pathlib import Path

import yaml
from jsonargparse import Namespace

from lit_xai.redaction import HIDDEN
from lit_xai.runs import CONFIG, check_run

_OPTION = "--resume"
_OWN = ("experiment", "runs", "ckpt_path")


def resumed_run(arguments: Sequence[str]) -> Path | None:
    """Return the run of `fit --resume RUN`; None for every other command.

    Raises:
        ValueError: If it is no run that can go on.
    """
    if "fit" not in arguments:
        return None
    found = None
    for index, argument in enumerate(arguments):
        if argument == _OPTION and index + 1 < len(arguments):
            found = Path(arguments[index + 1])
        elif argument.startswith(f"{_OPTION}="):
            found = Path(argument.removeprefix(f"{_OPTION}="))
    if found is not None:
        check_run(found)
    return found


def with_configuration(arguments: Sequence[str], run_dir: Path) -> list[str]:
    """Return the arguments of `fit` with the run's own configuration before all others."""
    place = list(arguments).index("fit") + 1
    return [*arguments[:place], "--config", str(run_dir / CONFIG), *arguments[place:]]


def adds_options(arguments: Sequence[str]) -> bool:
    """Return whether anything is given beside the run of `fit --resume RUN`."""
    rest = [argument for argument in arguments if argument != "fit"]
    return len(rest) > (1 if rest and rest[0].startswith(f"{_OPTION}=") else 2)


def check_same_run(config: Namespace, run_dir: Path) -> None:
    """Refuse options that name another run or its beginning.

    Raises:
        ValueError: If there is one.
    """
    stored = yaml.safe_load((run_dir / CONFIG).read_text())
    for name in _OWN:
        if str(config.get(name)) != str(stored.get(name)):
            raise ValueError(
                f"Expected no `--{name}` beside `{_OPTION}`, but got {config.get(name)}. A run goes on in "
                "its own directory, from its own checkpoint."
            )


def check_no_secret_missing(config: Namespace) -> None:
    """Refuse a configuration from which a secret was left out when it was written down.

    Raises:
        ValueError: If there is one.
    """
    if HIDDEN in str(config):
        raise ValueError(
            "Expected the secrets of this run again, but got none: they were not written down. Give them in "
            "the environment, or their part of the configuration in a file after `--config`."
        )


@contextmanager
def refused_in_one_line(path: Path) -> Iterator[None]:
    """Turn what the parser writes of a checkpoint's settings before it exits into an error.

    Args:
        path: Of the checkpoint, for the message.

    Raises:
        ValueError: If the parser exits.
    """
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            yield
    except SystemExit as error:
        reason = " ".join(said.getvalue().split()).removeprefix("error: ")
        raise ValueError(
            f"Expected a checkpoint of the training command, but got {path}: {reason[:200]}"
        ) from error
