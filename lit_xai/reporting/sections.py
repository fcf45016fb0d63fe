"""The parts of a report, in the order in which they are read."""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from lit_xai.reporting import contrasts, tables
from lit_xai.reporting.comparisons import regime_means
from lit_xai.reporting.isolation import isolated, turning_names
from lit_xai.reporting.panels import Group, groups
from lit_xai.reporting.plots.base import Plot, svg
from lit_xai.reporting.plots.gallery import gallery
from lit_xai.reporting.plots.words import in_words, metric_words
from lit_xai.reporting.reading import Results

_LONGEST_OPEN = 40
OPEN_PLOTS, MOST_SUBJECTS = 4, 6
PARETO, AGREEMENT = "Accuracy and robustness", "Agreement of explanations"


class Drawing(NamedTuple):
    """A plot as a page shows it."""

    title: str
    svg: Markup


class Fold(NamedTuple):
    """A table behind a line that opens it: what it is about, and what it holds."""

    subject: str
    holds: str
    table: tables.Table


class Section(NamedTuple):
    """A part of a page: words, then plots, tables, folded tables, and samples.

    Attributes:
        more: What the plots behind the first four show.
    """

    anchor: str
    title: str
    texts: list[str]
    plots: list[Drawing]
    tables: list[tables.Table]
    folds: list[Fold]
    groups: Sequence[Group] = ()
    more: str = ""


def drawings(plots: Iterable[Plot]) -> list[Drawing]:
    """Return plots for a page; nothing else in it is marked safe.

    Args:
        plots: Drawn by this package.
    """
    return [Drawing(plot.title, Markup(svg(plot))) for plot in plots]


def parts(results: Results, compared: pd.DataFrame, tested: pd.DataFrame) -> list[Section]:
    """Return the measured part of a report, without what has nothing to show.

    Args:
        results: What was measured.
        compared: All comparisons of checkpoints.
        tested: All comparisons of regimes.
    """
    plots = {title: drawings(found) for title, found in gallery(results).items()}
    first = Section("accuracy", PARETO, [], plots.pop(PARETO, []), _given(tables.accuracy(results)), [])
    agreement = plots.pop(AGREEMENT, [])
    shown = [
        Section(f"plots-{place}", title, [], found, [], [])
        for place, (title, found) in enumerate(plots.items(), start=1)
    ]
    found = [
        first,
        *shown,
        means(results),
        comparisons(results, compared),
        regimes(results, tested),
        samples(results),
        Section("agreement", AGREEMENT, [], agreement, [], []),
    ]
    names = turning_names(results.card)
    return [
        _named(part, names)
        for part in found
        if part is not None and any((part.plots, part.tables, part.folds, part.groups))
    ]


def _named(part: Section, names: Sequence[str]) -> Section:
    """Return a part whose names turn nothing around them, and that says what its further plots show."""
    plots = [plot._replace(title=isolated(plot.title, names)) for plot in part.plots]
    return part._replace(
        texts=[isolated(text, names) for text in part.texts],
        plots=plots,
        tables=[_upright(table, names) for table in part.tables],
        folds=[fold._replace(table=_upright(fold.table, names)) for fold in part.folds],
        more=subjects([plot.title for plot in plots[OPEN_PLOTS:]]),
    )


def _upright(table: tables.Table, names: Sequence[str]) -> tables.Table:
    if not names:
        return table
    rows = [[_cell(cell, names) for cell in row] for row in table.rows]
    columns = [column._replace(title=isolated(column.title, names)) for column in table.columns]
    return table._replace(caption=isolated(table.caption, names), columns=columns, rows=rows)


def _cell(cell: tables.Cell, names: Sequence[str]) -> tables.Cell:
    # A name on its own turns nothing in its cell, and is to be copied as it is.
    return cell if cell.text in names else cell._replace(text=isolated(cell.text, names))


def subjects(titles: Sequence[str]) -> str:
    """Return what plots are about, without the words that all their titles begin with.

    Example:
        >>> subjects(["Distribution of change: saliency", "Distribution of SSIM: saliency"])
        'change, SSIM'
    """
    parts = [title.partition(":") for title in titles]
    heads = list(dict.fromkeys(head for head, _, _ in parts))
    if len(heads) == 1 and len(parts) > 1:
        heads = list(dict.fromkeys(tail.strip() or head for head, _, tail in parts))
    words = [head.split(" ") for head in heads]
    shared = 0
    if len(words) > 1:
        while all(len(one) > shared + 1 and one[: shared + 1] == words[0][: shared + 1] for one in words):
            shared += 1
    shown = [" ".join(one[shared:]) for one in words]
    others = len(shown) - MOST_SUBJECTS
    rest = f" and {others} other{'' if others == 1 else 's'}" if others > 0 else ""
    return ", ".join(shown[:MOST_SUBJECTS]) + rest


def _given(table: tables.Table | None) -> list[tables.Table]:
    return [] if table is None else [table]


def means(results: Results) -> Section:
    """Return the tables of every attribution, the first one open."""
    found = [(name, tables.attribution(results, name)) for name in results.attributions]
    first, others = [table for _, table in found[:1]], found[1:]
    texts = [
        "Every mean stands with its 95 % interval, but for those that are undefined or of too few samples, "
        "and for “kept only”. A press on a heading sorts."
    ]
    folds = [Fold(in_words(name), _counted(table.rows, "row"), table) for name, table in others]
    return Section("means", "All means", texts, [], first, folds)


def comparisons(results: Results, frame: pd.DataFrame) -> Section | None:
    """Return the comparisons of checkpoints; None if there is only one.

    Args:
        results: What was measured.
        frame: All comparisons of checkpoints.
    """
    if frame.empty:
        return None
    texts = [
        "Paired t-tests on the samples scored on both networks: what chance could change is the choice of "
        f"samples, not the training. Shown are the accuracies and {metric_words(results.headline)}; the "
        f"complete table of {_counted(frame, 'comparison')} is in comparisons.csv."
    ]
    found = _by_attribution(results, frame, contrasts.checkpoint_table)
    return Section("comparisons", "Comparisons of networks", texts, [], *_folded(found))


def regimes(results: Results, tested: pd.DataFrame) -> Section | None:
    """Return the regimes over their seeds; None if none has two.

    Args:
        results: What was measured.
        tested: All comparisons of regimes.
    """
    averages = regime_means(results)
    if averages.empty or averages["seeds"].max() < 2:
        return None
    texts = [
        "The seed is the unit here: a regime's mean is that of its networks' means, and its interval says "
        "how far another training may lie."
    ]
    found = _by_attribution(results, averages, contrasts.regime_means_table)
    opened, folds = _folded(found)
    tests = _by_attribution(results, tested, contrasts.regime_table)
    folds += [fold._replace(subject=f"Tests, {fold.subject}") for fold in tests]
    return Section("regimes", "Regimes over seeds", texts, [], opened, folds)


def samples(results: Results) -> Section:
    """Return the worst and the best samples under the strongest attacks."""
    texts = [
        "What the strongest attack does to single samples: the least and the most robust ones by their "
        "score, before and after. Both maps of a sample share one scale of colour."
    ]
    return Section("samples", "Worst and best samples", texts, [], [], [], groups(results))


def _by_attribution(
    results: Results,
    frame: pd.DataFrame,
    table: Callable[[pd.DataFrame, Results, str], tables.Table],
) -> list[Fold]:
    found = []
    for name in ("none", *results.attributions):
        rows = contrasts.headline_rows(frame, results, name)
        if len(rows):
            subject = "accuracy" if name == "none" else in_words(name)
            words = contrasts.summary(rows) if "p_holm" in rows else _counted(rows, "mean")
            found.append(Fold(subject, words, table(rows, results, name)))
    return found


def _counted(found: Sized, word: str) -> str:
    return f"{len(found):,} {word}{'' if len(found) == 1 else 's'}"


def _folded(found: list[Fold]) -> tuple[list[tables.Table], list[Fold]]:
    """Leave open what comes first and is short."""
    opened = 0
    while opened < min(2, len(found)) and len(found[opened].table.rows) <= _LONGEST_OPEN:
        opened += 1
    return [fold.table for fold in found[:opened]], found[opened:]
