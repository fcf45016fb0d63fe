"""Results as tables for people: `python -m lit_xai.evaluation.table results.csv [README.md]`."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd

from lit_xai.reporting.reading import read_table

_START = "<!-- results: {name} -->"
_END = "<!-- end of results -->"


def comparison(results: pd.DataFrame) -> str:
    """Render results as Markdown: accuracies first, then every attack on every explanation.

    Args:
        results: The columns of `results.csv`.

    Returns:
        Tables whose cells are means with their standard errors. `n` counts the samples of a row's means; a
        mean of fewer samples, because its score is undefined for some, says so itself. Where attacks
        failed, the mean over the others stands beside in brackets.
    """
    tables = []
    accuracy = results[results["attribution"] == "none"]
    if len(accuracy):
        tables.append(_accuracies(accuracy))
    for attribution, cells in results[results["attribution"] != "none"].groupby("attribution", sort=False):
        tables.append(f"Explanation: {attribution}\n\n{_attacks(cells)}")
    return "\n\n".join(tables)


def headline(results: pd.DataFrame) -> str:
    """Render the accuracies and the first metric alone: a row for each attack, a column for each checkpoint.

    Args:
        results: The columns of `results.csv`.

    Returns:
        Tables whose cells are means with their standard errors.
    """
    grid = results[results["attribution"] != "none"]
    tables = [_accuracies(results[results["attribution"] == "none"])]
    checkpoints = [str(name) for name in dict.fromkeys(results["checkpoint"])]
    for attribution, cells in grid.groupby("attribution", sort=False):
        metric = cells["metric"].iloc[0]
        rows = {(row["attack"], row["checkpoint"]): row for row in _rows(cells[cells["metric"] == metric])}
        lines = [
            [str(attack), *(_mean(rows.get((attack, checkpoint))) for checkpoint in checkpoints)]
            for attack in dict.fromkeys(cells["attack"])
        ]
        table = markdown(["attack", *checkpoints], lines)
        tables.append(f"Explanation: {attribution}, metric: {metric}\n\n{table}")
    return "\n\n".join(tables)


def _accuracies(results: pd.DataFrame) -> str:
    cells = {
        (row["checkpoint"], row["attack"]): f"{row['value']:.3f} (n={row['count']})" for row in _rows(results)
    }
    rows = [
        [name, cells.get((name, "unattacked"), ""), cells.get((name, "pgd"), "")]
        for name in dict.fromkeys(results["checkpoint"])
    ]
    return markdown(["checkpoint", "accuracy", "PGD accuracy"], rows)


def _attacks(results: pd.DataFrame) -> str:
    metrics = list(dict.fromkeys(results["metric"]))
    lines = []
    for attack in dict.fromkeys(results["attack"]):
        for checkpoint in dict.fromkeys(results["checkpoint"]):
            chosen = results[(results["attack"] == attack) & (results["checkpoint"] == checkpoint)]
            cells = {row["metric"]: row for row in _rows(chosen)}
            if not cells:
                continue
            samples = max(row["count"] for row in cells.values())
            first = next(iter(cells.values()))
            values = [_cell(cells.get(metric), samples) for metric in metrics]
            counts = [str(samples), str(first["failed"]), str(first["excluded"])]
            lines.append([attack, checkpoint, *values, *counts])
    return markdown(["attack", "checkpoint", *metrics, "n", "failed", "excluded"], lines)


def _rows(results: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in results.to_dict("records")]


def _mean(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    digits = 1 if abs(row["value"]) >= 10 else 3
    return f"{row['value']:.{digits}f} ± {row['stderr']:.{digits}f}"


def _cell(row: dict[str, Any] | None, samples: int) -> str:
    if row is None:
        return ""
    digits = 1 if abs(row["value"]) >= 10 else 3
    text = _mean(row)
    if row["failed"] and row.get("kept_count"):
        text += f" [{row['kept_value']:.{digits}f}]"
    return text if row["count"] == samples else f"{text} (n={row['count']})"


def markdown(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table whose columns line up."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def insert(document: str, name: str, table: str) -> str:
    """Put a table between a document's markers for `name`.

    Raises:
        ValueError: If the document has no such markers.
    """
    start = _START.format(name=name)
    before, found, after = document.partition(start)
    _, closed, rest = after.partition(_END)
    if not (found and closed):
        raise ValueError(f"Expected a document with {start} and {_END}, but got one without.")
    return f"{before}{start}\n\n{table}\n\n{_END}{rest}"


def main(results: str, document: str | None = None) -> None:
    """Render a results file to the terminal, or into a document between the markers that name its folder."""
    table = comparison(read_table(Path(results)))
    if document is None:
        sys.stdout.write(table + "\n")
        return
    path = Path(document)
    path.write_text(insert(path.read_text(), Path(results).parent.name, table))


if __name__ == "__main__":
    main(*sys.argv[1:])
