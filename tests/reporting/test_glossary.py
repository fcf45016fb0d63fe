"""The glossary: every metric, and every word that a heading's hint explains."""

import dataclasses

import pytest

from lit_xai.reporting.glossary import TERMS, direction_words, glossary
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), samples=8))


def test_every_metric_is_explained_before_the_words_of_the_page(results):
    found = glossary(results)
    assert found[:5] == [
        ("top-k intersection", "Mean top_k. Higher is more robust."),
        ("LENS precision", "Mean lens_precision. Higher is more robust."),
        ("change", "Mean change. Lower is more robust."),
        ("SSIM", "Mean ssim. Higher is more robust."),
        ("confidence change", "Mean confidence_change. Lower is more robust."),
    ]
    assert [word for word, _ in found[5:]] == list(TERMS)
    assert len({word for word, _ in found}) == len(found)
    assert all(text.endswith(".") for _, text in found)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"higher_is_better": None}, "Mean top_k."),
        ({"description": ""}, "lit_xai.metrics.top_k.TopKIntersection. Higher is more robust."),
        ({"description": None, "class_path": ""}, "Higher is more robust."),
        ({"description": "", "class_path": "", "higher_is_better": None}, ""),
    ],
)
def test_a_metric_is_explained_by_what_is_known(results, change, text):
    entry = {**results.card["metrics"]["top_k"], **change}
    card = {**results.card, "metrics": {"top_k": entry}}
    assert glossary(dataclasses.replace(results, card=card))[0] == ("top-k intersection", text)


def test_the_strongest_attack_is_said_to_be_chosen_on_its_own_samples():
    assert "chosen on the samples it is then reported on" in TERMS["strongest attack"]
    assert "Wilson" in TERMS["95 % interval"]


def test_a_direction_is_a_sentence(results):
    assert direction_words(results, "top_k") == "Higher is more robust."
    assert direction_words(results, "change") == "Lower is more robust."
    assert direction_words(results, "unknown") == ""
