"""The evaluation command."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jsonargparse import Namespace
from lightning.fabric import Fabric

from lit_xai.command import Parser
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation import card
from lit_xai.evaluation.checkpoints import load_data
from lit_xai.evaluation.code import package_digest
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.naming import named_checkpoints, named_models
from lit_xai.evaluation.options import evaluation_parser
from lit_xai.evaluation.output import CARD, claimed
from lit_xai.evaluation.pieces import Subset
from lit_xai.evaluation.plan import Plan, Settings, planned
from lit_xai.evaluation.publishing import publish
from lit_xai.evaluation.results import seconds, write_results
from lit_xai.evaluation.running import Runner
from lit_xai.evaluation.store import Store, identity
from lit_xai.evaluation.subjects import (
    Subject,
    check_network,
    from_checkpoint,
    from_model,
    independent,
)
from lit_xai.evaluation.sweep import expand
from lit_xai.evaluation.table import headline
from lit_xai.files import write_whole
from lit_xai.refusal import one_line_errors
from lit_xai.regimes.pgd import PGD
from lit_xai.reporting.claims import check_claims
from lit_xai.reporting.report import write_report


def _subjects(config: Namespace) -> list[Subject]:
    checkpoints, models = named_checkpoints(config.checkpoints), named_models(config.models)
    if not checkpoints and not models:
        raise ValueError("Expected at least one of `--checkpoints` or `--models`, but got none.")
    if shared := checkpoints.keys() & models.keys():
        raise ValueError(
            f"Expected one network for each name, but got two for {min(shared)}. Write name=path."
        )
    subjects = [from_checkpoint(name, path) for name, path in checkpoints.items()]
    subjects += [from_model(name, path) for name, path in models.items()]
    return independent(subjects)


def _under(adversary: PGD | None, subjects: Sequence[Subject]) -> list[Subject]:
    """Give every network the same adversary, if there is one."""
    return [subject if adversary is None else replace(subject, adversary=adversary) for subject in subjects]


def _data(config: Namespace, given: ImageDataModule | None) -> ImageDataModule:
    if given is not None:
        return given
    checkpoints = named_checkpoints(config.checkpoints)
    if not checkpoints:
        raise ValueError("Expected `--data` where there is no checkpoint that names its own, but got none.")
    return load_data(next(iter(checkpoints.values())))


def _settings(
    options: Mapping[str, Any],
    grid: Grid,
    families: Mapping[str, tuple[str, Mapping[str, float]]],
    data: ImageDataModule,
    fabric: Fabric,
) -> Settings:
    parts = options["grid"].get("init_args", {})
    own = {name: value for name, value in parts.items() if name not in ("attributions", "attacks", "metrics")}
    return Settings(
        environment={
            "versions": card.versions(),
            "code": package_digest(),
            "device": card.described_device(fabric),
            "grid": {"class_path": options["grid"]["class_path"], "init_args": own},
        },
        data={
            **card.described_data(data),
            **{name: options[name] for name in ("max_samples", "seed", "batch_size")},
        },
        attributions=card.described_attributions(grid, parts),
        attacks=card.described_attacks(grid, parts, families),
        metrics=card.described_metrics(grid, parts),
        examples=options["examples"],
    )


def _name(plans: Sequence[Plan], claims: Mapping[str, Mapping[str, float]]) -> str:
    """Name everything that decides the result files."""
    grid = plans[0].grid
    return identity(
        [[plan.subject.name, [piece.key for piece in plan.pieces]] for plan in plans],
        [list(part) for part in (grid.attributions, grid.attacks, grid.metrics)],
        claims,
    )


@contextmanager
def _directory(output: Path | None, name: str, fabric: Fabric) -> Iterator[Path]:
    """Claim the directory in the first process, for all of them.

    Raises:
        ValueError: If it cannot be claimed; the other processes end without a word.
    """
    if not fabric.is_global_zero:
        found: Path | None = fabric.broadcast(None)
        if found is None:
            raise SystemExit(2)
        yield found
        return
    with ExitStack() as stack:
        try:
            directory = stack.enter_context(claimed(output, Path("runs"), name))
        except ValueError:
            fabric.broadcast(None)
            raise
        yield fabric.broadcast(directory)


def _devices(config: Namespace) -> Fabric:
    try:
        fabric = Fabric(accelerator=config.accelerator, devices=config.devices)
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected `accelerator` and `devices` of this machine, but got {config.accelerator} and "
            f"{config.devices}: {reason[:200]}"
        ) from error
    fabric.launch()
    return fabric


def _check(config: Namespace) -> None:
    if config.examples < 0:
        raise ValueError(f"Expected `examples` of at least 0, but got {config.examples}.")


def _run(config: Namespace, parser: Parser, command: Sequence[str]) -> Path:
    _check(config)
    built = parser.instantiate(config)
    subjects = _under(built.adversary, _subjects(config))
    data = _data(config, built.data)
    for subject in subjects:
        check_network(subject, data)
    attacks, families = expand(built.grid.attacks, built.sweeps)
    grid = built.grid.with_attacks(attacks)
    names = [subject.name for subject in subjects]
    check_claims(built.claims, names, grid.attributions, grid.attacks, list(grid.metrics))
    fabric = _devices(config)
    options = yaml.safe_load(parser.dump(config))
    settings = _settings(options, grid, families, data, fabric)
    subset = Subset(data, config.max_samples, config.seed, config.batch_size)
    plans = [planned(subject, grid, subset, settings) for subject in subjects]
    with _directory(config.output, _name(plans, built.claims), fabric) as output:
        store = Store(output / "cells")
        passes = Runner(store, fabric).run(plans)
        if fabric.is_global_zero:
            results = write_results(output, plans, store)
            times = {
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": list(command),
                "seconds": {plan.subject.name: seconds(plan, store) for plan in plans},
            }
            content = {**times, **card.content(options, plans, settings, results, passes)}
            write_whole(output / CARD, json.dumps(content, indent=2, allow_nan=False) + "\n")
            sys.stdout.write(_closing_words(results, output, write_report(output)))
            if config.wandb_project is not None:
                run = publish(output, config.wandb_project, named_checkpoints(config.checkpoints))
                sys.stdout.write(f"W&B:     {run}\n")
    return output


def _closing_words(results: pd.DataFrame, output: Path, page: Path) -> str:
    return (
        f"\n{headline(results)}\n\n"
        f"Results: {output / 'results.csv'}\nSamples: {output / 'samples.parquet'}\nReport:  {page}\n"
    )


def evaluated(arguments: Sequence[str]) -> Path:
    """Evaluate networks and return the directory of the results.

    Args:
        arguments: As on the command line.
    """
    with one_line_errors():
        parser = evaluation_parser()
        return _run(parser.parse_args(list(arguments)), parser, ["evaluate.py", *arguments])


def evaluate_cli(args: Sequence[str] | None = None) -> None:
    """Evaluate networks as the command line says.

    Args:
        args: Arguments, as on the command line; those of the process if None.
    """
    evaluated(sys.argv[1:] if args is None else args)
