from pathlib import Path

import pytest

from lit_xai.reporting.plots.words import (
    NOTHING,
    attack_words,
    capital,
    family_words,
    in_words,
    metric_words,
    number,
    numbered,
    printable,
    short_names,
    shortened,
    slug,
    storable,
    text_width,
    value_words,
)

CONFIGS = Path(__file__).parents[3] / "configs"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("integrated_gradients", "integrated gradients"),
        ("map_ssim", "map SSIM"),
        ("guided_ig", "guided IG"),
        ("Mine_v2", "Mine_v2"),
        ("$a_b$", "$a_b$"),
        ("_", "_"),
    ],
)
def test_names_of_cells_become_words(name, words):
    assert in_words(name) == words


def test_what_no_page_can_hold_is_replaced():
    assert printable("a\x00b\ud800c\ufffe\n\td") == "a\ufffdb\ufffdc\ufffd d"


@pytest.mark.parametrize(
    "character", "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
def test_what_turns_the_text_around_is_replaced(character):
    assert printable(f"a{character}b") == "a\ufffdb"
    assert in_words(f"a{character}b") == "a\ufffdb"
    assert list(short_names([f"a{character}b"]).values()) == ["a\ufffdb"]
    assert storable(f"a{character}b") == f"a{character}b"


def test_repeated_labels_are_numbered():
    assert numbered(["a", "a", "2: a", "a"]) == ["a", "2: a", "3: 2: a", "4: a"]


def test_short_names_keep_both_ends_and_differ():
    long = "x" * 20 + "{}" + "y" * 20
    names = short_names([long.format(1), long.format(2), "", "natural", " "])
    assert list(names.values()) == [
        "xxxxxxxxxxxx…yyyyyyyyyyyyy",
        "2: xxxxxxxxxxxx…yyyyyyyyyyyyy",
        "(no name)",
        "natural",
        "5: (no name)",
    ]


def test_a_text_that_fits_is_not_shortened():
    assert shortened("a" * 26) == "a" * 26
    assert len(shortened("a" * 27)) == 26


def test_a_swept_attack_is_called_by_what_varies():
    entry = {"sweep": "exiaa", "values": {"alpha": 0.06, "k": 0.2}}
    assert attack_words("exiaa_7", entry) == "eXIAA, alpha 0.06, k 0.2"
    assert attack_words("random_sign", {}) == "random signs"
    assert attack_words("t", {"sweep": "top_k", "values": {"eps": 0.1}}) == "top-k attack, eps 0.1"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unattacked", "unattacked"),
        ("top_k", "top-k attack"),
        ("gaussian", "Gaussian noise"),
        ("gaussian_equal_ssim", "Gaussian noise of equal SSIM"),
        ("mass_center", "mass center attack"),
        ("exiaa", "eXIAA"),
        ("Top_K", "Top_K"),
        ("<b>", "<b>"),
    ],
)
def test_attacks_in_words(name, words):
    assert attack_words(name, {}) == words == family_words(name)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("top_k", "top-k intersection"),
        ("spearman", "Spearman"),
        ("lens_kendall", "LENS Kendall"),
        ("pearson", "Pearson"),
        ("lens_precision", "LENS precision"),
        ("confidence_change", "confidence change"),
        ("Top_K", "Top_K"),
    ],
)
def test_metrics_in_words(name, words):
    assert metric_words(name) == words


def test_an_attack_and_a_metric_are_never_the_same_words():
    attacks, metrics = (
        {path.stem for path in (CONFIGS / kind).glob("*.yaml")} for kind in ("attacks", "metrics")
    )
    assert "top_k" in attacks & metrics
    assert not {family_words(name) for name in attacks} & {metric_words(name) for name in metrics}


@pytest.mark.parametrize(
    ("value", "words"), [(8 / 255, "0.03137"), (True, "True"), ("plain_blend", "plain blend")]
)
def test_values(value, words):
    assert value_words(value) == words


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.126, "0.13"),
        (-0.001, "0.00"),
        (-0.5, "\u22120.50"),
        (9.996, "10.0"),
        (99.96, "100"),
        (float("nan"), NOTHING),
        (float("inf"), "\u221e"),
        (float("-inf"), "\u2212\u221e"),
    ],
)
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_slugs_of_different_names_differ():
    names = ["a_b", "a b", "A_b", "a-b", "模型", "型模", "", "<a>"]
    slugs = {slug("radius", name) for name in names}
    assert len(slugs) == len(names)
    assert all(set(text) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-") for text in slugs)


def test_capitals_leave_spelled_words():
    assert [capital(text) for text in ("top k", "eXIAA", "")] == ["Top k", "eXIAA", ""]


def test_a_chinese_character_is_as_wide_as_high():
    assert text_width("模型", 10) == 20
    assert text_width("ab", 10) == pytest.approx(12.2)
