"""The card of an evaluation: what it leaves out, and how its damage is worded."""

import json
import re

import pytest

from lit_xai.reporting.results_card import damage, read_card
from tests.reporting.made_up import made_up_card

LEAST = {
    "format": 1,
    "checkpoints": {"b": {}, "a": {"seed": 0, "file": "a.ckpt"}},
    "attributions": {"saliency": {}},
    "attacks": {"top_k": {"radius": 0.1}},
    "metrics": {"ssim": {"higher_is_better": False}},
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "card.json"


def write(path, card):
    path.write_text(json.dumps(card), encoding="utf-8")
    return path


def test_a_complete_card_is_read_as_it_is(path):
    card = made_up_card(("模型", ""), ("saliency",), {}, 5, ({"claimed": 0.5},))
    path.write_text(json.dumps(card, ensure_ascii=False), encoding="utf-8")
    assert read_card(path) == card


def test_what_is_left_out_is_unknown_and_what_is_there_stays(path):
    card = read_card(write(path, LEAST))
    assert card == {
        "format": 1,
        "claims": [],
        "checkpoints": {
            "b": {"regime": None, "group": None, "seed": None, "epoch": None, "precision": None},
            "a": {
                "regime": None,
                "group": None,
                "seed": 0,
                "epoch": None,
                "precision": None,
                "file": "a.ckpt",
            },
        },
        "attributions": {"saliency": {"class_path": ""}},
        "attacks": {"top_k": {"class_path": "", "radius": 0.1, "sweep": None, "values": {}}},
        "metrics": {"ssim": {"class_path": "", "higher_is_better": False, "description": ""}},
    }
    assert list(card["checkpoints"]) == ["b", "a"]


def test_what_nobody_asks_for_is_kept(path):
    assert read_card(write(path, {**LEAST, "future": [1]}))["future"] == [1]


def test_the_words_for_a_missing_card(path):
    with pytest.raises(FileNotFoundError) as caught:
        read_card(path)
    assert str(caught.value) == f"Expected card.json in {path.parent}, but got a directory without it."


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", r"Expecting value: line 1 column 1 \(char 0\)"),
        (b'{"format": 1,}', "(Illegal trailing comma|Expecting property name) .*line 1 column 1[34] .*"),
        (b"\xff", "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte"),
        (b"[" * 100_000, "maximum recursion depth exceeded.*"),
    ],
    ids=["empty", "comma", "bytes", "deep"],
)
def test_the_words_for_a_damaged_card(path, content, reason):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="damaged") as caught:
        read_card(path)
    said, _, found = str(caught.value).partition(", which is damaged: ")
    assert said == f"Expected a readable card.json, but got {path}"
    assert re.fullmatch(reason, found)


def test_a_folder_in_the_place_of_a_card_is_damage(path):
    path.mkdir()
    with pytest.raises(
        ValueError, match=r"^Expected a readable card\.json, but got .*, which is damaged: .*dir"
    ):
        read_card(path)


@pytest.mark.parametrize(
    ("card", "said"), [({**LEAST, "format": 2}, "2"), (["format"], "'none'"), ({}, "'none'")]
)
def test_the_words_for_another_format(path, card, said):
    with pytest.raises(ValueError, match="format") as caught:
        read_card(write(path, card))
    assert str(caught.value) == (
        f"Expected a card of format 1, but got {said} in {path}. Evaluate again with this version."
    )


@pytest.mark.parametrize("section", ["checkpoints", "attributions", "attacks", "metrics"])
def test_the_words_for_a_part_that_is_missing(path, section):
    card = {name: part for name, part in LEAST.items() if name != section}
    with pytest.raises(ValueError, match="by name") as caught:
        read_card(write(path, card))
    assert str(caught.value) == (
        f"Expected a card with `{section}` by name, but got {path} without. Evaluate again."
    )


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\n  lines\tand a tab"), "two lines and a tab"),
        (OSError(), "OSError"),
        (NotImplementedError("x" * 500), "x" * 120),
    ],
)
def test_a_reason_is_one_short_line(path, error, reason):
    with pytest.raises(ValueError, match="damaged") as caught, damage(path):
        raise error
    assert str(caught.value) == f"Expected a readable card.json, but got {path}, which is damaged: {reason}"
    assert caught.value.__cause__ is error


def test_a_mistake_of_the_program_is_no_damage(path):
    with pytest.raises(KeyError, match="mine"), damage(path):
        raise KeyError("mine")
