"""What a report says first: sentences computed from the results."""

from collections.abc import Iterator
from itertools import chain

import pandas as pd

from lit_xai.reporting import accuracies, robustness
from lit_xai.reporting.comparisons import EXPLORATORY, LEVEL, PRIMARY, compare_regimes, regime_groups
from lit_xai.reporting.phrases import SPACE, Sentence, counted, listing, name_list, percent, say
from lit_xai.reporting.plots.words import in_words, metric_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.repetitions import seeds_by_label
from lit_xai.reporting.tables import attack_labels
from lit_xai.reporting.trials import Trial, counts, excluded, failures, trials
from lit_xai.reporting.verdicts import networks
from lit_xai.reporting.verdicts import regimes as repeated

_MOST = 4


def findings(
    results: Results, comparisons: pd.DataFrame, regimes: pd.DataFrame | None = None
) -> list[Sentence]:
    """Return what the results say in short, the most important first.

    Regimes lead where at least two of them have two seeds or more. Networks of one regime with several seeds
    are not compared with each other.

    Args:
        results: What was measured.
        comparisons: Of all pairs of checkpoints.
        regimes: Of all pairs of regimes, or None to compare them here.
    """
    tested = compare_regimes(results) if regimes is None else regimes
    table, single = counts(results), networks(results, comparisons)
    over_seeds = [robustness.Subject(results, *item, table) for item in repeated(results, tested).items()]
    subjects = [robustness.Subject(results, *item, table) for item in single.items()]
    leaders = dict.fromkeys(entry.name for ranking in single.values() for entry in ranking.leaders())
    sentences = [
        *chain.from_iterable(map(robustness.of_regimes, over_seeds)),
        *(accuracies.of_regimes(results, tested) if over_seeds else ()),
        *chain.from_iterable(map(robustness.of_networks, subjects)),
        *accuracies.of_networks(results, list(leaders), comparisons),
        *_significance(results, comparisons),
        *_controls(results),
        *_excluded(results, table),
        *_failures(results, table),
    ]
    return sentences or [say("No attribution was attacked.")]


def caution(results: Results) -> Sentence:
    """Return what the results do not say: a regime is judged over seeds only."""
    seeds = regime_seeds(results)
    once = [name for name, count in seeds if count < 2]
    if len(once) == len(seeds):
        return say(
            "Every regime was trained with one seed here, or its seeds are unknown: the numbers judge these "
            "networks, and no regime."
        )
    rest = "A statement about a regime rests on its seeds, not on its samples."
    if not once:
        return say(rest)
    start = say(f"{rest} Trained with one seed, and so not judged as regimes: ")
    return [*start, *name_list(once), *say(".")]


def regime_seeds(results: Results) -> list[tuple[str, int]]:
    """Return every regime and the number of its seeds, a checkpoint of an unknown one on its own."""
    return seeds_by_label(results)


def _significance(results: Results, comparisons: pd.DataFrame) -> Iterator[Sentence]:
    """Count the differences that stay after Holm's correction, by the checkpoint that they speak for."""
    apart = _without_seeds(results, comparisons)
    if apart.empty:
        return
    of = " of different regimes" if len(apart) < len(comparisons) else ""
    first, others = (apart[apart["family"] == name] for name in (PRIMARY, EXPLORATORY))
    found = int((first["p_holm"] < LEVEL).sum())
    words = (
        f"Between networks{of}, on the same images, {found:,} of {counted(len(first), 'difference')} in "
        f"accuracy and in {metric_words(results.headline)} under attack {'is' if found == 1 else 'are'} "
        f"significant at 5{SPACE}% after Holm's correction"
    )
    wins = first[first["better"] != ""]["better"].value_counts(sort=False)
    shown = [
        say(f"{int(wins[name]):,} in favour of {{}}", name)
        for name in results.checkpoints
        if name in wins.index
    ]
    favour = [*say(": "), *listing(shown)] if shown else []
    further = int((others["p_holm"] < LEVEL).sum())
    rest = (
        f"; of {len(others):,} in other metrics, corrected on their own, {further:,}" if len(others) else ""
    )
    yield [*say(words), *favour, *say(f"{rest}.")]


def _without_seeds(results: Results, comparisons: pd.DataFrame) -> pd.DataFrame:
    """Leave out the pairs within a regime of several seeds."""
    regime = {name: label for label, names in regime_groups(results).items() for name in names}
    pairs = zip(comparisons["first"], comparisons["second"], strict=True)
    return comparisons[
        [first not in regime or regime[first] != regime.get(second) for first, second in pairs]
    ]


def _controls(results: Results) -> Iterator[Sentence]:
    """Compare attacks with random signs of the same radius."""
    found = trials(results)
    if not found:
        return
    more, less, open_ = ([trial for trial in found if trial.verdict == sign] for sign in (1, -1, 0))
    words = (
        "On the same images of a network, an attack harms the explanation significantly more than random "
        f"signs of the same radius in {len(more)} of {counted(len(found), 'comparison')} "
        "(paired t-tests, Holm)"
    )
    sentence = say(words)
    for kind, others in (("significantly less", less), ("inconclusive", open_)):
        if others:
            shown = listing([_trial(results, trial) for trial in others], limit=_MOST)
            sentence += [*say(f"; {kind}: "), *shown]
    yield [*sentence, *say(".")]


def _trial(results: Results, trial: Trial) -> Sentence:
    names = attack_labels(results)[trial.attack], in_words(trial.attribution), trial.checkpoint
    return say("{} on {} of {}", *names)


def _excluded(results: Results, table: pd.DataFrame) -> Iterator[Sentence]:
    """Tell of every network the images that were left out."""
    found = excluded(results, table)
    if not found:
        return
    shown = [say(f"{{}} {entry.misclassified:,}", entry.checkpoint) for entry in found]
    images = max(entry.images for entry in found)
    of = f" of {counted(images, 'image')}"
    sentence = [*say("Excluded because misclassified: "), *listing(shown), *say(of)]
    further: dict[str, int] = {}
    for entry in found:
        for family, count in entry.further.items():
            further[family] = max(count, further.get(family, 0))
    if further:
        shown = [
            say(f"up to {counted(count, 'image')} of a network by {{}}", name)
            for name, count in further.items()
        ]
        sentence += [
            *say("; excluded further, such as for want of a donor image: "),
            *listing(shown, limit=_MOST),
        ]
    yield [*sentence, *say(".")]


def _failures(results: Results, table: pd.DataFrame) -> Iterator[Sentence]:
    """Tell how often attacks failed, the controls apart."""
    found = failures(results, table)
    parts = []
    for is_control in (False, True):
        shown = [
            say(f"{{}} {percent(entry.failed / entry.attacked)} of {entry.attacked:,}", entry.family)
            for entry in found
            if entry.is_control is is_control
        ]
        if shown:
            parts.append([*say("of the controls, " if is_control else ""), *listing(shown, limit=_MOST)])
    if parts:
        start = say(
            "Share of attacks that failed (they changed nothing, or the prediction too; their scores stay in "
            "the means): "
        )
        yield [*start, *parts[0], *(part for rest in parts[1:] for part in [*say("; "), *rest]), *say(".")]
