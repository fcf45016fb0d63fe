import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lit_xai.reporting.comparisons import (
    compare_checkpoints,
    compare_regimes,
    regime_groups,
    regime_means,
)
from lit_xai.reporting.reading import Results, in_order, read
from lit_xai.reporting.statistics import holm, paired_difference
from lit_xai.reporting.summary import summarize
from tests.reporting.made_up import METRICS, attacks, made_up_card, write_results

NAN = float("nan")
CHECKPOINTS = ("natural", "pgd", "<b>模型$_")
SEEDS = {"a0": ("a", 0), "a1": ("a", 1), "a2": ("a", 2), "b0": ("b", 0), "b1": ("b", 1), "c0": ("c", 0)}
CELL = ["attribution", "attack", "metric"]
TESTED = [*CELL, "first", "second", "difference", "low", "high", "effect", "p", "p_holm", "family"]
PAIRED = [*TESTED, "n", "only_first", "only_second", "better"]
WELCH = [*TESTED, "first_seeds", "second_seeds", "better"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), CHECKPOINTS, samples=30))


@pytest.fixture(scope="module")
def repeated(tmp_path_factory):
    directory = tmp_path_factory.mktemp("repeated")
    write_results(directory, tuple(SEEDS), attributions=("saliency",), groups=SEEDS, samples=10)
    return read(directory)


def scores(results, checkpoint, attribution, attack, metric):
    chosen = results.samples
    names = {"checkpoint": checkpoint, "attribution": attribution, "attack": attack, "metric": metric}
    for column, name in names.items():
        chosen = chosen[chosen[column] == name]
    return chosen.set_index("sample_id")["value"].dropna()


def made(card_names=("a", "b"), **columns):
    """Return results of scores by checkpoint: each a mapping of sample to value."""
    rows = [
        (checkpoint, "saliency", "top_k_eps_0_1", metric, sample, value)
        for checkpoint, cells in columns.items()
        for metric, values in cells.items()
        for sample, value in values.items()
    ]
    names = ["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]
    samples = pd.DataFrame(rows, columns=names)
    card = made_up_card(card_names, ("saliency",), {}, 10, ())
    empty = pd.DataFrame()
    return Results(card, samples, summarize(samples), empty, empty, empty)


def test_every_row_is_the_paired_t_test(results):
    table = compare_checkpoints(results)
    assert list(table.columns) == PAIRED
    for place in range(0, len(table), 37):
        row = table.iloc[place]
        cell = (row["attribution"], row["attack"], row["metric"])
        first, second = (scores(results, row[side], *cell) for side in ("first", "second"))
        both = first.index.intersection(second.index)
        assert (row["n"], row["only_first"], row["only_second"]) == (
            len(both),
            len(first) - len(both),
            len(second) - len(both),
        )
        difference = (second[both] - first[both]).to_numpy()
        assert row["difference"] == pytest.approx(difference.mean(), abs=1e-12)
        if difference.any():
            test = stats.ttest_rel(second[both], first[both])
            assert row["p"] == pytest.approx(test.pvalue, rel=1e-9)
            assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval()), rel=1e-9)
            assert row["effect"] == pytest.approx(difference.mean() / difference.std(ddof=1), rel=1e-9)
        else:
            assert row[["low", "high", "effect", "p"]].tolist() == [0, 0, 0, 1]
    assert table["only_first"].max() > 0


def test_all_pairs_and_cells_are_compared_in_the_card_s_order(results):
    table = compare_checkpoints(results)
    natural, pgd, odd = CHECKPOINTS
    cells = [("none", "unattacked", "accuracy"), ("none", "pgd", "accuracy")]
    for attribution in ("integrated_gradients", "saliency"):
        cells += [(attribution, attack, metric) for attack in attacks() for metric in METRICS]
    expected = [(*cell, *pair) for pair in ((natural, pgd), (natural, odd), (pgd, odd)) for cell in cells]
    assert list(table[PAIRED[:5]].itertuples(index=False, name=None)) == expected


def families(table):
    """The families by their definition, one row at a time."""
    found = []
    for row in table.to_dict("records"):
        accuracy = row["attribution"] == "none" and row["metric"] == "accuracy"
        headline = row["metric"] == "top_k" and row["attack"] != "unattacked"
        tested = row["p"] < 1 or row["low"] < row["high"]
        found.append(("primary" if accuracy or headline else "exploratory") if tested else "")
    return found


def assert_corrected_by_family(table):
    assert table["family"].tolist() == families(table)
    assert set(table["family"]) == {"primary", "exploratory", ""}
    for name in ("primary", "exploratory"):
        rows = table[table["family"] == name]
        np.testing.assert_array_equal(rows["p_holm"], holm(rows["p"]))
    untested = table[table["family"] == ""]
    assert set(untested["p"]) == set(untested["p_holm"]) == {1.0}
    assert set(untested["attack"]) == {"unattacked"}
    assert set(untested["difference"]) == {0.0}
    assert (table["p_holm"] > table["p"]).any()


def test_holm_is_over_each_family_of_its_own(results, repeated):
    table = compare_checkpoints(results)
    # Three pairs: two accuracies, and the headline under twelve attacks on two attributions.
    assert (table["family"] == "primary").sum() == 3 * (2 + 12 * 2)
    assert_corrected_by_family(table)
    assert_corrected_by_family(compare_regimes(repeated))


def test_one_sample_without_a_difference_is_no_test():
    table = compare_checkpoints(
        made(a={"top_k": {1: 0.5}, "ssim": {1: 0.2}}, b={"top_k": {1: 0.5}, "ssim": {1: 0.3}})
    )
    assert table[["metric", "family"]].to_numpy().tolist() == [["top_k", ""], ["ssim", ""]]
    assert table["p_holm"].tolist() == [1.0, pytest.approx(NAN, nan_ok=True)]


def test_unattacked_scores_that_differ_are_exploratory():
    results = made(a={"top_k": {1: 0.25, 2: 0.5}}, b={"top_k": {1: 0.5, 2: 0.7}})
    unattacked = replace(results, samples=results.samples.assign(attack="unattacked"))
    assert compare_checkpoints(results)["family"].tolist() == ["primary"]
    assert compare_checkpoints(unattacked)["family"].tolist() == ["exploratory"]


def test_differences_that_cancel_are_a_test():
    table = compare_checkpoints(made(a={"top_k": {1: 0.25, 2: 0.5}}, b={"top_k": {1: 0.5, 2: 0.25}}))
    assert table[["difference", "p", "family"]].to_numpy().tolist() == [[0.0, 1.0, "primary"]]


def test_two_infinities_have_no_difference_and_are_no_pair():
    one = {sample: 0.1 * sample for sample in range(6)} | {6: np.inf, 7: -np.inf, 8: 1.0}
    other = {sample: 0.1 * sample + 0.3 + 0.1 * (sample % 2) for sample in range(6)} | {6: np.inf, 7: -np.inf}
    row = compare_checkpoints(made(a={"top_k": one}, b={"top_k": other})).iloc[0]
    by_hand = paired_difference([one[s] for s in range(8)], [other[s] for s in range(8)])
    test = stats.ttest_rel([other[s] for s in range(6)], [one[s] for s in range(6)])
    assert row["p"] == by_hand.p == pytest.approx(test.pvalue, rel=1e-9)
    assert (row["difference"], row["effect"], row["n"]) == (by_hand.difference, by_hand.effect, 6)
    assert (row["only_first"], row["only_second"]) == (1, 0)


def test_the_better_one_follows_the_direction_and_is_sure(results):
    table = compare_checkpoints(results)
    lower = table["metric"].isin(["change", "confidence_change"])
    second = (table["difference"] > 0) ^ lower
    expected = np.where(table["p_holm"] < 0.05, np.where(second, table["second"], table["first"]), "")
    assert table["better"].tolist() == expected.tolist()
    assert set(table["better"]) == {"", *CHECKPOINTS[1:]}
    assert set(table["better"][lower]) > {"", "pgd"}
    assert ((table["p"] < 0.05) & (table["better"] == "")).any()


def test_the_better_one_does_not_depend_on_which_is_first(results):
    names = dict(reversed(results.card["checkpoints"].items()))
    mirrored = compare_checkpoints(replace(results, card={**results.card, "checkpoints": names}))
    mirrored = mirrored.rename(columns={"first": "second", "second": "first"})
    keys = ["first", "second", *CELL]
    table = compare_checkpoints(results).merge(mirrored, on=keys, suffixes=("", "_mirrored"))
    assert len(table) == len(mirrored)
    assert table["better"].tolist() == table["better_mirrored"].tolist()
    for name, twin in (("difference", "difference"), ("low", "high"), ("effect", "effect")):
        np.testing.assert_allclose(table[name], -table[f"{twin}_mirrored"], atol=1e-12)


def test_a_metric_without_direction_has_no_better_one(results):
    card = json.loads(json.dumps(results.card))
    card["metrics"]["ssim"]["higher_is_better"] = None
    table = compare_checkpoints(replace(results, card=card))
    chosen = table[table["metric"] == "ssim"]
    assert chosen["p_holm"].min() < 0.05
    assert set(chosen["better"]) == {""}


def test_a_checkpoint_compared_with_itself_shows_no_difference(results):
    twin = results.samples[results.samples["checkpoint"] == "natural"].assign(checkpoint="pgd")
    both = results.samples[results.samples["checkpoint"] == "natural"]
    table = compare_checkpoints(replace(results, samples=pd.concat([both, twin])))
    assert len(table) == 2 + 2 * len(attacks()) * len(METRICS)
    unsure = table[["difference", "low", "high", "effect", "only_first", "only_second"]]
    assert (unsure == 0).all(axis=None)
    assert (table[["p", "p_holm"]] == 1).all(axis=None)
    assert set(table["better"]) == {""}


def test_the_order_of_samples_changes_nothing(results):
    shuffled = replace(results, samples=results.samples.sample(frac=1, random_state=0))
    pd.testing.assert_frame_equal(compare_checkpoints(shuffled), compare_checkpoints(results))


def test_samples_of_one_checkpoint_only_are_counted():
    first = {"top_k": {1: 0.1, 2: 0.2, 3: 0.4, 8: NAN}, "ssim": {1: 0.5}, "change": {1: NAN, 2: 1.0}}
    second = {"top_k": {9: 0.0, 3: 0.9, 2: 0.4, 1: NAN, 8: 0.3}, "change": {1: 2.0, 2: NAN}}
    table = compare_checkpoints(made(a=first, b=second)).set_index("metric")
    row = table.loc["top_k"]
    assert (row["n"], row["only_first"], row["only_second"]) == (2, 1, 2)
    assert row["difference"] == pytest.approx(0.35)
    for metric, counts in (("ssim", [0, 1, 0]), ("change", [0, 1, 1])):
        row = table.loc[metric]
        assert row[["n", "only_first", "only_second"]].tolist() == counts
        assert row[["difference", "low", "high", "effect", "p", "p_holm"]].isna().all()
        assert row["better"] == ""


def test_undefined_tests_are_not_counted_by_holm():
    values = {sample: 0.1 * sample + 0.01 * (sample % 3) for sample in range(8)}
    cells = {"top_k": {s: v + 0.3 + 0.1 * (s % 2) for s, v in values.items()}, "ssim": {9: 1.0}}
    row = compare_checkpoints(made(a={"top_k": values}, b=cells)).iloc[0]
    assert row["p_holm"] == row["p"] < 0.05
    assert row["better"] == "b"


def test_flags_and_lone_checkpoints_are_not_compared():
    flags = {"excluded": {1: 0.0, 2: 0.0}, "failed": {1: 0.0, 2: 1.0}}
    assert len(compare_checkpoints(made(a=flags, b=flags))) == 0
    table = compare_checkpoints(made(("a",), a={"top_k": {1: 0.5}}))
    assert (len(table), list(table.columns)) == (0, PAIRED)


def test_names_become_categories_in_their_order():
    column = in_order(pd.Series(["x", "b", "none", "a", "b"]), ["a", "b", "unseen"])
    assert list(column) == ["x", "b", "none", "a", "b"]
    assert list(column.categories) == ["none", "a", "b", "x"]


def test_every_row_of_regimes_is_welch_s_t_test_over_seeds(repeated):
    table = compare_regimes(repeated)
    assert list(table.columns) == WELCH
    assert len(table) == 2 + len(attacks()) * len(METRICS)
    assert set(table["first"]) == {"a"}
    assert set(table["second"]) == {"b"}
    assert set(table["first_seeds"]) == {3}
    assert set(table["second_seeds"]) == {2}
    for place in (0, 1, 8, 20, 40):
        row = table.iloc[place]
        cell = (row["attribution"], row["attack"], row["metric"])
        first, second = (
            [scores(repeated, name, *cell).mean() for name in names]
            for names in (("a0", "a1", "a2"), ("b0", "b1"))
        )
        test = stats.ttest_ind(second, first, equal_var=False)
        assert row["difference"] == pytest.approx(np.mean(second) - np.mean(first), rel=1e-9)
        assert row["p"] == pytest.approx(test.pvalue, rel=1e-6)
        assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval()), rel=1e-6)


def seeds(values, groups):
    """Return results whose means are given by checkpoint, and whose seeds by checkpoint too."""
    card = made_up_card(tuple(values), ("saliency",), groups, 10, ())
    rows = [(name, "saliency", "top_k_eps_0_1", "top_k", value) for name, value in values.items()]
    table = pd.DataFrame(rows, columns=["checkpoint", "attribution", "attack", "metric", "value"])
    empty = pd.DataFrame()
    return Results(card, empty, table, empty, empty, empty)


def test_a_better_regime_by_hand():
    values = {"a0": 0.10, "a1": 0.11, "a2": 0.12, "b0": 0.80, "b1": 0.81, "c0": 0.5}
    row = compare_regimes(seeds(values, SEEDS)).iloc[0]
    assert row["difference"] == pytest.approx(0.695)
    assert row["p_holm"] == row["p"] < 0.001
    assert row["better"] == "b"
    # Pooled variance (2 * 1e-4 + 0.5e-4) / 3; the factor of three degrees of freedom is 0.723601.
    assert row["effect"] == pytest.approx(0.695 / (2.5e-4 / 3) ** 0.5 * 0.7236012546, rel=1e-9)


def test_a_seed_without_a_mean_is_left_out():
    values = {"a0": 0.1, "a1": 0.2, "a2": NAN, "b0": 0.8, "b1": 0.9, "c0": 0.5}
    row = compare_regimes(seeds(values, SEEDS)).iloc[0]
    assert row[["first_seeds", "second_seeds"]].tolist() == [2, 2]
    assert row["difference"] == pytest.approx(0.7)
    values["b1"] = NAN
    assert len(compare_regimes(seeds(values, SEEDS))) == 0
    assert list(compare_regimes(seeds(values, SEEDS)).columns) == WELCH


def test_checkpoints_of_one_seed_count_once():
    groups = {"a0": ("a", 0), "a0_early": ("a", 0), "a1": ("a", 1), "b0": ("b", 0), "b1": ("b", 1)}
    values = {"a0": 0.1, "a0_early": 0.3, "a1": 0.4, "b0": 0.8, "b1": 0.9}
    row = compare_regimes(seeds(values, groups)).iloc[0]
    assert row["first_seeds"] == 2
    assert row["difference"] == pytest.approx(0.85 - 0.3)


def test_an_unknown_group_or_seed_stands_on_its_own():
    groups = {"a0": ("a", 0), "a": (None, 0), "x": ("a", None), "a1": ("a", 1)}
    means = regime_means(seeds({"a0": 0.1, "a": 0.9, "x": 0.7, "a1": 0.3}, groups))
    assert means[["group", "seeds"]].to_numpy().tolist() == [["a", 2], ["a", 1], ["x", 1]]
    assert means["value"].tolist() == pytest.approx([0.2, 0.9, 0.7])
    assert len(compare_regimes(seeds({"a": 0.9, "x": 0.7}, groups))) == 0


def test_means_of_regimes_have_intervals_over_seeds(repeated):
    means = regime_means(repeated)
    assert list(means.columns) == [
        "group",
        "attribution",
        "attack",
        "metric",
        "value",
        "low",
        "high",
        "seeds",
    ]
    assert list(means["group"].unique()) == ["a", "b", "c"]
    assert means.groupby("group")["seeds"].unique().str[0].tolist() == [3, 2, 1]
    row = means[(means["attack"] == "top_k_eps_0_1") & (means["metric"] == "change")].iloc[0]
    values = [
        repeated.cell(name, "saliency", "top_k_eps_0_1", "change")["value"] for name in ("a0", "a1", "a2")
    ]
    assert row["value"] == pytest.approx(np.mean(values))
    interval = stats.ttest_1samp(values, 0).confidence_interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    alone = means[means["group"] == "c"]
    assert alone[["low", "high"]].isna().all(axis=None)
    assert alone["value"].notna().all()


def named(results, **regimes):
    card = json.loads(json.dumps(results.card))
    for name, regime in regimes.items():
        card["checkpoints"][name]["regime"] = regime
    return replace(results, card=card)


def test_regimes_with_several_seeds_are_called_as_the_card_calls_them(repeated):
    called = named(repeated, a0="PGD", a1="PGD", a2="PGD", b0="<b>", b1="<b>", c0="natural")
    assert regime_groups(called) == {"PGD": ["a0", "a1", "a2"], "<b>": ["b0", "b1"]}
    assert set(compare_regimes(called)["first"]) == {"PGD"}
    assert list(regime_means(called)["group"].unique()) == ["PGD", "<b>", "natural"]
