"""How a result came about: every fact of a card in its words, none made up."""

import copy
import dataclasses
import json
import shlex

import pytest

from lit_xai.reporting import provenance
from lit_xai.reporting.reading import read
from tests.reporting.made_up import attacks, made_up_card, write_results

CLAIM = {
    "checkpoint": "pgd", "attribution": "saliency", "attack": "top_k_eps_0_1", "metric": "change",
    "claimed": 30.0, "measured": 31.0, "stderr": 0.25, "count": 1036,
}  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), samples=8))


@pytest.fixture
def results(made):
    """Results whose card may be changed."""
    return dataclasses.replace(made, card=copy.deepcopy(made.card))


@pytest.fixture
def card():
    return made_up_card(("natural", "pgd"), ("saliency",), {}, 1234, ())


def test_the_facts_of_a_card_in_order(card):
    assert provenance.facts(card) == [
        ("Data", "lit_xai.data.embedded_fashion.EmbeddedFashion", True),
        ("Split", "test", False),
        ("Samples attacked", "1,234", False),
        ("Images behind the accuracies", "12,340", False),
        ("Batch size", "64", False),
        ("Seeds", "grid 0, subset 0", False),
        ("Precision of the evaluation", "float32", False),
        ("Device", "cpu, 1 process", False),
        ("Passes through the networks", "forward 123,456, backward 7,890", False),
        ("Time", "natural 1.5 s, pgd 1.5 s", False),
        ("Measured", "2026-01-02T03:04:05+00:00", False),
        ("Versions", "python 3.11.7, lit_xai 0.1.0, torch 2.14.1", False),
        ("SHA-256 of the test images", "ab" * 32, True),
        ("SHA-256 of the donor images", "cd" * 32, True),
        ("Options of the data", '{\n  "max_train": 2000\n}', True),
        ("Command", "evaluate.py -c configs/evaluate/quick.yaml", True),
    ]


@pytest.mark.parametrize(
    ("part", "lost"),
    [
        ({"precision": None}, {"Precision of the evaluation"}),
        ({"samples": {"split": "val"}}, {"Samples attacked", "Images behind the accuracies", "Batch size"}),
        ({"data": {"sha256": {"test": None}, "init_args": {}}},
         {"Data", "SHA-256 of the test images", "SHA-256 of the donor images", "Options of the data"}),
        ({"command": [], "seeds": None, "seconds": {}}, {"Command", "Seeds", "Time"}),
    ],
)  # fmt: skip
def test_what_is_not_known_is_left_out(card, part, lost):
    all_names = {fact.name for fact in provenance.facts(card)}
    assert {fact.name for fact in provenance.facts({**card, **part})} == all_names - lost


def test_a_card_that_knows_nothing_has_no_facts():
    assert provenance.facts({}) == []


def test_nothing_counted_is_a_fact_too(card):
    found = {fact.name: fact.text for fact in provenance.facts({**card, "samples": {"count": 0}})}
    assert found["Samples attacked"] == "0"


def test_one_unknown_part_is_left_out_of_its_fact(card):
    found = {fact.name: fact.text for fact in provenance.facts({**card, "passes": {"a": None, "b": 2000}})}
    assert found["Passes through the networks"] == "b 2,000"


def test_a_seed_has_no_separators(card, results):
    found = {fact.name: fact.text for fact in provenance.facts({**card, "seeds": {"grid": 20261122}})}
    assert found["Seeds"] == "grid 20261122"
    results.card["checkpoints"]["pgd"].update(seed=20261122, steps=20261122)
    row = provenance.checkpoints(results).rows[1]
    assert (row[2], row[4]) == (("20261122", 20261122, ""), ("20,261,122", 20261122, ""))


def test_a_command_can_be_typed_again(card):
    command = ["evaluate.py", "--name", "two words; $HOME", "模型", 7]
    found = {fact.name: fact.text for fact in provenance.facts({**card, "command": command})}
    assert shlex.split(found["Command"]) == [*map(str, command)]


def test_options_keep_their_letters(card):
    found = provenance.facts({**card, "data": {"init_args": {"name": "模型 <b>"}}})
    assert ("Options of the data", '{\n  "name": "模型 <b>"\n}', True) in found


def test_the_settings_of_every_method_by_kind(card):
    found = provenance.settings(card)
    assert list(found) == ["attributions", "attacks", "metrics"]
    assert found["attributions"] == [("saliency", "lit_xai.attributions.saliency", "{}")]
    assert [method.name for method in found["attacks"]] == list(attacks())
    for method in found["attacks"]:
        entry = attacks()[method.name]
        assert method.class_path == entry["class_path"]
        assert json.loads(method.options) == entry["init_args"]
    assert [method.name for method in found["metrics"]] == list(card["metrics"])


def test_a_method_of_unknown_class_is_named_all_the_same(card):
    card["attributions"] = {"saliency": {"class_path": "", "init_args": None}}
    assert provenance.settings(card)["attributions"] == [("saliency", "–", "{}")]


def test_what_the_checkpoints_are(results):
    results.card["checkpoints"]["natural"] |= {"seed": 1, "parameters": 25_557_032}
    results.card["checkpoints"]["pgd"] = {"regime": None, "model": None}
    table = provenance.checkpoints(results)
    assert table.caption == "The networks: what they are and where their weights were read."
    assert [(column.title, column.numeric) for column in table.columns] == [
        ("checkpoint", False), ("regime", False), ("seed", True), ("epoch", True), ("steps", True),
        ("trained in", False), ("model", False), ("parameters", True), ("file", False), ("SHA-256", False),
    ]  # fmt: skip
    assert [cell.text for cell in table.rows[0]] == [
        "natural", "natural", "1", "3", "48", "bf16-mixed", "SmallCNN", "25,557,032",
        "runs/natural/1/checkpoints/last.ckpt", "0" * 64,
    ]  # fmt: skip
    values = [None, None, 1, 3, 48, None, None, 25_557_032, None, None]
    assert [cell.value for cell in table.rows[0]] == values
    assert [cell.text for cell in table.rows[1]] == ["pgd", *["–"] * 9]
    assert not any(cell.value for cell in table.rows[1])


def test_what_the_attacks_may_do(results):
    table = provenance.attacks(results)
    assert [column.title for column in table.columns] == ["attack", "class", "radius", "gradient", "varied"]
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in table.rows}
    assert list(rows) == list(attacks())
    assert rows["unattacked"] == ["Unattacked", "0", "no", "–"]
    assert rows["top_k_eps_0_05"] == ["TopK", "0.05", "yes", "eps 0.05"]
    assert rows["exiaa_alpha_0_15_k_0_6"] == ["EXIAA", "–", "no", "alpha 0.15, k 0.6"]


def test_what_an_attack_does_not_say_is_a_dash(results):
    unknown = {"class_path": "", "radius": None, "values": {}}
    results.card["attacks"] = {"mine": unknown}
    assert [cell.text for cell in provenance.attacks(results).rows[0]] == ["mine", *["–"] * 4]


@pytest.mark.parametrize(
    ("radius", "text", "note"),
    [
        (0.0, "0", ""),
        (1 / 255, "0.003922", "1/255"),
        (8 / 255, "0.03137", "8/255"),
        (0.0314, "0.0314", "8/255"),
        (0.0313, "0.0313", "8/255"),
        (0.0312, "0.0312", ""),
        (0.05, "0.05", ""),
        (0.2, "0.2", "51/255"),
        (0.00005, "5e-05", ""),
    ],
)
def test_a_radius_also_in_levels_where_it_is_one(results, radius, text, note):
    results.card["attacks"]["unattacked"]["radius"] = radius
    cell = provenance.attacks(results).rows[0][2]
    assert cell == (text, radius, note)


def test_no_claims_no_table(results):
    assert provenance.claims(results) is None
    results.card["claims"] = None
    assert provenance.claims(results) is None


@pytest.mark.parametrize(
    ("change", "cells"),
    [
        ({}, [("30.0000", 30.0, ""), ("31.0000", 31.0, "± 0.2500"), ("1,036", 1036, ""),
              ("worse than claimed", None, "")]),
        ({"claimed": 30.5}, [("30.5000", 30.5, ""), ("31.0000", 31.0, "± 0.2500"), ("1,036", 1036, ""),
                             ("consistent", None, "")]),
        ({"claimed": 32}, [("32.0000", 32.0, ""), ("31.0000", 31.0, "± 0.2500"), ("1,036", 1036, ""),
                           ("better than claimed", None, "")]),
        ({"measured": float("nan"), "stderr": float("nan"), "count": 0},
         [("30.0000", 30.0, ""), ("–", None, ""), ("0", 0, ""), ("not measured", None, "")]),
        ({"measured": None, "stderr": None, "count": None},
         [("30.0000", 30.0, ""), ("–", None, ""), ("–", None, ""), ("not measured", None, "")]),
        ({"claimed": 10**400, "stderr": None},
         [("–", None, ""), ("31.0000", 31.0, ""), ("1,036", 1036, ""), ("not measured", None, "")]),
        ({"claimed": "30"}, [("–", None, ""), ("31.0000", 31.0, "± 0.2500"), ("1,036", 1036, ""),
                             ("not measured", None, "")]),
    ],
)  # fmt: skip
def test_a_claim_by_hand(results, change, cells):
    results.card["claims"] = [{**CLAIM, **change}]
    table = provenance.claims(results)
    assert [(column.title, column.numeric) for column in table.columns] == [
        ("checkpoint", False), ("attribution", False), ("attack", False), ("metric", False),
        ("claimed", True), ("measured", True), ("n", True), ("verdict", False),
    ]  # fmt: skip
    (row,) = table.rows
    assert [cell.text for cell in row[:4]] == ["pgd", "saliency", "top_k_eps_0_1", "change"]
    assert row[4:] == cells


def test_the_metric_decides_which_side_is_better(results):
    results.card["metrics"]["neutral"] = {**results.card["metrics"]["ssim"], "higher_is_better": None}
    named = ("change", "top_k", "accuracy", "neutral")
    results.card["claims"] = [{**CLAIM, "metric": metric} for metric in named]
    assert [row[-1].text for row in provenance.claims(results).rows] == [
        "worse than claimed", "better than claimed", "better than claimed", "higher than claimed",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("device", "text"),
    [
        ({"type": "cuda", "processes": 4, "name": "H100"}, "cuda, 4 processes, name H100"),
        ({"type": "cpu"}, "cpu"),
        ({"processes": 1}, "1 process"),
        ({"type": None}, ""),
    ],
)
def test_the_device_in_words(card, device, text):
    found = {fact.name: fact.text for fact in provenance.facts({**card, "device": device})}
    assert found.get("Device", "") == text


def test_a_claim_stands_against_the_interval_of_its_mean(results):
    row = results.cell("pgd", "saliency", "top_k_eps_0_1", "change")
    low, high = row["low"], row["high"]
    inside, outside = (high + row["value"]) / 2, high + 1
    results.card["claims"] = [{**CLAIM, "measured": row["value"], "claimed": n} for n in (inside, outside)]
    table = provenance.claims(results)
    assert [cells[5].note for cells in table.rows] == [f"[{low:.4f}, {high:.4f}]"] * 2
    assert [cells[-1].text for cells in table.rows] == ["consistent", "better than claimed"]


def test_options_hold_no_character_that_turns_them(card):
    found = provenance.facts({**card, "data": {"init_args": {"name": "\u202eabc\u2066"}}})
    (options,) = (fact.text for fact in found if fact.name == "Options of the data")
    assert "\u202e" not in options
    assert json.loads(options) == {"name": "\u202eabc\u2066"}


def test_a_name_that_turns_leaves_its_number_as_it_is(card):
    found = {fact.name: fact.text for fact in provenance.facts({**card, "seconds": {"\u202eabc": 36.5}})}
    assert found["Time"] == "\u2068\u202eabc\u2069 36.5 s"
