"""The result files of an evaluation, put together from its pieces."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from lit_xai.evaluation.plan import Plan
from lit_xai.evaluation.running import EXAMPLES
from lit_xai.evaluation.store import Store, to_parquet
from lit_xai.files import write_whole
from lit_xai.reporting.summary import summarize

_SAMPLES = ["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]


def write_results(output: Path, plans: Sequence[Plan], store: Store) -> pd.DataFrame:
    """Write the tables of an evaluation, the same bytes for the same pieces.

    Writes `samples.parquet`, `agreement.parquet`, `examples.parquet`, `training.csv` and, last,
    `results.csv`; a table without rows is left out.

    Args:
        output: Directory of the evaluation.
        plans: All of whose pieces are in the store.
        store: The pieces.

    Returns:
        The content of `results.csv`.
    """
    samples = pd.concat(_samples(plans, store), ignore_index=True)[_SAMPLES]
    write_whole(output / "samples.parquet", to_parquet(samples))
    for name, tables in {
        "agreement.parquet": _agreement(plans, store),
        "examples.parquet": _examples(plans, store),
        "training.csv": _training(plans),
    }.items():
        filled = [table for table in tables if len(table)]
        if not filled:
            (output / name).unlink(missing_ok=True)
            continue
        whole = pd.concat(filled, ignore_index=True)
        write_whole(output / name, whole.to_csv(index=False) if name.endswith("csv") else to_parquet(whole))
    results = summarize(samples, list(plans[0].grid.metrics))
    write_whole(output / "results.csv", results.to_csv(index=False))
    return results


def seconds(plan: Plan, store: Store) -> float:
    """Return the time that the pieces of a network took, whenever they were measured."""
    return round(sum(store.seconds(piece.key) for piece in plan.pieces), 1)


def _samples(plans: Sequence[Plan], store: Store) -> Iterator[pd.DataFrame]:
    for plan in plans:
        name = plan.subject.name
        yield _named(store.scores(plan.accuracy.key), checkpoint=name, attribution="none")
        for cell in plan.cells:
            columns = {"attribution": cell.attribution, "attack": cell.attack}
            yield _named(store.scores(cell.key), checkpoint=name, **columns)


def _agreement(plans: Sequence[Plan], store: Store) -> Iterator[pd.DataFrame]:
    for plan in plans:
        if plan.agreement is not None:
            yield _named(store.scores(plan.agreement.key), checkpoint=plan.subject.name)


def _examples(plans: Sequence[Plan], store: Store) -> Iterator[pd.DataFrame]:
    for plan in plans:
        for cell in plan.cells:
            table = store.beside(cell.key, EXAMPLES)
            if table is not None:
                columns = {"attribution": cell.attribution, "attack": cell.attack}
                yield _named(table, checkpoint=plan.subject.name, **columns)


def _training(plans: Sequence[Plan]) -> Iterator[pd.DataFrame]:
    return (_named(plan.subject.training, checkpoint=plan.subject.name) for plan in plans)


def _named(table: pd.DataFrame, **columns: str) -> pd.DataFrame:
    """Put columns of one name in front."""
    named = table.assign(**columns)
    return named[[*columns, *(column for column in table if column not in columns)]]
