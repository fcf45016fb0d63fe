"""Sentences on who keeps the most, word by word."""

import numpy as np
import pytest

from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.phrases import plain
from lit_xai.reporting.robustness import Subject, of_networks, of_regimes
from lit_xai.reporting.trials import counts
from lit_xai.reporting.verdicts import networks, regimes
from tests.reporting.made_up_scores import STRONG, WEAK, scored

FIRST, SECOND = np.array([0.0, 0.1] * 10), np.array([0.0, 0.0, 0.1, 0.1] * 5)
SEEDS = {f"{regime}{seed}": (regime, seed) for regime in "ab" for seed in range(2)}
OF_ALL = "(top-k attack, eps 0.1, failed on 0 of 20 images)"


def said(results):
    ranking = networks(results, compare_checkpoints(results))["saliency"]
    sentences = of_networks(Subject(results, "saliency", ranking, counts(results)))
    return [plain(sentence).replace("\u00a0", " ") for sentence in sentences]


def said_of_regimes(results):
    ranking = regimes(results, compare_regimes(results))["saliency"]
    sentences = of_regimes(Subject(results, "saliency", ranking, counts(results)))
    return [plain(sentence).replace("\u00a0", " ") for sentence in sentences]


def test_one_that_beats_the_other_keeps_the_most():
    assert said(scored({("a", WEAK): 0.3 + FIRST, ("b", WEAK): 0.7 + SECOND})) == [
        "b keeps the most of its saliency explanation under its strongest attack: top-k intersection 0.750 "
        f"[0.730, 0.770] {OF_ALL}. It keeps significantly more than a (difference 0.400 [0.366, 0.434] on 20 "
        f"common images, corrected p < 0.001), 0.350 [0.330, 0.370] {OF_ALL}."
    ]


def test_two_that_cannot_be_told_apart_are_named_together():
    scores = {("a", WEAK): 0.4 + FIRST, ("b", WEAK): 0.41 + SECOND}
    apart = "(difference 0.010 [−0.024, 0.044] on 20 common images, corrected p = 0.545)"
    values = f"top-k intersection b 0.460 [0.440, 0.480] {OF_ALL} and a 0.450 [0.430, 0.470] {OF_ALL}"
    assert said(scored(scores)) == [
        "b and a cannot be told apart by what they keep of their saliency explanations under their strongest "
        f"attacks {apart}: {values}."
    ]
    assert said(scored(scores | {("c", WEAK): 0.1 + FIRST + 0.1 * SECOND})) == [
        "b and a keep the most of their saliency explanations under their strongest attacks and cannot "
        "be told "
        f"apart {apart}: {values}. Both keep significantly more than c, 0.155 [0.133, 0.177] {OF_ALL}."
    ]


def test_more_than_two_are_held_against_the_best_mean():
    scores = {("a", WEAK): 0.4 + FIRST, ("b", WEAK): 0.41 + SECOND, ("c", WEAK): 0.405 + FIRST + 0.1 * SECOND}
    (alike,) = said(scored(scores))
    assert alike.startswith(
        "b has the best mean for its saliency explanation under its strongest attack, but no other can "
        "be told "
        "from it: top-k intersection b 0.460"
    )
    (sentence,) = said(scored(scores | {("d", WEAK): 0.1 + FIRST, ("e", WEAK): 0.1 + SECOND}))
    assert sentence.startswith(
        "b, c and a keep the most of their saliency explanations under their strongest attacks; the "
        "best mean "
        "is that of b, from which the others cannot be told: top-k intersection b 0.460 [0.440, 0.480]"
    )
    assert sentence.endswith(
        "All of them keep significantly more than d and e; the least is left of e, 0.150 [0.130, 0.170] "
        f"{OF_ALL}, from which d cannot be told."
    )


def test_what_holds_for_the_best_only_is_said_of_it():
    spread = np.array([-0.6, 0.6] * 10)
    scores = {("best", WEAK): 0.7 + FIRST, ("wild", WEAK): 0.69 + spread, ("low", WEAK): 0.6 + SECOND}
    (sentence,) = said(scored(scores))
    assert sentence.startswith("best and wild keep the most of their saliency explanations")
    assert ". best keeps significantly more than low, 0.650" in sentence


def test_attacks_that_differ_are_told():
    scores = {("a", WEAK): 0.4 + FIRST, ("b", STRONG): 0.41 + SECOND}
    (sentence,) = said(scored(scores))
    assert "corrected p = 0.545, each network under its own attack)" in sentence
    assert "a 0.450 [0.430, 0.470] (top-k attack, eps 0.1, failed" in sentence
    assert "b 0.460 [0.440, 0.480] (top-k attack, eps 0.2, failed" in sentence


@pytest.mark.parametrize(("failed", "doubtful"), [(10, False), (11, True)])
def test_a_score_of_failed_attacks_says_nothing(failed, doubtful):
    values = [0.5] * 19 + [np.nan]
    results = scored({("a", WEAK): values}, failed={("a", WEAK): [1] * failed + [0] * (20 - failed)})
    first, *others = said(results)
    assert first == (
        "Under the strongest attack on its saliency explanation, a has a mean top-k intersection of 0.500 "
        f"[0.500, 0.500] (n = 19; top-k attack, eps 0.1, failed on {failed} of 20 images)."
    )
    assert (
        others
        == [
            "Most of the strongest attacks on saliency of a failed (11 of 20): its score says nothing about "
            "its "
            "robustness."
        ]
        * doubtful
    )


def test_infinite_and_undefined_scores_are_named():
    sentences = said(scored({("a", WEAK): FIRST, ("b", WEAK): [-np.inf] * 3, ("c", WEAK): [np.nan]}))
    assert sentences == [
        "a has the best mean for its saliency explanation under its strongest attack: top-k "
        "intersection 0.050 "
        f"[0.030, 0.070] {OF_ALL}; no test is possible against b, −∞ (top-k attack, eps 0.1, failed on 0 "
        "of 3 "
        "images).",
        "No top-k intersection is defined under attack on saliency of c.",
    ]


def test_many_are_counted():
    scores = {(f"net_{place}", WEAK): 0.5 + np.roll(SECOND, place) for place in range(7)}
    (sentence,) = said(scored(scores))
    assert sentence.count("failed on") == 4
    assert sentence.endswith("and 3 more.")


def test_regimes_that_differ_are_ranked_over_seeds():
    scores = {(name, WEAK): 0.5 * (name[0] == "b") + 0.01 * place + FIRST for place, name in enumerate(SEEDS)}
    results = scored(scores, groups=SEEDS)
    assert said_of_regimes(results) == [
        "b keeps the most of its saliency explanation with every network under its strongest attack: top-k "
        "intersection 0.575 [0.511, 0.639] over 2 seeds. It keeps significantly more than a (difference "
        "0.520 "
        "[0.490, 0.550], Welch's t-test over seeds, corrected p < 0.001), 0.055 [−0.009, 0.119] over 2 seeds."
    ]
    (single,) = said(results)
    assert single.startswith(
        "Among single networks (those of one regime are not compared), b1 has the best mean for its saliency "
        "explanation"
    )
    assert "It keeps significantly more than a1 and a0; the least is left of a0, 0.050" in single


def test_regimes_that_no_test_tells_apart_show_no_difference():
    scores = {(name, WEAK): 0.1 * place + FIRST for place, name in enumerate(SEEDS)}
    assert said_of_regimes(scored(scores, groups=SEEDS)) == [
        "No difference between regimes can be shown with 2 seeds: for saliency, with every network under its "
        "strongest attack, the mean top-k intersection is: b 0.30 [−0.34, 0.94] over 2 seeds and a 0.10 "
        "[−0.54, "
        "0.74] over 2 seeds (difference 0.20 [−0.10, 0.50], Welch's t-test over seeds, corrected p = 0.106)."
    ]
    more = SEEDS | {"b2": ("b", 2)}
    scores["b2", WEAK] = 0.1 + FIRST
    assert said_of_regimes(scored(scores, groups=more))[0].startswith(
        "No difference between regimes can be shown with 2 to 3 seeds:"
    )
