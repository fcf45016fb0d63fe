"""Tables for a paper, in LaTeX with booktabs."""

import re

from lit_xai.reporting.plots.words import in_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import Cell, Table, accuracy, attribution

FURTHER = 5
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
_HEAD = r"""% Needs \usepackage{booktabs}.
% Names beyond the Latin script need XeLaTeX or LuaLaTeX and a font that has them.
"""


def escape(text: str) -> str:
    """Return text that LaTeX prints as it is, on one line."""
    plain = re.sub(r"[\s\x00-\x1f\x7f]+", " ", text)
    # Two hyphens would become a dash.
    parts = re.sub(r"-(?=-)", "-\0", plain)
    return "".join(_SPECIAL.get(character, character) for character in parts)


def document(results: Results) -> str:
    """Return `results.tex`: the accuracies, and a table for every attribution.

    An attribution's table has the headline metric with its interval and the means of up to 5 further metrics.
    """
    others = [metric for metric in results.metrics if metric != results.headline][:FURTHER]
    found = [accuracy(results)]
    found += [
        _brief(attribution(results, name, [results.headline, *others]), name, results.headline)
        for name in results.attributions
    ]
    return _HEAD + "".join(f"\n{_table(table)}" for table in found if table is not None)


def _brief(table: Table, name: str, headline: str) -> Table:
    """Leave out the intervals of all but the headline metric, for the width of a page."""
    caption = (
        f"{in_words(name)} under attack: {in_words(headline)} with its 95 % interval, and the means of "
        "further metrics."
    )
    rows = [
        [*row[: table.keys + 1], *(cell._replace(note="") for cell in row[table.keys + 1 :])]
        for row in table.rows
    ]
    return table._replace(caption=caption, rows=rows)


def _table(table: Table) -> str:
    places = "".join("r" if column.numeric else "l" for column in table.columns)
    head = " & ".join(escape(column.title) for column in table.columns)
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(table.caption)}}}",
        r"\scriptsize",
        r"\setlength{\tabcolsep}{3pt}",
        rf"\begin{{tabular}}{{@{{}}{places}@{{}}}}",
        r"\toprule",
        rf"{head} \\",
        r"\midrule",
        *_rows(table),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


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
