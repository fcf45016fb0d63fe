"""The sentences a report begins with."""

import dataclasses

import pytest

from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.findings import caution, findings, regime_seeds
from lit_xai.reporting.phrases import plain
from lit_xai.reporting.reading import read
from lit_xai.reporting.trials import counts
from tests.reporting.made_up import write_results
from tests.reporting.made_up_scores import SIGNS, WEAK, scored


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results")))


def said(results, comparisons=None):
    found = compare_checkpoints(results) if comparisons is None else comparisons
    return [plain(sentence).replace("\u00a0", " ") for sentence in findings(results, found)]


def test_the_sentences_come_in_their_order(results):
    starts = ["pgd keeps the most", "pgd keeps the most", "natural classifies", "Between networks, on the"]
    starts += ["On the same images", "Excluded because", "Share of attacks"]
    sentences = said(results)
    assert [text[: len(start)] for text, start in zip(sentences, starts, strict=True)] == starts
    assert "integrated gradients" in sentences[0]
    assert "saliency" in sentences[1]


def test_a_metric_without_direction_ranks_nothing(results):
    metrics = {"top_k": {**results.card["metrics"]["top_k"], "higher_is_better": None}}
    sentences = said(dataclasses.replace(results, card={**results.card, "metrics": metrics}))
    assert [sentence.split()[0] for sentence in sentences] == ["Between", "Excluded", "Share"]


def test_significant_differences_are_counted_by_family(results):
    found = compare_checkpoints(results)
    primary, others = (found[found.family == name] for name in ("primary", "exploratory"))
    wins = primary.better.value_counts()
    assert wins["pgd"] > 10
    assert set(wins.index) <= {"", "pgd"}
    assert said(results)[3] == (
        f"Between networks, on the same images, {wins['pgd']} of {len(primary)} differences in accuracy "
        "and in "
        f"top-k intersection under attack are significant at 5 % after Holm's correction: {wins['pgd']} in "
        f"favour of pgd; of {len(others)} in other metrics, corrected on their own, "
        f"{(others.p_holm < 0.05).sum()}."
    )


def test_one_difference_is_singular():
    results = scored({("a", WEAK): [0.1, 0.2, 0.1], ("b", WEAK): [0.8, 0.91, 0.8]})
    text = next(text for text in said(results) if text.startswith("Between"))
    assert text == (
        "Between networks, on the same images, 1 of 1 difference in accuracy and in top-k intersection under "
        "attack is significant at 5 % after Holm's correction: 1 in favour of b."
    )


GROUPS = {"a0": ("a", 0), "a1": ("a", 1), "b0": ("b", 0), "b1": ("b", 1)}


def test_regimes_lead_and_seeds_of_one_are_not_compared():
    scores = {
        (name, WEAK): [0.1 * place + 0.01 * (sample * (place + 2) % 5) for sample in range(20)]
        for place, name in enumerate(GROUPS)
    }
    results = scored(scores, groups=GROUPS, accuracy={name: [1, 0] for name in GROUPS})
    sentences = said(results)
    assert sentences[0].startswith("No difference between regimes can be shown with 2 seeds: for saliency")
    assert sentences[1].startswith("Accuracy on clean images is 50.0 %")
    assert sentences[2].startswith("Among single networks (those of one regime are not compared), b1 ")
    # Six pairs differ, two of them within a regime.
    counted = next(text for text in sentences if text.startswith("Between"))
    assert counted.startswith("Between networks of different regimes, on the same images, 4 of 4 differences")
    assert counted.endswith("2 in favour of b0 and 2 in favour of b1.")
    assert caution(results)[0].text == "A statement about a regime rests on its seeds, not on its samples."
    given = findings(results, compare_checkpoints(results), compare_regimes(results))
    assert [plain(sentence).replace("\u00a0", " ") for sentence in given] == sentences


def test_one_checkpoint_is_compared_with_none(tmp_path):
    sentences = said(read(write_results(tmp_path, ("only",), samples=12)))
    assert sentences[0].startswith(
        "Under the strongest attack on its integrated gradients explanation, only has a mean"
    )
    starts = [text.split()[0] for text in sentences]
    assert starts == ["Under", "Under", "On", "Excluded", "Share"]


def test_attacks_are_held_against_random_signs_of_their_radius(results):
    assert said(results)[4].startswith(
        "On the same images of a network, an attack harms the explanation significantly more than "
        "random signs "
        "of the same radius in "
    )
    step = [0.0, 0.01, 0.0, 0.02]
    cells = {
        ("a", SIGNS): step, ("a", WEAK): [0.5 - value for value in step],
        ("b", SIGNS): [0.5 + value for value in step], ("b", WEAK): step[::-1],
        ("c", SIGNS): step, ("c", WEAK): step[::-1],
    }  # fmt: skip
    text = next(text for text in said(scored(cells)) if text.startswith("On the same"))
    assert text.endswith(
        "in 1 of 3 comparisons (paired t-tests, Holm); significantly less: top-k attack, eps 0.1 on "
        "saliency of "
        "a; inconclusive: top-k attack, eps 0.1 on saliency of c."
    )


def test_without_a_control_nothing_is_said_of_it(results):
    attacks = {name: {**entry, "radius": None} for name, entry in results.card["attacks"].items()}
    sentences = said(dataclasses.replace(results, card={**results.card, "attacks": attacks}))
    assert not [text for text in sentences if "random signs of" in text]


def test_exclusions_are_told_by_network_and_failures_by_family():
    exiaa = "exiaa_alpha_0_06_k_0_2"
    cells = {
        ("a", SIGNS): [0.5] * 8,
        ("a", WEAK): [0.4] * 8,
        ("a", exiaa): [0.4] * 7,
        ("b", WEAK): [0.3] * 10,
    }
    failed = {("a", WEAK): [1] + [0] * 7, ("a", SIGNS): [1, 1] + [0] * 6}
    results = scored(cells, failed=failed, excluded={("a", SIGNS): 2, ("a", WEAK): 2, ("a", exiaa): 3})
    assert said(results)[-2:] == [
        "Excluded because misclassified: a 2 and b 0 of 10 images; excluded further, such as for want "
        "of a donor "
        "image: up to 1 image of a network by eXIAA.",
        "Share of attacks that failed (they changed nothing, or the prediction too; their scores stay in the "
        "means): top-k attack 5.6 % of 18 and eXIAA 0.0 % of 7; of the controls, random signs 25.0 % of 8.",
    ]


def test_no_image_is_counted_once_for_each_attack(results):
    fewest = [counts(results).xs(name)["excluded"].min() for name in ("natural", "pgd")]
    assert said(results)[5].startswith(
        f"Excluded because misclassified: natural {fewest[0]} and pgd {fewest[1]} of 40 images"
    )


def test_nothing_attacked_is_told():
    assert said(scored({}, accuracy={})) == ["No attribution was attacked."]


def test_one_seed_judges_no_regime(results):
    assert plain(caution(results)).endswith("the numbers judge these networks, and no regime.")


def test_regimes_of_several_seeds_are_told_from_those_of_one(tmp_path):
    groups = {"a": ("pgd", 0), "b": ("pgd", 1), "c": ("pgd", 1)}
    results = read(write_results(tmp_path, ("a", "b", "c", "natural", "pgd"), groups=groups, samples=8))
    results.card["checkpoints"]["pgd"]["group"] = None
    assert regime_seeds(results) == [("pgd", 2), ("natural", 1), ("pgd", 1)]
    assert plain(caution(results)) == (
        "A statement about a regime rests on its seeds, not on its samples. Trained with one seed, and so "
        "not judged as regimes: natural and pgd."
    )


def test_names_are_never_read_as_a_template(tmp_path):
    results = read(write_results(tmp_path, ("{}", "{0} {x}"), samples=8))
    names = [part.text for part in findings(results, compare_checkpoints(results))[0] if part.is_name]
    assert names[0] == "{0} {x}"
    assert names[3] == "{}"
