"""Sentences on who keeps the most of an explanation under attack."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import pandas as pd

from lit_xai.reporting.contrasts import probability
from lit_xai.reporting.phrases import SPACE, Sentence, counted, listing, name_list, say, with_interval
from lit_xai.reporting.plots.words import in_words, metric_words
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import attack_labels
from lit_xai.reporting.verdicts import Entry, Gap, Ranking

_MOST = 4


class Subject(NamedTuple):
    """What the sentences on one attribution are about.

    Attributes:
        results: What was measured.
        attribution: Whose explanations were attacked.
        ranking: Of networks, or of regimes.
        counts: Of every cell, as `trials.counts` returns them.
    """

    results: Results
    attribution: str
    ranking: Ranking
    counts: pd.DataFrame


def of_networks(subject: Subject) -> Iterator[Sentence]:
    """Return what the ranking of networks says."""
    entries = subject.ranking.entries
    if len(entries) == 1:
        metric = metric_words(subject.results.headline)
        words = f"Under the strongest attack on its {{}} explanation, {{}} has a mean {metric} of "
        start = say(words, in_words(subject.attribution), entries[0].name)
        yield [*start, *_network_score(subject, entries[0]), *say(".")]
    elif entries:
        scores = {entry.name: _network_score(subject, entry) for entry in entries}
        pairs = len(entries) * (len(entries) - 1) // 2
        apart = len(subject.ranking.gaps) < pairs
        scope = "Among single networks (those of one regime are not compared), " if apart else ""
        yield [*say(scope), *_ranked(subject, scores, "under its strongest attack")]
    yield from _doubts(subject)


def of_regimes(subject: Subject) -> Iterator[Sentence]:
    """Return what the ranking of regimes says."""
    ranking = subject.ranking
    entries = ranking.entries
    scores = {entry.name: _regime_score(entry) for entry in entries}
    if len(entries) > 1 and any(gap.is_sure for gap in ranking.gaps.values()):
        yield _ranked(subject, scores, "with every network under its strongest attack")
    elif len(entries) > 1:
        fewest, most = (end(entry.size for entry in entries) for end in (min, max))
        seeds = f"{most}{SPACE}seeds" if fewest == most else f"{fewest} to {most}{SPACE}seeds"
        metric = metric_words(subject.results.headline)
        words = (
            f"No difference between regimes can be shown with {seeds}: for {{}}, with every network under "
        )
        words += f"its strongest attack, the mean {metric} is: "
        gap = ranking.gap(entries[0], entries[1]) if len(entries) == 2 else None
        shown = _named(entries, scores)
        yield [*say(words, in_words(subject.attribution)), *shown, *say(f"{_in_brackets(gap)}.")]


def _ranked(subject: Subject, scores: dict[str, Sentence], under: str) -> Sentence:
    """Name the best alone only where it can be told from all others."""
    ranking, leaders = subject.ranking, subject.ranking.leaders()
    sentence, untested = _opening(subject, under), ranking.untested(leaders[0])
    sentence += [*say(f": {metric_words(subject.results.headline)} "), *_named(leaders, scores)]
    if untested:
        shown = listing([[*say("{}, ", entry.name), *scores[entry.name]] for entry in untested], limit=_MOST)
        sentence += [*say("; no test is possible against "), *shown]
    return [*sentence, *_below(ranking, leaders, scores), *say(".")]


def _opening(subject: Subject, under: str) -> Sentence:
    ranking, own = subject.ranking, in_words(subject.attribution)
    leaders, below = ranking.leaders(), ranking.below(ranking.entries[0])
    best, names = leaders[0].name, name_list([entry.name for entry in leaders], limit=_MOST)
    plural = under.replace("under its strongest attack", "under their strongest attacks")
    apart = _in_brackets(ranking.gap(*leaders)) if len(leaders) == 2 else ""
    if len(leaders) == 1:
        proven = len(below) == len(ranking.entries) - 1
        verb = "keeps the most of" if proven else "has the best mean for"
        return say(f"{{}} {verb} its {{}} explanation {under}", best, own)
    if apart and below:
        most = say(f" keep the most of their {{}} explanations {plural}", own)
        return [*names, *most, *say(f" and cannot be told apart{apart}")]
    if apart:
        words = " cannot be told apart by what they keep of their {} explanations "
        return [*names, *say(f"{words}{plural}{apart}", own)]
    if below:
        words = f" keep the most of their {{}} explanations {plural}; the best mean is that of {{}}"
        return [*names, *say(f"{words}, from which the others cannot be told", own, best)]
    words = f"{{}} has the best mean for its {{}} explanation {under}, but no other can be told from it"
    return say(words, best, own)


def _below(ranking: Ranking, leaders: list[Entry], scores: dict[str, Sentence]) -> Sentence:
    """Return what the leaders keep more than."""
    below = ranking.below(leaders[0])
    if not below:
        return []
    gaps = [ranking.gap(leader, entry) for leader in leaders for entry in below]
    shared = all(gap.is_sure for gap in gaps if gap)
    pronoun = {1: "It keeps", 2: "Both keep"}.get(len(leaders), "All of them keep")
    start = say(f". {pronoun} significantly more than ") if shared else _only(leaders[0])
    names = name_list([entry.name for entry in below], limit=_MOST)
    if len(below) == 1:
        nearest = f"{_in_brackets(ranking.gap(leaders[0], below[0]))}" if len(leaders) == 1 else ""
        return [*start, *names, *say(f"{nearest}, "), *scores[below[0].name]]
    last = below[-1]
    least = [*say("; the least is left of {}, ", last.name), *scores[last.name]]
    tied = [entry.name for entry in ranking.tied(last) if entry in below]
    if tied:
        least += [*say(", from which "), *name_list(tied, limit=_MOST), *say(" cannot be told")]
    return [*start, *names, *least]


def _only(leader: Entry) -> Sentence:
    return [*say(". "), *say("{} keeps significantly more than ", leader.name)]


def _in_brackets(gap: Gap | None) -> str:
    """Return a difference, what it rests on, and over seeds its p-value."""
    if gap is None:
        return ""
    if math.isnan(gap.p):
        return " (no test is possible)"
    p = probability(gap.p).text
    text = f"difference {with_interval(gap.difference, gap.low, gap.high)}"
    corrected = f"corrected p{SPACE}{p if p.startswith('<') else f'= {p}'}"
    if gap.over_seeds:
        return f" ({text}, Welch's t-test over seeds, {corrected})"
    own = ", each network under its own attack" if gap.mixed else ""
    return f" ({text} on {counted(gap.size, 'common image')}, {corrected}{own})"


def _network_score(subject: Subject, entry: Entry) -> Sentence:
    failed, attacked = _failures(subject, (entry.name, subject.attribution, entry.attack))
    size = f"n{SPACE}={SPACE}{entry.size:,}; " if entry.size != attacked else ""
    fails = f", failed on {failed:,} of {counted(attacked, 'image')}" if attacked else ""
    text = f"{with_interval(entry.value, entry.low, entry.high)} ({size}{{}}{fails})"
    return say(text, attack_labels(subject.results)[entry.attack])


def _regime_score(entry: Entry) -> Sentence:
    return say(f"{with_interval(entry.value, entry.low, entry.high)} over {counted(entry.size, 'seed')}")


def _named(entries: list[Entry], scores: dict[str, Sentence]) -> Sentence:
    if len(entries) == 1:
        return scores[entries[0].name]
    return listing([[*say("{} ", entry.name), *scores[entry.name]] for entry in entries], limit=_MOST)


def _failures(subject: Subject, cell: tuple[str, str, str]) -> tuple[int, int]:
    if cell not in subject.counts.index:
        return 0, 0
    row = subject.counts.loc[[cell]].iloc[0]
    return int(row["failed"]), int(row["attacked"])


def _doubts(subject: Subject) -> Iterator[Sentence]:
    """Name the networks whose score says nothing about robustness, and those without a score."""
    own = in_words(subject.attribution)
    for entry in subject.ranking.entries:
        failed, attacked = _failures(subject, (entry.name, subject.attribution, entry.attack))
        if 2 * failed > attacked:
            words = "Most of the strongest attacks on {} of {} failed "
            words += f"({failed:,} of {attacked:,}): its score says nothing about its robustness."
            yield say(words, own, entry.name)
    if subject.ranking.silent:
        names = name_list(subject.ranking.silent, limit=_MOST)
        metric = metric_words(subject.results.headline)
        yield [*say("No {} is defined", metric), *say(" under attack on {} of ", own), *names, *say(".")]
