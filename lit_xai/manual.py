"""What the commands say about themselves, at once: nothing heavy is imported for it."""

import argparse
import platform
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from lit_xai.refusal import refuse

SHELLS = ("bash", "zsh", "tcsh")
ENDINGS = "Exit status: 0 done, 2 refused (one line says why), 130 after Ctrl-C, 143 after SIGTERM.\n"
_TRAIN = """\
usage: lit-xai-train {fit,validate,test} -c FILE [options]

Train, validate or test an image classifier whose explanations are to be robust.

  lit-xai-train fit -c configs/experiments/embedded_natural.yaml
  lit-xai-train fit -c configs/experiments/embedded_natural.yaml --model.regime configs/regimes/pgd.yaml
  lit-xai-train fit --resume runs/embedded_natural/1

subcommands:
  fit                   Train; attacks the explanations after every epoch if the file says so.
  validate              Measure the validation split, with --ckpt_path FILE.
  test                  Measure the test split, with --ckpt_path FILE.

options:
  -h, --help            Show this; after a subcommand, its options.
  --version             Show the versions of the package and of what it stands on.
  --print_completion {bash,zsh,tcsh}
                        Print what completes this command in a shell.

Where there is no `configs/` in the current directory, the package's own is read.
"""
_RUN = """\
usage: lit-xai-train {subcommand} -c FILE [-c FILE ...] [options]

{purpose}

{examples}

files:
  -c, --config FILE     Any of the options, as YAML; later files and options win.
  --print_config        Print the configuration after all files and options, and exit. It can be read by -c.

what is trained (FILE stands for a YAML file with `class_path` and `init_args`, or the class itself):
  --model.model FILE    The network.
  --model.regime FILE   What is minimised; its settings: --model.regime.init_args.eps 0.1
  --model.optimizer FILE
  --model.scheduler FILE
  --model.warm_start FILE
                        A checkpoint or weights to begin with.
  --data FILE           The images; their settings: --data.init_args.batch_size 64

how:
  --trainer.max_epochs N
  --trainer.accelerator {{auto,cpu,gpu,...}}
  --trainer.devices N   Processes, each with its device.
  --trainer.precision {{32-true,bf16-mixed,...}}
  --trainer.limit_train_batches N
  --trainer.enable_progress_bar {{true,false}}
  --seed_everything N
{own}
where:
  --runs DIR            All runs (default: runs).
  --experiment NAME     Directory of the run in it (default: the first file's name).

more:
  --help_all            Every option, also all of Lightning's Trainer.
  --model.regime.help CLASS, --data.help CLASS, --model.model.help CLASS
                        The settings of one class.

"""
_OWN = """\
  --ckpt_path FILE      A checkpoint {use}.
"""
_EVALUATE = """\
usage: lit-xai-evaluate -c FILE [--checkpoints [NAME=]FILE ...] [--models [NAME=]FILE ...] [options]

Attack the explanations of trained classifiers on the same images, compare them, and write a report.

  lit-xai-evaluate -c configs/evaluate/quick.yaml --checkpoints runs/embedded_natural/1/checkpoints/last.ckpt
  lit-xai-evaluate -c configs/evaluate/quick.yaml --checkpoints a=a.ckpt b=b.ckpt -o results/both -n 200
  lit-xai-evaluate -c configs/evaluate/quick.yaml --models m=mine.yaml --data configs/data/fashion_mnist.yaml

files:
  -c, --config FILE     Any of the options, as YAML; later files and options win.
  --print_config        Print the configuration after all files and options, and exit. It can be read by -c.

what is compared:
  --checkpoints [NAME=]FILE ...
                        Of lit-xai-train.
  --models [NAME=]FILE ...
                        YAML files with `model` and `weights`: any network.
  --data FILE           The images (default: those of the first checkpoint).
  -n, --max_samples N   Size of the stratified subset of the test split (default: 256).
  --seed N              Of the subset (default: 0).

what is measured:
  --grid FILE           Explanations x attacks x metrics.
  --sweeps FILE         Attacks of the grid at several strengths.
  --adversary.eps R     PGD of the accuracy (default: each checkpoint's own).

how:
  --batch_size N        Samples attacked at once, in each process (default: 64).
  --accelerator {auto,cpu,gpu,...}
  --devices N           Processes, each with its device.
  --precision {32-true,64-true}

where:
  -o, --output DIR      Continued if it was stopped (default: runs/evaluate/<n>).
  --wandb_project NAME  Where W&B gets the results (default: nowhere).

more:
  --help_all            Every option.
  --grid.help, --data.help CLASS
                        The settings of one class.
  --version             Show the versions of the package and of what it stands on.
  --print_completion {bash,zsh,tcsh}
                        Print what completes this command in a shell.

Where there is no `configs/` in the current directory, the package's own is read.
"""
# Options that take no value from the next argument.
_ALONE = ("-h", "--help", "--help_all", "--version", "--print_config", "--grid.help")
_EXAMPLE = "configs/experiments/embedded_natural.yaml"
_CHECKPOINT = "runs/embedded_natural/1/checkpoints/last.ckpt"
_PURPOSES = {
    "fit": "Train a classifier, in a new run directory; a run that was stopped goes on by --resume.",
    "validate": "Measure a classifier on the validation split.",
    "test": "Measure a classifier on the test split.",
}
_EXAMPLES = {
    "fit": (
        f"  lit-xai-train fit -c {_EXAMPLE}\n"
        f"  lit-xai-train fit -c {_EXAMPLE} --model.regime configs/regimes/pgd.yaml --trainer.max_epochs 5\n"
        "  lit-xai-train fit --resume runs/embedded_natural/1"
    ),
    **{
        name: f"  lit-xai-train {name} -c {_EXAMPLE} --ckpt_path {_CHECKPOINT}"
        for name in ("validate", "test")
    },
}
_BESIDE = {
    "fit": _OWN.format(use="to begin with, and its optimiser")
    + "  --resume DIR          A run to go on with after its last finished epoch.\n",
    "validate": _OWN.format(use="to measure"),
    "test": _OWN.format(use="to measure"),
}


def answered(command: str, arguments: Sequence[str]) -> bool:
    """Write the help or the versions to standard output, if that is what is asked for.

    Args:
        command: `lit-xai-train` or `lit-xai-evaluate`.
        arguments: Of the command.

    Returns:
        Whether it was.
    """
    flags, words = _flags(arguments)
    if "--version" in flags:
        sys.stdout.write(versions() + "\n")
        return True
    if "--print_completion" in flags:
        shell = flags["--print_completion"]
        if shell not in SHELLS:
            refuse(f"Expected one of {', '.join(SHELLS)}, but got {shell or 'none'}.")
        sys.stdout.write(completion(command, shell))
        return True
    if not {"-h", "--help"} & flags.keys():
        return False
    sys.stdout.write(manual(command, next((name for name in words[:1] if name in _PURPOSES), None)))
    return True


def _flags(arguments: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return options with their values, none of which begins with a dash, and what is neither."""
    flags: dict[str, str] = {}
    words: list[str] = []
    asking = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.startswith("-"):
            flags[name] = value
            asking = "" if equals or name in _ALONE else name
        elif asking:
            flags[asking], asking = argument, ""
        else:
            words.append(argument)
    return flags, words


def manual(command: str, subcommand: str | None = None) -> str:
    """Return the help of a command: the options that most people need, and where the others are."""
    if command == "lit-xai-evaluate":
        return f"{_EVALUATE}{ENDINGS}"
    if subcommand is None:
        return f"{_TRAIN}{ENDINGS}"
    parts = {
        "purpose": _PURPOSES[subcommand],
        "examples": _EXAMPLES[subcommand],
        "own": _BESIDE[subcommand],
    }
    return _RUN.format(subcommand=subcommand, **parts) + ENDINGS


def completion(command: str, shell: str) -> str:
    """Return what completes a command's subcommands, and the options of its help, in a shell.

    Those of the whole parser would take minutes to collect: its classes have options of their own.

    Args:
        command: `lit-xai-train` or `lit-xai-evaluate`.
        shell: One of `SHELLS`.
    """
    import shtab

    parser = _with_options(argparse.ArgumentParser(command, add_help=False), manual(command))
    if command == "lit-xai-train":
        subcommands = parser.add_subparsers()
        for name in _PURPOSES:
            own = subcommands.add_parser(name, help=_PURPOSES[name], add_help=False)
            _with_options(own, manual(command, name))
    return str(shtab.complete(parser, shell)) + "\n"


def _with_options(parser: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
    import shtab

    # The names stand before the first wide gap.
    heads = re.findall(r"^  (-.*?)(?:  |$)", text, re.MULTILINE)
    for name in dict.fromkeys(re.findall(r"(?<![\w.])--?[a-zA-Z][\w.]*", " ".join(heads))):
        parser.add_argument(name).complete = shtab.FILE  # type: ignore[attr-defined]
    return parser


def versions() -> str:
    """Return the versions of the package and of what it stands on, in one line."""
    found = [f"{name} {_version(name)}" for name in ("lit_xai", "torch", "lightning")]
    return ", ".join([*found, f"Python {platform.python_version()}"])


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"
