"""Sentences and the numbers in them."""

import math

import pytest

from lit_xai.reporting.phrases import (
    Part,
    counted,
    listing,
    name_list,
    percent,
    plain,
    points,
    say,
    with_interval,
)


def test_names_are_set_apart_and_never_parsed():
    assert say("{} beats {}.", "{0}", "{}") == [
        Part("{0}", is_name=True), Part(" beats "), Part("{}", is_name=True), Part("."),
    ]  # fmt: skip
    assert plain(say("{}", "")) == ""
    assert say("{}", "") == [Part("", is_name=True)]


@pytest.mark.parametrize(
    ("names", "limit", "text"),
    [
        ("a", None, "a"),
        ("ab", None, "a and b"),
        ("abc", None, "a, b and c"),
        ("abcd", 2, "a, b and 2 more"),
        ("abc", 3, "a, b and c"),
    ],
)
def test_lists_are_read_aloud(names, limit, text):
    assert plain(name_list(list(names), limit=limit)) == text
    assert plain(listing([say(name) for name in names], limit=limit)) == text


def test_numbers_keep_their_units_beside_them():
    assert counted(1, "image") == "1\u00a0image"
    assert counted(1200, "image") == "1,200\u00a0images"
    assert percent(0.8114) == "81.1\u00a0%"
    assert with_interval(-0.25, -0.31, -0.19) == "−0.250 [−0.310, −0.190]"
    assert with_interval(math.inf, math.nan, math.nan) == "∞"
    assert points(0.042, 0.023, 0.061) == "4.2\u00a0percentage points [2.3, 6.1]"
    assert points(0.042, math.nan, math.nan) == "4.2\u00a0percentage points"
