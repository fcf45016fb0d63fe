import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lit_xai.reporting.cards import find_cards, shown_path
from tests.reporting.made_up import write_results

CLASS = {"class_path": "my.Class"}
DEEP: dict = {}
for _ in range(200):
    DEEP = {"more": DEEP}


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    directory = tmp_path_factory.mktemp("cards") / "one"
    return write_results(directory, ("natural",), attributions=("saliency",), samples=20)


@pytest.fixture
def written(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "one"))


def change(directory, **parts):
    path = directory / "card.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))


def reason(directory):
    evaluations, ((path, text),) = find_cards(directory.parent)
    assert evaluations == []
    assert path == "one/card.json"
    return text


def test_cards_are_found_at_any_depth_in_the_order_of_their_paths(tmp_path):
    for name in ("b/deep/er", "a", "c"):
        write_results(tmp_path / name, ("natural",), attributions=("saliency",), samples=20)
    (tmp_path / "c" / "report.html").write_text("")
    evaluations, unread = find_cards(tmp_path)
    assert unread == []
    assert [(found.path, found.has_report) for found in evaluations] == [
        ("a/card.json", False),
        ("b/deep/er/card.json", False),
        ("c/card.json", True),
    ]
    assert evaluations[0].created == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert len(evaluations[0].table) == 2 + 13 * 5


def test_a_name_that_looks_like_a_number_stays_a_name(tmp_path):
    write_results(tmp_path / "one", ("nan", "1", ""), attributions=("saliency",), samples=20)
    ((_, _, table, _, _),) = find_cards(tmp_path)[0]
    assert list(table["checkpoint"].unique()) == ["nan", "1", ""]


def test_a_date_without_a_zone_is_utc(written):
    change(written, created="2026-02-03T04:05:06")
    assert find_cards(written)[0][0].created == datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{no", "Expected a card in JSON, but got Expecting property name enclosed in double quotes"),
        ("", "Expected a card in JSON, but got Expecting value"),
        ("[1]", "Expected a card of format 1, but got 'list'."),
        ("{}", "Expected a card of format 1, but got 'none'."),
        ('{"format": 2}', "Expected a card of format 1, but got 2."),
        ('{"format": 1}', "Expected a card whose `samples` are named, but got None."),
        ("[" * 100_000, "maximum recursion depth exceeded"),
    ],
)
def test_a_damaged_card_is_named(written, content, message):
    (written / "card.json").write_text(content)
    assert message in reason(written)
    assert "\n" not in reason(written)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"checkpoints": [1]}, "Expected a card whose `checkpoints` are named, but got [1]."),
        ({"checkpoints": {"a": 1}}, "Expected a card whose `checkpoints` are described, but got 1 for 'a'."),
        ({"attacks": {"a": {}}}, "Expected a card whose `attacks` name their class, but got none for 'a'."),
        ({"metrics": {"a": {"class_path": 3}}}, "Expected a card whose `metrics` name their class"),
        ({"metrics": {}}, "Expected a card with a metric, but got none."),
        ({"data": {"sha256": {}}}, "Expected a card with the checksum of its test data, but got {}."),
        ({"data": {"sha256": "ab"}}, "Expected a card with the checksum of its test data, but got 'ab'."),
        ({"created": "yesterday"}, "Expected a card with its date, but got 'yesterday'."),
        ({"created": None}, "Expected a card with its date, but got None."),
        ({"attacks": {"a": CLASS | {"init_args": 3}}}, "Expected settings of 'a' by name, but got 3."),
        ({"attacks": {"a": CLASS | {"values": [3]}}}, "Expected values of 'a' by name, but got [3]."),
        ({"config": DEEP}, "Expected a card nested at most 64 deep, but got more."),
    ],
)  # fmt: skip
def test_an_incomplete_card_is_named(written, parts, message):
    change(written, **parts)
    assert reason(written).startswith(message)


def test_bytes_that_are_no_text_are_named(written):
    (written / "card.json").write_bytes(b'{"format": "\xff"}')
    assert reason(written).startswith("Expected a card in JSON, but got ")


def test_a_card_without_its_table_is_named(written):
    (written / "results.csv").unlink()
    assert reason(written) == "Expected results.csv beside the card, but got none."


@pytest.mark.parametrize("content", ["", 'checkpoint,"\n1,2,3,4', "\x00\x01"])
def test_a_damaged_table_is_named_without_where_it_lies(written, content):
    (written / "results.csv").write_text(content)
    assert reason(written).startswith("Expected ")
    assert str(written.parent) not in reason(written)


def test_a_table_without_a_column_or_with_words_for_numbers_is_named(written):
    path = written / "results.csv"
    text = path.read_text()
    path.write_text(text.replace(",low,", ",lower,"))
    assert reason(written) == "Expected results.csv with a column `low`, but got none."
    path.write_text(text + "a,b,c,d,many,1,1,1,1,1,1,1,1\n")
    assert reason(written).startswith("Expected numbers in results.csv, but got")


def test_a_damaged_card_does_not_hide_the_others(written):
    (written.parent / "bad").mkdir()
    (written.parent / "bad" / "card.json").mkdir()
    evaluations, unread = find_cards(written.parent)
    assert [found.path for found in evaluations] == ["one/card.json"]
    assert unread == [("bad/card.json", "Is a directory.")]


def test_a_path_that_is_no_text_can_be_shown():
    assert shown_path("a/模型") == "a/模型"
    assert shown_path(os.fsdecode(b"a/\xff")) == "a/�"
