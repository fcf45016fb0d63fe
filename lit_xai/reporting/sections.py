"""The parts of a report, in the order in which they are read."""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import NamedTuple

import pandas as pd
from markupsafe import Markup

from lit_xai.reporting import contrasts, tables
from lit_xai.reporting.comparisons import regime_means
from lit_xai.reporting.panels import Group, groups
from lit_xai.reporting.plots.base import Plot, svg
from lit_xai.reporting.plots.gallery import gallery
from lit_xai.reporting.plots.words import in_words
from lit_xai.reporting.reading import Results

_LONGEST_OPEN = 40
PARETO, AGREEMENT = "Accuracy and robustness", "Agreement of explanations"


class Drawing(NamedTuple):
    """A plot as a page shows it."""

    title: str
    svg: Markup


class Fold(NamedTuple):
    """A table behind a line that opens it."""

    summary: str
    table: tables.Table


class Section(NamedTuple):
    """A part of a page: words, then plots, tables, folded tables, and samples."""

    anchor: str
    title: str
    texts: list[str]
    plots: list[Drawing]
    tables: list[tables.Table]
    folds: list[Fold]
    groups: Sequence[Group] = ()


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
    return [
        part for part in found if part is not None and any((part.plots, part.tables, part.folds, part.groups))
    ]


def _given(table: tables.Table | None) -> list[tables.Table]:
    return [] if table is None else [table]


def means(results: Results) -> Section:
    """Return the tables of every attribution, the first one open."""
    found = [(name, tables.attribution(results, name)) for name in results.attributions]
    first, others = [table for _, table in found[:1]], found[1:]
    texts = ["Every mean stands with its 95 % bootstrap interval; a press on a heading sorts."]
    folds = [Fold(f"{in_words(name)}: {_counted(table.rows, 'row')}", table) for name, table in others]
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
        f"samples, not the training. p is corrected for all {len(frame):,} comparisons (Holm). Shown "
        f"are the accuracies and {in_words(results.headline)}; the complete table is in comparisons.csv."
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
    folds += [Fold(f"Tests, {fold.summary}", fold.table) for fold in tests]
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
            found.append(Fold(f"{subject}: {words}", table(rows, results, name)))
    return found


def _counted(found: Sized, word: str) -> str:
    return f"{len(found)} {word}{'' if len(found) == 1 else 's'}"


def _folded(found: list[Fold]) -> tuple[list[tables.Table], list[Fold]]:
    """Leave open what comes first and is short."""
    opened = 0
    while opened < min(2, len(found)) and len(found[opened].table.rows) <= _LONGEST_OPEN:
        opened += 1
    return [fold.table for fold in found[:opened]], found[opened:]


def glossary(results: Results) -> list[tuple[str, str]]:
    """Return the words of the page with what they mean."""
    described: list[tuple[str, str]] = []
    for name, entry in results.card["metrics"].items():
        turns = {1: "Higher is more robust.", -1: "Lower is more robust.", 0: ""}[results.direction(name)]
        path = f"{entry['class_path']}." if entry["class_path"] else ""
        described.append((in_words(name), f"{entry['description'] or path} {turns}".strip()))
    return described + list(_WORDS.items())


_WORDS = {
    "kept": "The prediction on the attacked image is that on the clean one.",
    "failed": "The attack changed nothing, or changed the prediction too. Its score stays in the means "
    "and is counted; “kept only” is the mean without such samples.",
    "excluded": "Misclassified before the attack, or without a donor image. In no mean.",
    "strongest attack": "The one with the worst mean of the first metric, for each network and attribution.",
    "95 % interval": "Bootstrap (BCa) over samples: where the mean of other such images would lie.",
    "effect": "The mean difference over the standard deviation of differences (d_z); for regimes Hedges' g.",
    "Holm": "A correction of p-values: a single false alarm among all has a chance of 5 % at most.",
}
