"""Tables of differences: their numbers are those of the comparisons, their words exact."""

import math

import pandas as pd
import pytest

from lit_xai.reporting import contrasts
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes, regime_means
from lit_xai.reporting.contrasts import (
    checkpoint_table,
    headline_rows,
    probability,
    regime_means_table,
    regime_table,
    summary,
)
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

SEEDED = {"pgd_0": ("pgd", 0), "pgd_1": ("pgd", 1), "ig_0": ("ig", 0), "ig_1": ("ig", 1), "ig_2": ("ig", 2)}
ROW = {
    "attribution": "saliency", "attack": "top_k_eps_0_1", "metric": "top_k", "first": "natural",
    "second": "pgd", "difference": -0.25, "low": -0.31, "high": -0.19, "effect": -1.234, "p": 0.001,
    "p_holm": 0.012, "family": "primary", "n": 36, "only_first": 1, "only_second": 2, "better": "natural",
    "first_seeds": 2, "second_seeds": 3,
}  # fmt: skip
MEAN = {
    "group": "pgd", "attribution": "saliency", "attack": "top_k_eps_0_1", "metric": "top_k", "value": 0.5,
    "low": 0.3, "high": 0.7, "seeds": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), tuple(SEEDED), groups=SEEDED, samples=12))


def rows(*changes, base=ROW):
    return pd.DataFrame([{**base, **change} for change in changes])


def texts(table):
    return [[" ".join(filter(None, (cell.text, cell.note))) for cell in row] for row in table.rows]


def test_a_page_shows_the_headline_and_the_accuracies(results):
    frame = compare_checkpoints(results)
    shown = headline_rows(frame, results, "saliency")
    expected = frame.query("attribution == 'saliency' and metric == 'top_k'")
    # Ten pairs of five checkpoints, thirteen attacks.
    assert len(shown) == 10 * 13
    pd.testing.assert_frame_equal(shown, expected)
    accuracies = headline_rows(frame, results, "none")
    assert set(accuracies.metric) == {"accuracy"}
    assert len(accuracies) == 10 * 2
    assert headline_rows(frame, results, "unknown").empty


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ([0.01, 0.0499, 0.05, math.nan], "4 comparisons, 2 significant"),
        ([0.05], "1 comparison, 0 significant"),
        ([], "0 comparisons, 0 significant"),
    ],
)
def test_significant_is_below_the_level(values, text):
    assert summary(pd.DataFrame({"p_holm": values}, dtype=float)) == text


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (0.0, "< 0.001"),
        (0.00099, "< 0.001"),
        (0.001, "0.001"),
        (0.0494, "0.049"),
        (0.04951, "< 0.050"),
        (0.05, "0.050"),
        (0.0504, "0.050"),
        (1.0, "1.000"),
    ],
)
def test_a_probability_is_never_shown_on_the_other_side_of_the_level(p, text):
    assert probability(p) == (text, p, "")


def test_no_probability_is_a_dash_without_a_number():
    assert probability(math.nan) == ("–", None, "")


def test_a_comparison_of_checkpoints_by_hand(results):
    accuracy = {"attribution": "none", "attack": "pgd", "metric": "accuracy"}
    nothing = dict.fromkeys(("difference", "low", "high", "effect", "p", "p_holm"), math.nan)
    same = {"difference": 0.0, "low": 0.0, "high": 0.0, "p": 1.0, "p_holm": 1.0, "effect": 0.0}
    table = checkpoint_table(
        rows(
            {},
            {**nothing, "family": "", "attack": "unattacked", "n": 0, "better": ""},
            {**same, "family": "", "better": ""},
        ),
        results,
        "saliency",
    )
    assert table.caption == (
        "Top-k intersection, saliency: the second network minus the first, on the n samples scored on both. "
        "“Scored on one only” counts samples that the other network excludes or has no score for. p is "
        "corrected "
        "(Holm) over the accuracies and the first metric under attack; all other metrics are corrected "
        "on their "
        "own. Intervals are not corrected."
    )
    assert table.keys == 2
    assert [(column.title, column.numeric) for column in table.columns] == [
        ("attack", False), ("first → second", False), ("difference", True), ("p", True), ("better", False),
        ("effect", True), ("n", True), ("scored on one only", True),
    ]  # fmt: skip
    assert texts(table) == [
        ["top-k attack, eps 0.1", "natural → pgd", "−0.250 [−0.310, −0.190]", "0.012 (0.001)", "natural",
         "−1.23", "36", "3"],
        ["unattacked", "natural → pgd", "–", "–", "–", "–", "0", "3"],
        ["top-k attack, eps 0.1", "natural → pgd", "0.000 [0.000, 0.000]", "1.000 (no difference)", "–",
         "0.00", "36", "3"],
    ]  # fmt: skip
    numbers = [[cell.value for cell in row[2:4] + row[5:]] for row in table.rows]
    assert numbers == [[-0.25, 0.012, -1.234, 36, 3], [None, None, None, 0, 3], [0, 1, 0, 36, 3]]
    of_accuracies = checkpoint_table(rows(accuracy), results, "none")
    assert of_accuracies.caption.startswith("Accuracy: the second network minus the first")
    assert of_accuracies.rows[0][0].text == "PGD"


def test_an_effect_without_spread_is_infinite_and_has_no_place_among_numbers(results):
    table = checkpoint_table(rows({"effect": -math.inf}), results, "saliency")
    assert table.rows[0][5] == ("−∞", None, "")


def test_one_wide_interval_does_not_take_the_digits_of_all(results):
    narrow = {"low": -0.2501, "high": -0.2499}
    table = checkpoint_table(rows({"low": -90.0, "high": 90.0}, narrow), results, "saliency")
    assert [row[2].note for row in table.rows] == ["[−90.00, 90.00]", "[−0.2501, −0.2499]"]


def test_every_comparison_of_the_results_has_its_row(results):
    frame = headline_rows(compare_checkpoints(results), results, "integrated_gradients")
    table = checkpoint_table(frame, results, "integrated_gradients")
    pairs = zip(frame["first"], frame["second"], strict=True)
    assert [row[1].text for row in table.rows] == [f"{first} → {second}" for first, second in pairs]
    columns = frame[["difference", "p_holm", "effect", "n"]].to_numpy(dtype=float)
    for row, expected in zip(table.rows, columns, strict=True):
        found = [math.nan if row[place].value is None else row[place].value for place in (2, 3, 5, 6)]
        assert found == [pytest.approx(value, rel=0, abs=0, nan_ok=True) for value in expected]
    alone = frame["only_first"] + frame["only_second"]
    assert [row[7].value for row in table.rows] == alone.tolist()
    assert alone.max() > 0


def test_a_comparison_of_regimes_by_hand(results):
    table = regime_table(rows({"first": "ig"}, {"p_holm": 1.0, "better": ""}), results, "saliency")
    assert table.caption.startswith(
        "Top-k intersection, saliency: the second regime minus the first, over seeds."
    )
    assert table.caption.endswith("Intervals are not corrected.")
    assert [column.title for column in table.columns] == [
        "attack", "first → second", "difference", "p", "better", "effect", "seeds",
    ]  # fmt: skip
    assert texts(table) == [
        ["top-k attack, eps 0.1", "ig → pgd", "−0.250 [−0.310, −0.190]", "0.012 (0.001)", "natural", "−1.23",
         "2 + 3"],
        ["top-k attack, eps 0.1", "natural → pgd", "−0.250 [−0.310, −0.190]", "1.000 (0.001)", "–", "−1.23",
         "2 + 3"],
    ]  # fmt: skip


def test_regimes_of_the_results_show_their_seeds(results):
    frame = headline_rows(compare_regimes(results), results, "none")
    table = regime_table(frame, results, "none")
    assert [(row[0].text, row[1].text, row[6].text) for row in table.rows] == [
        ("unattacked", "pgd → ig", "2 + 3"), ("PGD", "pgd → ig", "2 + 3"),
    ]  # fmt: skip


def test_means_of_regimes_stand_together_by_attack(results):
    other = {"attack": "random_sign_eps_0_1", "value": 0.9}
    alone = {"group": "ig", "low": math.nan, "high": math.nan, "seeds": 1}
    frame = rows({}, other, alone, {**other, **alone}, base=MEAN)
    table = regime_means_table(frame, results, "saliency")
    assert (
        table.caption
        == "Top-k intersection, saliency: means over seeds with 95\u00a0% intervals of Student's t."
    )
    assert [column.title for column in table.columns] == ["attack", "regime", "top-k intersection", "seeds"]
    assert table.keys == 2
    assert texts(table) == [
        ["top-k attack, eps 0.1", "pgd", "0.50 [0.30, 0.70]", "2"],
        ["top-k attack, eps 0.1", "ig", "0.50", "1"],
        ["random signs, eps 0.1", "pgd", "0.90 [0.30, 0.70]", "2"],
        ["random signs, eps 0.1", "ig", "0.90", "1"],
    ]


def test_accuracies_of_regimes_are_the_means_of_their_seeds(results):
    table = regime_means_table(headline_rows(regime_means(results), results, "none"), results, "none")
    assert table.columns[2].title == "accuracy"
    assert table.caption.startswith("Accuracy: means over seeds")
    expected = results.table.query("metric == 'accuracy'").assign(
        group=[SEEDED[name][0] for name in results.table.query("metric == 'accuracy'").checkpoint]
    )
    means = expected.groupby(["attack", "group"]).value.mean()
    assert [(row[0].text, row[1].text, row[3].value) for row in table.rows] == [
        ("unattacked", "pgd", 2), ("unattacked", "ig", 3), ("PGD", "pgd", 2), ("PGD", "ig", 3),
    ]  # fmt: skip
    for row in table.rows:
        assert row[2].value == pytest.approx(means[row[0].text.lower(), row[1].text], rel=1e-12)


def test_an_attack_may_be_named_as_the_one_behind_the_accuracies(results, monkeypatch):
    monkeypatch.setattr(contrasts, "attack_labels", lambda _: {"pgd": "mine"})
    assert checkpoint_table(rows({"attack": "pgd"}), results, "saliency").rows[0][0].text == "mine"
