"""Tables as models: their numbers are those of the result files."""

import math

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting import tables
from lit_xai.reporting.reading import read
from tests.reporting.made_up import METRICS, write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), samples=20))


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (0.1234, 3, "0.123"),
        (-0.1234, 2, "−0.12"),
        (-0.0, 2, "0.00"),
        (0.0, 3, "0.000"),
        (0.00012, 2, "0.00012"),
        (-3e-9, 3, "−3e−09"),
        (1234.5, 0, "1234"),
        (math.nan, 2, "–"),
        (math.inf, 2, "∞"),
        (-math.inf, 2, "−∞"),
    ],
)
def test_a_number_has_its_digits(value, decimals, text):
    assert tables.number(value, decimals) == text


@pytest.mark.parametrize(
    ("half", "decimals"), [(0.03, 3), (0.5, 2), (2.0, 1), (40.0, 0), (900.0, 0), (1e-9, 6), (0.0, 3)]
)
def test_the_interval_sets_the_digits(half, decimals):
    assert tables.decimals([1 - half] * 3, [1 + half] * 3) == decimals


def test_the_usual_interval_sets_the_digits_of_a_column():
    low, high = np.zeros(5), np.array([0.0, 0.06, 0.08, 4.0, math.nan])
    assert tables.decimals(low, high) == 3


def test_an_interval_never_looks_like_nothing():
    row = {"value": 0.50002, "low": 0.5, "high": 0.50004, "count": 7}
    assert tables.mean(row, 2, 7) == ("0.50002", 0.50002, "[0.50000, 0.50004]")


def test_a_count_of_its_own_stands_beside_the_mean():
    row = {"value": 0.5, "low": 0.4, "high": 0.6, "count": 5}
    assert tables.mean(row, 2, 7) == ("0.50", 0.5, "[0.40, 0.60] n=5")
    assert tables.mean({**row, "value": math.nan, "low": math.nan, "high": math.nan}, 2, 5) == ("–", None, "")


def test_every_mean_of_an_attribution_is_that_of_the_file(results):
    table = tables.attribution(results, "saliency")
    assert [column.title for column in table.columns][-4:] == ["kept only", "n", "failed", "excluded"]
    rows = results.table[results.table.attribution == "saliency"]
    shown = np.array([[cell.value for cell in row[2 : 2 + len(METRICS)]] for row in table.rows])
    for place, metric in enumerate(METRICS):
        expected = rows[rows.metric == metric].set_index(["attack", "checkpoint"]).value
        keys = [(attack, name) for attack in results.attacks for name in results.checkpoints]
        assert shown[:, place].tolist() == [expected[key] for key in keys]
    heads = rows[rows.metric == "top_k"].set_index(["attack", "checkpoint"]).loc[keys]
    for place, column in ((-3, "count"), (-1, "excluded")):
        assert [row[place].value for row in table.rows] == heads[column].tolist()
    # What is not attacked cannot fail.
    assert [row[place][:2] for row in table.rows[:2] for place in (-4, -2)] == [("–", None)] * 4
    assert [row[-2].value for row in table.rows[2:]] == heads.failed.tolist()[2:]
    assert [row[-4].value for row in table.rows[2:]] == heads.kept_value.tolist()[2:]
    assert [row[-4].note for row in table.rows[2:]] == [f"n={count}" for count in heads.kept_count[2:]]


def test_the_caption_says_which_way_is_robust(results):
    assert tables.attribution(results, "saliency").caption.endswith(
        "Higher is more robust: top-k intersection, LENS precision, SSIM. "
        "Lower is more robust: change, confidence change."
    )


def test_accuracies_stand_beside_the_strongest_attack(results):
    table = tables.accuracy(results)
    assert [column.title for column in table.columns] == [
        "checkpoint", "accuracy", "PGD accuracy", "n (accuracy)",
        "integrated gradients: top-k intersection", "strongest attack",
        "saliency: top-k intersection", "strongest attack",
    ]  # fmt: skip
    for row, name in zip(table.rows, results.checkpoints, strict=True):
        assert row[1].value == results.cell(name, "none", "unattacked", "accuracy")["value"]
        assert row[2].value == results.cell(name, "none", "pgd", "accuracy")["value"]
        assert row[3].value == 200
        cells = results.table.query("checkpoint == @name and attribution == 'saliency' and metric == 'top_k'")
        assert row[6].value == cells.value.min()
        worst = cells.loc[cells.value.idxmin()]
        counts = [f"n={worst['count']},", f"{worst.failed} failed, {worst.excluded} excluded"]
        assert worst["count"] + worst.excluded == 20
        assert row[6].note.split("\n")[1:] == counts
        assert row[7].text == "eXIAA, alpha 0.15, k 0.6"


def test_no_accuracies_no_table(results):
    without = results.table[results.table.attribution != "none"]
    frames = (results.samples, without, results.agreement, results.examples, results.training)
    assert tables.accuracy(type(results)(results.card, *frames)) is None


def test_attacks_that_words_would_merge_keep_their_names(tmp_path):
    results = read(write_results(tmp_path, samples=8))
    assert tables.attack_labels(results)["top_k_eps_0_1"] == "top-k attack, eps 0.1"
    results.card["attacks"]["other"] = results.card["attacks"]["top_k_eps_0_1"]
    assert tables.attack_labels(results)["top_k_eps_0_1"] == "top_k_eps_0_1"


def test_a_missing_row_is_a_dash(results):
    lost = (results.table.metric == "ssim") & (results.table.attack == "top_k_eps_0_1")
    frames = (results.samples, results.table[~lost], results.agreement, results.examples, results.training)
    table = tables.attribution(type(results)(results.card, *frames), "saliency")
    place = list(METRICS).index("ssim") + 2
    empty = [row[0].text for row in table.rows if row[place] == ("–", None, "")]
    assert empty == ["top-k attack, eps 0.1"] * 2
    assert isinstance(results.table, pd.DataFrame)


def test_an_attack_is_what_changes_the_image_whatever_it_is_called(tmp_path):
    results = read(write_results(tmp_path, samples=8))
    assert tables.attacks(results) == [name for name in results.attacks if name != "unattacked"]
    results.card["attacks"]["clean"] = results.card["attacks"]["unattacked"]
    assert "clean" not in tables.attacks(results)


def test_the_family_of_an_attack_turns_no_number(tmp_path):
    results = read(write_results(tmp_path, samples=8))
    results.card["attacks"]["top_k_eps_0_1"]["sweep"] = "\u05d0\u05d1"
    assert tables.attack_labels(results)["top_k_eps_0_1"] == "\u2068\u05d0\u05d1\u2069, eps 0.1"
