"""Tables for a paper, in LaTeX with booktabs and longtable."""

import re

from lit_xai.reporting.plots.words import capital, in_words, metric_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import Cell, Column, Table, accuracy, attack_labels, attribution, decimals, mean

FURTHER = 5
# A table of more rows is cut where a page ends.
_LONGEST = 30
_SHORTER = {
    "checkpoint": "network",
    "center": "cent.",
    "confidence": "conf.",
    "correlation": "corr.",
    "excluded": "excl.",
    "failed": "fail.",
    "intersection": "",
    "precision": "prec.",
    "prediction": "pred.",
    "recall": "rec.",
}
_TURNING = "[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
_SPECIAL = {
    "\0": "{}",
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",
    "−": "$-$",
    "–": "--",
    "∞": r"$\infty$",
}
_HEAD = r"""% Needs \usepackage{booktabs,longtable}.
% Names beyond the Latin script need XeLaTeX or LuaLaTeX and a font that has them.
"""


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line."""
    plain = re.sub(r"[\s\x00-\x1f\x7f]+", " ", re.sub(_TURNING, "", text))
    # Two hyphens would become a dash.
    parts = re.sub(r"-(?=-)", "-\0", plain)
    return "".join(_SPECIAL.get(character, character) for character in parts)


def document(results: Results) -> str:
    """Return `results.tex`: every network under its strongest attacks, the accuracies, then all means.

    An attribution's table has the headline metric with its interval and the means of up to 5 further metrics.
    """
    others = [metric for metric in results.metrics if metric != results.headline][:FURTHER]
    found = [strongest(results), _accuracies(results)]
    found += [
        _brief(attribution(results, name, [results.headline, *others]), name, results.headline)
        for name in results.attributions
    ]
    return _HEAD + "".join(f"\n{_table(table)}" for table in found if table is not None and table.rows)


def strongest(results: Results) -> Table:
    """Return the headline metric of every network under the strongest attack on each attribution."""
    titles = {"attribution": False, "checkpoint": False, "strongest attack": False}
    titles |= {metric_words(results.headline): True, "95 % interval": True}
    titles |= dict.fromkeys(("n", "failed", "excluded"), True)
    labels, rows = attack_labels(results), []
    for name in results.attributions:
        for checkpoint in results.checkpoints:
            attack = results.strongest(checkpoint, name)
            row = results.cell(checkpoint, name, attack, results.headline) if attack else None
            if attack is None or row is None:
                continue
            cell = mean(row, decimals([row["low"]], [row["high"]]))
            counts = [Cell(str(int(row[key]))) for key in ("count", "failed", "excluded")]
            names = [Cell(in_words(name)), Cell(checkpoint), Cell(labels[attack])]
            rows.append([*names, *_apart(cell), *counts])
    caption = (
        f"{metric_words(results.headline)} under the strongest attack on each network, with 95 % intervals. "
        "The attack is chosen on the samples it is reported on."
    )
    return Table(caption, [Column(title, numeric) for title, numeric in titles.items()], rows, keys=2)


def _apart(cell: Cell) -> list[Cell]:
    """Return a mean and its interval as two cells; counts behind it are left to their columns."""
    end = cell.note.find("]") + 1
    return [cell._replace(note=""), Cell(cell.note[:end] or "–")]


def _accuracies(results: Results) -> Table | None:
    table = accuracy(results)
    if table is None:
        return None
    count = 1 + next(place for place, column in enumerate(table.columns) if column.title.startswith("n "))
    caption = "Share of images classified correctly, with 95 % intervals."
    return _with_intervals(table._replace(caption=caption), range(1, count - 1), count)


def _with_intervals(table: Table, means: range, end: int) -> Table:
    """Give the intervals of some columns a column of their own, and leave out what comes after `end`."""
    columns, rows = list(table.columns[:end]), [list(row[:end]) for row in table.rows]
    for place in reversed(means):
        columns.insert(place + 1, Column("95 % interval"))
        for row in rows:
            row[place : place + 1] = _apart(row[place])
    return table._replace(columns=columns, rows=rows)


def _brief(table: Table, name: str, headline: str) -> Table:
    """Leave out the intervals of all but the headline metric, for the width of a page."""
    caption = (
        f"{in_words(name)} under attack: {metric_words(headline)} with its 95 % interval, and the means of "
        "further metrics."
    )
    rows = [
        [*row[: table.keys + 1], *(cell._replace(note="") for cell in row[table.keys + 1 :])]
        for row in table.rows
    ]
    short = table._replace(caption=caption, rows=rows)
    return _with_intervals(short, range(table.keys, table.keys + 1), len(table.columns))


def _heading(title: str) -> str:
    """Return a short heading."""
    words = (_SHORTER.get(word, word) for word in title.split(" "))
    return escape(" ".join(filter(None, words)) or title)


def _table(table: Table) -> str:
    places = "".join("r" if column.numeric else "l" for column in table.columns)
    head = [r"\toprule", " & ".join(_heading(column.title) for column in table.columns) + r" \\", r"\midrule"]
    caption = rf"\caption{{{escape(capital(table.caption))}}}"
    parts = _long if len(table.rows) > _LONGEST else _floating
    lines = parts(f"{{@{{}}{places}@{{}}}}", caption, head, _rows(table))
    return "\n".join(lines) + "\n"


def _floating(places: str, caption: str, head: list[str], rows: list[str]) -> list[str]:
    return [
        r"\begin{table}",
        r"\centering",
        caption,
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{places}",
        *head,
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def _long(places: str, caption: str, head: list[str], rows: list[str]) -> list[str]:
    """Return a table that repeats its head on every page."""
    return [
        r"\begingroup",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{longtable}}{places}",
        rf"{caption} \\",
        *head,
        r"\endfirsthead",
        *head,
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
        *rows,
        r"\end{longtable}",
        r"\endgroup",
    ]


def _rows(table: Table) -> list[str]:
    lines: list[str] = []
    for order, row in enumerate(table.rows):
        if table.keys > 1 and order and row[0].text != table.rows[order - 1][0].text:
            lines.append(r"\addlinespace")
        lines.append(" & ".join(map(_cell, row)) + r" \\")
    return lines


def _cell(cell: Cell) -> str:
    # Braces, since an opening bracket after a line's end would be taken for an option of it.
    text = f"{{{escape(cell.text)}}}" if cell.text.startswith(("[", "*")) else escape(cell.text)
    return rf"{text} {{\tiny {escape(cell.note)}}}" if cell.note else text
