"""Names of any script inside a sentence."""

import json

import pytest

from lit_xai.reporting.isolation import isolated, turning_names, turns, unbroken
from tests.reporting.made_up import write_results

OVERRIDE, HEBREW = "\u202eabc", "\u05e9\u05dc\u05d5\u05dd"


@pytest.mark.parametrize(
    ("text", "turned"),
    [
        ("natural <b> $1 \u6a21", False), (OVERRIDE, True), (HEBREW, True), ("\u0645", True),
        ("a\u2067b", True), ("a\u0661", True), ("a\u202c", True), ("", False),
    ],
)  # fmt: skip
def test_what_turns_the_text_around_it(text, turned):
    assert turns(text) is turned


def test_a_name_that_turns_is_isolated_wherever_it_stands():
    text = f"{OVERRIDE} on 12 of {HEBREW}, natural 3"
    names = ["natural", OVERRIDE, HEBREW]
    assert isolated(text, names) == f"\u2068{OVERRIDE}\u2069 on 12 of \u2068{HEBREW}\u2069, natural 3"


def test_a_name_inside_another_is_not_isolated_twice():
    longer = HEBREW + " 1"
    assert isolated(longer, [HEBREW, longer]) == f"\u2068{longer}\u2069"


def test_a_name_cannot_end_its_isolation():
    assert isolated("a\u2069\u202eb 12", ["a\u2069\u202eb"]) == "\u2068a\ufffd\u202eb\u2069 12"


def test_a_name_is_found_on_one_line():
    assert isolated(f"{HEBREW} x: 1", [f"{HEBREW}\nx"]) == f"\u2068{HEBREW} x\u2069: 1"


def test_without_such_names_a_text_stays_as_it_is():
    assert isolated(f"{HEBREW} 1", ["natural"]) == f"{HEBREW} 1"


def test_the_names_of_a_card_that_turn(tmp_path):
    write_results(tmp_path, (HEBREW, "natural"), groups={"natural": (OVERRIDE, 0)}, samples=4)
    card = json.loads((tmp_path / "card.json").read_text())
    card["attacks"]["top_k_eps_0_1"]["sweep"] = "\u05d0"
    card["attacks"]["random_sign_eps_0_1"]["sweep"] = None
    assert turning_names(card) == [HEBREW, OVERRIDE, "\u05d0"]


def test_a_percent_sign_stays_with_its_number():
    assert unbroken("95 % of 5 %, a % b {% x") == "95\u00a0% of 5\u00a0%, a % b {% x"
