"""A finished evaluation as one run of W&B."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from io import BytesIO
from itertools import count
from math import isfinite, isnan
from pathlib import Path
from typing import Any

import pandas as pd
import wandb
from PIL import Image

from lit_xai.evaluation.published_tables import CELL, COUNTS, NUMBERS, tables
from lit_xai.reporting.plots.base import png
from lit_xai.reporting.plots.gallery import gallery
from lit_xai.reporting.reading import Results, read
from lit_xai.reporting.tables import attacks
from lit_xai.runs import keep_wandb_inside

_FILES = ("results.csv", "samples.parquet", "card.json", "report.html", "results.tex", "comparisons.csv")
_NOT_CONFIG = ("created", "seconds", "config")
_PLOT_WIDTH = 1200
_LARGE = 10_000_000
_LONG = 50


def publish(directory: Path, project: str, checkpoints: Mapping[str, Path]) -> Path | str:
    """Publish a result directory as one run of W&B, whose files stay in that directory.

    Offline unless a key is configured. Names are kept in the keys, except for what W&B reads as a path, a
    pattern or its own (`.`, `*`, a backslash, control characters, a leading `_`). Call it in one process.

    Args:
        directory: With the results; they are only read.
        project: Of W&B.
        checkpoints: Files of the evaluated checkpoints by name, each published as an artifact.

    Returns:
        The address of an online run, the directory of an offline one, or `directory` if W&B is disabled.

    Raises:
        FileNotFoundError: If a checkpoint does not exist.
        ValueError: If the results cannot be read, or W&B refuses.
    """
    directory = directory.resolve()
    for path in checkpoints.values():
        if not path.is_file():
            raise FileNotFoundError(f"Expected a checkpoint file, but got {path}, which does not exist.")
    results = read(directory)
    media = dict(_media(directory, results))
    with _one_line(project, directory), _kept_inside(directory):
        run = _new_run(directory, project, results)
        if run.disabled:
            return directory
        with run:
            _log_numbers(run, results)
            run.log(media)
            for artifact in _artifacts(directory, results, checkpoints):
                run.log_artifact(artifact)
            return Path(run.dir).parent if run.offline else str(run.url)


@contextmanager
def _one_line(project: str, directory: Path) -> Iterator[None]:
    try:
        yield
    except (wandb.Error, OSError, ValueError) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(": .")
        raise ValueError(
            f"Expected to publish to {project!r} in W&B, but got {reason}. The results are in {directory}."
        ) from error


@contextmanager
def _kept_inside(directory: Path) -> Iterator[None]:
    """Keep W&B's files in the directory; afterwards the process is as it was before."""
    with ExitStack() as stack:
        stack.callback(_restore, dict(os.environ), (sys.exit, sys.excepthook))
        if "WANDB_SERVICE" not in os.environ:
            # W&B's own process remembers the directories it was started with.
            stack.callback(wandb.teardown)
        keep_wandb_inside(directory)
        yield


def _restore(environment: Mapping[str, str], hooks: tuple[Any, Any]) -> None:
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)
    sys.exit, sys.excepthook = hooks


def _new_run(directory: Path, project: str, results: Results) -> wandb.Run:
    settings: dict[str, Any] = {"console": "off"}
    if "WANDB_MODE" in os.environ:
        settings["mode"] = os.environ["WANDB_MODE"]  # W&B reads its environment once in a process.
    return wandb.init(
        project=project,
        job_type="evaluation",
        dir=directory,
        config={key: value for key, value in results.card.items() if key not in _NOT_CONFIG},
        # A run of the caller's own goes on.
        reinit="create_new",
        settings=settings,
    )


def _log_numbers(run: wandb.Run, results: Results) -> None:
    taken: set[str] = set()
    summary = {_unique(key, taken): value for key, value in _summary(results) if not isnan(value)}
    for key in summary:
        run.define_metric(key, summary="last")
    run.summary.update(summary)
    points = [point for point in _curves(results) if not isnan(point[2])]
    keys = {names: _unique(_key(*names), taken) for names in dict.fromkeys(point[0] for point in points)}
    run.define_metric("eps", hidden=True, summary="none")
    for key in keys.values():
        run.define_metric(key, step_metric="eps", summary="none")
    for eps in sorted({point[1] for point in points}):
        run.log({"eps": eps} | {keys[names]: value for names, at, value in points if at == eps})


def _summary(results: Results) -> Iterator[tuple[str, float]]:
    rows = [(_key(*(row[name] for name in CELL)), row) for row in results.table.to_dict("records")]
    for name, suffix in NUMBERS.items():
        for cell, row in rows:
            yield f"{cell}/{_clean(row['metric'])}{suffix}", row[name]
    # The counts of a cell stand in each of its rows. An image that is left as it is can fail nothing.
    can_fail = {*attacks(results), "pgd"}
    for cell, row in {tuple(row[name] for name in CELL): (cell, row) for cell, row in rows}.values():
        counts = COUNTS if row["attack"] in can_fail else ("excluded",)
        yield from ((f"{cell}/{name}", int(row[name])) for name in counts)


def _curves(results: Results) -> Iterator[tuple[tuple[str, ...], float, float]]:
    for row in results.table.to_dict("records"):
        attack = results.card["attacks"].get(row["attack"]) or {}
        values = dict(attack.get("values") or {})
        if attack.get("sweep") and "eps" in values:
            eps = float(values.pop("eps"))
            family = "_".join([attack["sweep"], *(f"{name}_{value}" for name, value in values.items())])
            yield (row["checkpoint"], row["attribution"], family, row["metric"]), eps, row["value"]


def _media(directory: Path, results: Results) -> Iterator[tuple[str, Any]]:
    taken: set[str] = set()
    for name, columns, rows in tables(results):
        yield _unique(_key(*name.split("/", 1)), taken), _table(columns, rows)
    for section, plots in gallery(results).items():
        for plot in plots:
            picture = Image.open(BytesIO(png(plot, _PLOT_WIDTH)))
            yield _unique(_key("plots", section, plot.name), taken), wandb.Image(picture, caption=plot.alt)
    report = directory / "report.html"
    if report.is_file() and report.stat().st_size < _LARGE:
        yield "report", wandb.Html(str(report), inject=False)


def _table(columns: list[str], rows: list[list[Any]]) -> wandb.Table:
    taken: set[str] = set()
    data = [[None if pd.isna(value) else value for value in row] for row in rows]
    return wandb.Table([_unique(name, taken) for name in columns], [*data])


def _artifacts(
    directory: Path, results: Results, checkpoints: Mapping[str, Path]
) -> Iterator[wandb.Artifact]:
    evaluation = wandb.Artifact("evaluation", type="evaluation")
    for name in _FILES:
        if (directory / name).is_file():
            evaluation.add_file(str(directory / name), skip_cache=True)
    yield evaluation
    taken = {"evaluation"}
    for name, path in checkpoints.items():
        allowed = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-")[: 2 * _LONG] or "checkpoint"
        metadata = {"checkpoint": name, **_facts(results, name)}
        model = wandb.Artifact(_unique(allowed, taken), type="model", metadata=metadata)
        model.add_file(str(path), skip_cache=True)
        yield model


def _facts(results: Results, checkpoint: str) -> dict[str, Any]:
    """Return where a checkpoint comes from and its headline metric under the strongest attacks."""
    entry = results.card["checkpoints"].get(checkpoint) or {}
    headline: dict[str, Any] = {}
    for attribution in results.attributions:
        attack = results.strongest(checkpoint, attribution)
        row = None if attack is None else results.cell(checkpoint, attribution, attack, results.headline)
        if row is not None:
            numbers = {name: float(row[name]) for name in NUMBERS if isfinite(row[name])}
            headline[attribution] = {"attack": attack, **numbers}
    facts = {name: entry.get(name) for name in ("sha256", "regime", "seed")}
    return {**facts, "metric": results.headline, "strongest_attack": headline}


def _key(*names: str) -> str:
    return "/".join(_clean(name) for name in names).lstrip("_") or "-"


def _clean(name: str) -> str:
    return re.sub(r"[.*\\\x00-\x1f\x7f]", "_", name) or "-"


def _unique(name: str, taken: set[str]) -> str:
    """Return a name, with a number behind if it is taken."""
    if name in taken:
        name = next(full for number in count(2) if (full := f"{name}-{number}") not in taken)
    taken.add(name)
    return name
