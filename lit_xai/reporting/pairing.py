"""Scores of checkpoints, paired by cell and sample."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lit_xai.reporting.moments import Integers, Numbers, moments
from lit_xai.reporting.reading import Results, in_order
from lit_xai.reporting.statistics import Difference, differences, paired

CELL = ["attribution", "attack", "metric"]


class Scores(NamedTuple):
    """The defined scores of one checkpoint.

    Attributes:
        key: Cell and sample as one number, sorted, (N,).
        cell: (N,).
        value: (N,).
        present: Which cells it was scored in, defined or not, (cells,).
    """

    key: Integers
    cell: Integers
    value: Numbers
    present: NDArray[np.bool_]


def cells_of(frame: pd.DataFrame, results: Results) -> tuple[Integers, pd.DataFrame]:
    """Return the (attribution, attack, metric) of every row, counted in the card's order, and their names."""
    known = {"attribution": results.attributions, "attack": results.attacks, "metric": results.metrics}
    columns = {name: in_order(frame[name], known[name]) for name in CELL}
    sizes = [len(column.categories) for column in columns.values()]
    parts = tuple(column.codes.astype(np.int64) for column in columns.values())
    found, cell = np.unique(np.ravel_multi_index(parts, sizes), return_inverse=True)
    names = zip(columns.items(), np.unravel_index(found, sizes), strict=True)
    return cell, pd.DataFrame(
        {name: column.categories.to_numpy(dtype=object)[code] for (name, column), code in names}, dtype="str"
    )


def by_checkpoint(samples: pd.DataFrame, cell: Integers, cells: int) -> dict[str, Scores]:
    """Return the scores of every checkpoint.

    Args:
        samples: Rows of `samples.parquet`.
        cell: The cell of each, (N,).
        cells: Number of cells.
    """
    names, identities = (pd.factorize(samples[column]) for column in ("checkpoint", "sample_id"))
    width = max(len(identities[1]), 1)
    key, value = cell * width + identities[0], samples["value"].to_numpy(dtype=np.float64)
    found = {}
    for code, name in enumerate(names[1]):
        rows = np.flatnonzero(names[0] == code)
        present = np.bincount(cell[rows], minlength=cells) > 0
        rows = rows[~np.isnan(value[rows])]
        rows = rows[np.argsort(key[rows], kind="stable")]
        found[str(name)] = Scores(key[rows], cell[rows], value[rows], present)
    return found


def compare(first: Scores, second: Scores) -> tuple[Difference, Integers, Integers]:
    """Compare two checkpoints cell by cell, as `paired_difference` does.

    Returns:
        The differences, and the numbers of samples scored on the first only and on the second only, (cells,).
    """
    cells = len(first.present)
    _, left, right = np.intersect1d(first.key, second.key, assume_unique=True, return_indices=True)
    found, cell = differences(first.value[left], second.value[right]), first.cell[left]
    # Two equal infinities have no difference.
    defined = ~np.isnan(found)
    parts = moments(found[defined], cell[defined], cells)
    common = np.bincount(cell, minlength=cells)
    alone = [np.bincount(scores.cell, minlength=cells) - common for scores in (first, second)]
    return paired(parts), alone[0], alone[1]


def series(frame: pd.DataFrame, names: dict[str, Any]) -> "pd.Series[float]":
    """Return the scores of one cell by sample.

    Args:
        frame: Rows of `samples.parquet`.
        names: The cell's name in each column.
    """
    chosen = np.ones(len(frame), dtype=bool)
    for column, name in names.items():
        chosen &= (frame[column] == name).to_numpy()
    rows = frame[chosen]
    return pd.Series(rows["value"].to_numpy(dtype=np.float64), index=rows["sample_id"].to_numpy())
