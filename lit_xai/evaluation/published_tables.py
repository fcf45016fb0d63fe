"""A finished evaluation as tables of few rows, as W&B shows them."""

from collections.abc import Iterator
from math import ceil
from typing import Any, NamedTuple

import pandas as pd

from lit_xai.reporting.claims import verdict, with_interval
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes, regime_means
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import attacks

ROWS, MOST = 64, 20
CELL = ["checkpoint", "attribution", "attack"]
COUNTS = ("failed", "excluded")
NUMBERS = {"value": "", "low": "_low", "high": "_high", "count": "_count"}
_LONG = 50


class Published(NamedTuple):
    """A table: its name, its columns and its rows."""

    name: str
    columns: list[str]
    rows: list[list[Any]]


def tables(results: Results) -> list[Published]:
    """Return all tables, at most 20 of at most 64 rows each.

    Longer ones are numbered parts. What would be more than 20 tables is left out, last parts first; one more
    table then says how much of which.

    Args:
        results: What was measured.
    """
    found = [_parts(table) for table in _whole(results)]
    order = sorted(((number, place) for place, parts in enumerate(found) for number in range(len(parts))))
    kept = set(order[:MOST])
    shown = [
        part
        for place, parts in enumerate(found)
        for number, part in enumerate(parts)
        if (number, place) in kept
    ]
    lost = [
        [whole.name, len(whole.rows), len(whole.rows) - _shown(parts, place, kept)]
        for place, (whole, parts) in enumerate(zip(_whole(results), found, strict=True))
        if _shown(parts, place, kept) < len(whole.rows)
    ]
    return [*shown, Published("left out", ["table", "rows", "left_out"], lost[:ROWS])] if lost else shown


def _shown(parts: list[Published], place: int, kept: set[tuple[int, int]]) -> int:
    return sum(len(part.rows) for number, part in enumerate(parts) if (number, place) in kept)


def _parts(table: Published) -> list[Published]:
    count = ceil(len(table.rows) / ROWS)
    if count < 2:
        return [table]
    return [
        table._replace(
            name=f"{table.name} ({number + 1} of {count})",
            rows=table.rows[number * ROWS : (number + 1) * ROWS],
        )
        for number in range(count)
    ]


def _whole(results: Results) -> Iterator[Published]:
    for attribution in ("none", *results.attributions):
        rows = results.table[results.table["attribution"] == attribution]
        if len(rows):
            name = "accuracy" if attribution == "none" else f"results/{attribution[:_LONG]}"
            yield Published(name, *_wide(results, rows))
    averages = regime_means(results)
    if len(averages) and averages["seeds"].max() > 1:
        yield _framed("regimes", _headline(averages, results))
    for name, compared in {"checkpoints": compare_checkpoints, "regimes": compare_regimes}.items():
        frame = _headline(compared(results), results).sort_values("p_holm", kind="stable")
        if len(frame):
            yield _framed(f"comparisons/{name}", frame)
    if results.card.get("claims"):
        yield _claims(results)


def _headline(frame: pd.DataFrame, results: Results) -> pd.DataFrame:
    return frame[frame["metric"].isin(["accuracy", results.headline])]


def _framed(name: str, frame: pd.DataFrame) -> Published:
    return Published(name, list(frame.columns), frame.astype(object).to_numpy().tolist())


def _wide(results: Results, rows: pd.DataFrame) -> tuple[list[str], list[list[Any]]]:
    """Return columns, and a row for every attack and checkpoint, the strongest attacks at the top."""
    cells: dict[tuple[str, str], dict[str, dict[Any, Any]]] = {}
    for row in rows.to_dict("records"):
        cells.setdefault((row["attack"], row["checkpoint"]), {})[row["metric"]] = row
    metrics = sorted(set(rows["metric"]), key=[*results.metrics, *rows["metric"]].index)
    means = rows[rows["metric"] == metrics[0]].groupby("attack", sort=False)["value"].mean()
    strongest = list((results.direction(metrics[0]) * means).sort_values(kind="stable").index)
    columns = [name + suffix for name in metrics for suffix in NUMBERS.values()]
    can_fail = {*attacks(results), "pgd"}
    data = []
    for key, found in cells.items():
        numbers = [found.get(name, {}).get(part) for name in metrics for part in NUMBERS]
        one = next(iter(found.values()))
        data.append([*key, *numbers, one["failed"] if key[0] in can_fail else None, one["excluded"]])
    data.sort(key=lambda row: strongest.index(row[0]) if row[0] in strongest else len(strongest))
    return ["attack", "checkpoint", *columns, *COUNTS], data


def _claims(results: Results) -> Published:
    named = [*CELL, "metric"]
    columns = [*named, "claimed", "measured", "low", "high", "count", "verdict"]
    rows = []
    for claim in results.card["claims"]:
        cell = [str(claim.get(name)) for name in named]
        known = with_interval(claim, results.cell(*cell))
        better = {1: True, -1: False}.get(results.direction(cell[-1]))
        judged = verdict(known, higher_is_better=better)
        rows.append([*cell, *(known.get(name) for name in columns[4:-1]), judged])
    return Published("claims", columns, rows)
