"""Sentences on accuracies, word by word."""

from lit_xai.reporting import accuracies
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.phrases import plain
from tests.reporting.made_up_scores import WEAK, scored

SEEDS = {f"{regime}{seed}": (regime, seed) for regime in "ab" for seed in range(2)}


def correct(count, of=100):
    return [1] * count + [0] * (of - count)


def made(groups=None, **accuracy):
    scores = {(name, WEAK): [0.5, 0.6] for name in accuracy}
    known = {name: values for name, values in accuracy.items() if values is not None}
    return scored(scores, accuracy=known, groups=groups)


def said(results, *leaders):
    sentences = accuracies.of_networks(results, leaders, compare_checkpoints(results))
    return [plain(sentence).replace("\u00a0", " ") for sentence in sentences]


def test_less_is_said_only_where_it_is_significant():
    results = made(a=correct(90), b=correct(95)[::-1], c=correct(95), d=correct(65))
    assert said(results, "a", "d") == [
        "b and c classify the most of 100 clean images correctly, 95.0 %. Of the networks with the best "
        "scores "
        "under attack, a classifies 90.0 % (a difference of 5.0 percentage points [−2.7, 12.7], not "
        "significant) and d classifies 65.0 %, significantly less by 30.0 percentage points [18.9, 41.1]."
    ]


def test_the_most_accurate_may_be_the_most_robust():
    results = made(a=correct(90), b=correct(65))
    assert said(results, "a") == ["a classifies the most of 100 clean images correctly, 90.0 %."]
    assert said(made(a=correct(9, 10), b=correct(9, 10)), "b") == [
        "a and b classify the most of 10 clean images correctly, 90.0 %."
    ]


def test_without_two_accuracies_or_a_leader_nothing_is_said():
    assert said(made(a=correct(90), b=None), "a") == []
    assert said(made(a=correct(90), b=None, c=correct(80)), "b") == []
    assert said(made(a=correct(90), b=correct(80))) == []


def test_networks_of_one_regime_are_not_compared():
    results = made({"a": ("pgd", 0), "b": ("pgd", 1)}, a=correct(90), b=correct(65))
    assert said(results, "b") == [
        "a classifies the most of 100 clean images correctly, 90.0 %. Of the networks with the best scores "
        "under attack, b classifies 65.0 % (not compared)."
    ]


def test_regimes_have_accuracies_over_seeds():
    def of_regimes(*counts):
        values = {name: correct(count) for name, count in zip(SEEDS, counts, strict=True)}
        results = made(SEEDS, **values)
        sentences = accuracies.of_regimes(results, compare_regimes(results))
        return [plain(sentence).replace("\u00a0", " ") for sentence in sentences]

    assert of_regimes(50, 60, 70, 80) == [
        "Accuracy on clean images is 55.0 % [−8.5, 118.5] for a over 2 seeds and 75.0 % [11.5, 138.5] for b "
        "over 2 seeds; no difference between regimes can be shown."
    ]
    (sentence,) = of_regimes(20, 21, 90, 91)
    assert sentence.endswith("; b is significantly more accurate than a.")
    (sentence,) = of_regimes(90, 91, 20, 21)
    assert sentence.endswith("; a is significantly more accurate than b.")


def test_one_regime_alone_has_no_sentence():
    results = made({"a": ("pgd", 0), "b": ("pgd", 1)}, a=correct(90), b=correct(65))
    assert list(accuracies.of_regimes(results, compare_regimes(results))) == []
