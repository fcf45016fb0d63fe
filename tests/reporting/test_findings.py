"""The sentences a report begins with."""

import dataclasses

import pytest

from lit_xai.reporting.comparisons import compare_checkpoints
from lit_xai.reporting.findings import caution, findings, plain, regime_seeds
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results")))


def said(results, comparisons=None):
    found = compare_checkpoints(results) if comparisons is None else comparisons
    return [plain(sentence) for sentence in findings(results, found)]


def with_means(results, metric="top_k", **means):
    """The results with the headline's means replaced; keys are attacks, values by checkpoint."""
    table = results.table.copy()
    for attack, values in means.items():
        for checkpoint, value in values.items():
            rows = (table.checkpoint == checkpoint) & (table.attack == attack) & (table.metric == metric)
            assert rows.any()
            table.loc[rows, ["value", "low", "high"]] = value, value - 0.1, value + 0.1
    return dataclasses.replace(results, table=table)


def test_the_most_robust_checkpoint_comes_first(results):
    row, last = (
        results.cell(name, "integrated_gradients", "exiaa_alpha_0_15_k_0_6", "top_k")
        for name in ("pgd", "natural")
    )
    assert said(results)[0] == (
        "pgd keeps the most of its integrated gradients explanation under its strongest attack, eXIAA, "
        f"alpha 0.15, k 0.6: top k {row['value']:.3f} [{row['low']:.3f}, {row['high']:.3f}] over "
        f"{row['count']} samples. The least is left of natural, {last['value']:.3f} "
        f"[{last['low']:.3f}, {last['high']:.3f}], by eXIAA, alpha 0.15, k 0.6."
    )
    assert said(results)[1].startswith("pgd keeps the most of its saliency explanation")


def test_a_metric_that_falls_turns_the_ranking(results):
    card = {**results.card, "metrics": {"change": results.card["metrics"]["change"]}}
    changed = with_means(
        dataclasses.replace(results, card=card),
        metric="change",
        exiaa_alpha_0_15_k_0_6={"natural": 70.0, "pgd": 90.0},
        exiaa_alpha_0_06_k_0_6={"natural": 80.0, "pgd": 20.0},
    )
    assert said(changed)[0].startswith("natural keeps the most")
    assert "eXIAA, alpha 0.06, k 0.6: change 80.00 [79.90, 80.10]" in said(changed)[0]


def test_a_metric_without_direction_ranks_nothing(results):
    metrics = {"top_k": {**results.card["metrics"]["top_k"], "higher_is_better": None}}
    sentences = said(dataclasses.replace(results, card={**results.card, "metrics": metrics}))
    assert [sentence.split()[0] for sentence in sentences] == ["Between", "Of"]


def test_the_price_is_told_in_points(results):
    first, last = (
        results.cell(name, "none", "unattacked", "accuracy")["value"] for name in ("natural", "pgd")
    )
    assert (
        f"The price is accuracy: pgd classifies {100 * last:.1f} % of 400 images correctly, "
        in said(results)[2]
    )
    assert f"{100 * (first - last):.1f} points less than natural ({100 * first:.1f} %)." in said(results)[2]


def test_no_price_is_told_too(results):
    table = results.table.copy()
    table.loc[(table.checkpoint == "pgd") & (table.metric == "accuracy"), "value"] = 0.99
    sentences = said(dataclasses.replace(results, table=table))
    assert sentences[2] == (
        "It costs no accuracy: pgd classifies 99.0 % of 400 images correctly, the most of all."
    )


def test_significant_differences_are_counted(results):
    found = compare_checkpoints(results)
    headline = found[found.metric == "top_k"]
    better = headline[headline.p_holm < 0.05]
    assert len(better) > 10
    assert (better.difference > 0).all()
    assert said(results)[3] == (
        f"Between checkpoints, on the same samples, {(found.p_holm < 0.05).sum()} of {len(found)} "
        f"differences are significant at 5 % after Holm's correction; of {len(headline)} in top k, "
        f"{len(better)}: {len(better)} in favour of pgd."
    )


def test_one_checkpoint_is_compared_with_none(tmp_path):
    sentences = said(read(write_results(tmp_path, ("only",), samples=12)))
    assert sentences[0].startswith("only keeps so much of its integrated gradients explanation")
    assert "The least" not in sentences[0]
    assert not [text for text in sentences if text.startswith(("The price", "It costs", "Between"))]


def test_attacks_are_held_against_random_signs_of_their_radius(results):
    weak = with_means(
        results,
        random_sign_eps_0_1={"natural": 0.5, "pgd": 0.5},
        top_k_eps_0_1={"natural": 0.4, "pgd": 0.5},
    )
    assert said(weak)[4] == (
        "In 10 of 12 comparisons at the same radius an attack harms the explanation more than random signs "
        "do, but not top k, eps 0.1 on integrated gradients of pgd; top k, eps 0.1 on saliency of pgd."
    )
    assert said(results)[4].startswith("In 12 of 12 comparisons")
    assert said(results)[4].endswith("than random signs do.")


def test_without_a_control_nothing_is_said_of_it(results):
    attacks = {name: {**entry, "radius": None} for name, entry in results.card["attacks"].items()}
    sentences = said(dataclasses.replace(results, card={**results.card, "attacks": attacks}))
    assert not [text for text in sentences if "random signs" in text]


def test_failures_and_exclusions_are_counted_once_for_all_metrics(results):
    flags = results.samples[results.samples.attack != "unattacked"]
    flags = flags[flags.attribution != "none"]
    failed = int(flags[flags.metric == "failed"].value.sum())
    excluded = int(flags[flags.metric == "excluded"].value.sum())
    total = int((flags.metric == "excluded").sum())
    assert total == 2 * 2 * 12 * 40
    text = said(results)[5]
    assert text.startswith(f"Of {total - excluded:,} attacks on single samples {failed:,} failed")
    assert f"({100 * failed / (total - excluded):.1f} %)" in text
    assert text.endswith(f"{excluded:,} samples ({100 * excluded / total:.1f} %) were excluded before.")


def test_one_seed_judges_no_regime(results):
    assert plain(caution(results)).endswith("the numbers judge these networks, and no regime.")


def test_regimes_of_several_seeds_are_told_from_those_of_one(tmp_path):
    groups = {"a": ("pgd", 0), "b": ("pgd", 1), "c": ("pgd", 1)}
    results = read(write_results(tmp_path, ("a", "b", "c", "natural", "pgd"), groups=groups, samples=8))
    results.card["checkpoints"]["pgd"]["group"] = None
    assert regime_seeds(results) == [("pgd", 2), ("natural", 1), ("pgd", 1)]
    assert plain(caution(results)) == (
        "A statement about a regime rests on its seeds, not on its samples. Trained with one seed, and so "
        "not judged as regimes: natural, pgd."
    )


def test_names_are_never_read_as_a_template(tmp_path):
    results = read(write_results(tmp_path, ("{}", "{0} {x}"), samples=8))
    names = [part.text for part in findings(results, compare_checkpoints(results))[0] if part.is_name]
    assert names[0] == "{0} {x}"
    assert names[3] == "{}"
