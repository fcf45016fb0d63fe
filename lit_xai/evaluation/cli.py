"""The evaluation command."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from jsonargparse import Namespace
from lightning.fabric import Fabric

from lit_xai.command import Parser, modules_beside
from lit_xai.data.base import ImageDataModule, Split
from lit_xai.data.listing import write_split_list
from lit_xai.evaluation import card
from lit_xai.evaluation.checkpoints import load_data
from lit_xai.evaluation.code import package_digest
from lit_xai.evaluation.devices import PRECISIONS, in_precision, started
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.naming import named_checkpoints, named_models
from lit_xai.evaluation.options import evaluation_parser
from lit_xai.evaluation.output import CARD, claimed
from lit_xai.evaluation.pieces import Subset
from lit_xai.evaluation.plan import Plan, Settings, planned
from lit_xai.evaluation.publishing import publish
from lit_xai.evaluation.results import seconds, write_results
from lit_xai.evaluation.running import Runner
from lit_xai.evaluation.store import Store, identity, writing
from lit_xai.evaluation.subjects import (
    Subject,
    check_network,
    from_checkpoint,
    from_model,
    independent,
)
from lit_xai.evaluation.sweep import expand
from lit_xai.evaluation.table import headline
from lit_xai.evaluation.together import ending_together
from lit_xai.files import write_whole
from lit_xai.programs import program
from lit_xai.redaction import check_command, redacted
from lit_xai.refusal import one_line_errors
from lit_xai.regimes.pgd import PGD
from lit_xai.reporting.claims import check_claims
from lit_xai.reporting.report import write_report
from lit_xai.streams import plain_streams

_REMEDY = "The same command continues it."


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


def _under(adversary: PGD | None, precision: str, subjects: Sequence[Subject]) -> list[Subject]:
    """Give every network the precision, and the same adversary if there is one."""
    cast = [in_precision(subject, precision) for subject in subjects]
    return [subject if adversary is None else replace(subject, adversary=adversary) for subject in cast]


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
    sums = fabric.broadcast(card.checksums(data, grid) if fabric.is_global_zero else {})
    return Settings(
        environment={
            "versions": card.versions(),
            "code": package_digest(),
            "device": card.described_device(fabric),
            "precision": PRECISIONS[options["precision"]],
            "grid": {"class_path": options["grid"]["class_path"], "init_args": own},
        },
        data={
            **card.described_data(data, sums),
            **{name: options[name] for name in ("max_samples", "seed", "batch_size")},
        },
        attributions=card.described_attributions(grid, parts),
        attacks=card.described_attacks(grid, parts, families),
        metrics=card.described_metrics(grid, parts),
        examples=options["examples"],
    )


def _used(data: ImageDataModule, settings: Settings) -> tuple[Split, ...]:
    """Return the splits that an evaluation reads."""
    return ("test", data.donor_split) if "donors" in settings.data["sha256"] else ("test",)


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
    """Claim the directory in the first process, for all of them."""
    if not fabric.is_global_zero:
        claim: Path = fabric.broadcast(Path())
        yield claim
        return
    with claimed(output, Path("runs"), name) as directory:
        yield fabric.broadcast(directory)


def _check(config: Namespace) -> None:
    if config.examples < 0:
        raise ValueError(f"Expected `examples` of at least 0, but got {config.examples}.")


def _run(config: Namespace, parser: Parser, command: Sequence[str]) -> Path:
    _check(config)
    built = parser.instantiate(config)
    subjects = _under(built.adversary, config.precision, _subjects(config))
    data = _data(config, built.data)
    for subject in subjects:
        check_network(subject, data)
    attacks, families = expand(built.grid.attacks, built.sweeps)
    grid = built.grid.with_attacks(attacks)
    names = [subject.name for subject in subjects]
    check_claims(built.claims, names, grid.attributions, grid.attacks, list(grid.metrics))
    options = yaml.safe_load(parser.dump(config))
    subset = Subset(data, config.max_samples, config.seed, config.batch_size)
    fabric = started(config.accelerator, config.devices, config.strategy, config.num_nodes)
    with ending_together(fabric, _REMEDY):
        settings = _settings(options, grid, families, data, fabric)
        plans = [planned(subject, grid, subset, settings) for subject in subjects]
        with _directory(config.output, _name(plans, built.claims), fabric) as output:
            store = Store(output / "cells")
            passes = Runner(store, fabric).run(plans)
            if fabric.is_global_zero:
                with writing(output):
                    write_split_list(data, _used(data, settings), output)
                    results = write_results(output, plans, store)
                    content = card.content(redacted(options), plans, settings, results, passes)
                    page = _report(output, content, plans, store, command)
                sys.stdout.write(_closing_words(results, output, page))
                if config.wandb_project is not None:
                    run = publish(output, config.wandb_project, named_checkpoints(config.checkpoints))
                    sys.stdout.write(f"W&B:     {run}\n")
    return output


def _report(
    output: Path, content: Mapping[str, Any], plans: Sequence[Plan], store: Store, command: Sequence[str]
) -> Path:
    """Write the card, and the report that is made from it."""
    times = {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": list(command),
        "seconds": {plan.subject.name: seconds(plan, store) for plan in plans},
    }
    write_whole(output / CARD, json.dumps({**times, **content}, indent=2, allow_nan=False) + "\n")
    return write_report(output)


def _closing_words(results: pd.DataFrame, output: Path, page: Path) -> str:
    return (
        f"\n{headline(results)}\n\n"
        f"Results: {output / 'results.csv'}\nSamples: {output / 'samples.parquet'}\n"
        f"Report:  {page}, to be opened in a browser\n"
        f"Rank it: {program('lit-xai-leaderboard')} {output.parent}\n"
    )


def evaluated(arguments: Sequence[str]) -> Path:
    """Evaluate networks and return the directory of the results.

    Args:
        arguments: As on the command line.
    """
    with plain_streams(), modules_beside(), one_line_errors(lambda: _REMEDY):
        check_command(arguments)
        parser = evaluation_parser()
        return _run(parser.parse_args(list(arguments)), parser, ["evaluate.py", *arguments])
