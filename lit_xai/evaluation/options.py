"""The options of the evaluation command."""

from pathlib import Path

from jsonargparse import ActionConfigFile  # type: ignore[attr-defined]

from lit_xai.command import Parser
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.sweep import Sweep
from lit_xai.regimes.pgd import PGD


def evaluation_parser() -> Parser:
    """Return the parser of the evaluation command."""
    parser = Parser(
        prog="lit-xai-evaluate",
        description="Attack the explanations of trained classifiers and compare them.",
    )
    add = parser.add_argument
    add("-c", "--config", action=ActionConfigFile, help="File with any of the options below.")
    add("--help_all", action="help", help="Show every option and exit.")
    parser.add_manners()
    add("--checkpoints", type=str, nargs="+", default=[], help="Files, or name=file.")
    add(
        "--models",
        type=str,
        nargs="+",
        default=[],
        help="YAML files with `model` and `weights`, or name=file.",
    )
    parser.add_subclass_arguments(Grid, "grid", help="What is measured.", required=True)
    add(
        "--sweeps",
        type=dict[str, Sweep],
        default={},
        sub_configs=True,
        help="Attacks of the grid that run at several strengths.",
    )
    parser.add_subclass_arguments(
        ImageDataModule,
        "data",
        required=False,
        help="The images (default: the data of the first checkpoint).",
    )
    add("-n", "--max_samples", type=int, default=256, help="Size of the stratified subset of the test split.")
    add("--batch_size", type=int, default=64, help="Samples attacked at once, in each process.")
    add("--seed", type=int, default=0, help="Of the subset.")
    add("--examples", type=int, default=3, help="Samples shown at each end of an attack's scores.")
    add(
        "--adversary", type=PGD | None, default=None, help="Of the accuracy (default: each checkpoint's own)."
    )
    add(
        "--claims",
        type=dict[str, dict[str, float]],
        default={},
        sub_configs=True,
        help="Claimed values by checkpoint and attribution/attack/metric, to be compared with the measured.",
    )
    add(
        "-o",
        "--output",
        type=Path | None,
        default=None,
        help="Directory, continued if it was stopped (default: runs/evaluate/<n>).",
    )
    add(
        "--wandb_project",
        type=str | None,
        default=None,
        help="Where W&B gets the results (default: nowhere).",
    )
    add("--accelerator", type=str, default="auto", help="As in Lightning's Trainer.")
    add("--devices", type=int | str, default="auto", help="As in Lightning's Trainer.")
    add("--num_nodes", type=int, default=1, help="Machines; a launcher starts the command on each.")
    add("--strategy", type=str, default="auto", help="auto or ddp: every process holds the whole network.")
    add("--precision", type=str, default="32-true", help="Of networks and explanations: 32-true or 64-true.")
    return parser
