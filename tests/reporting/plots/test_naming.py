import pytest

from lit_xai.reporting.plots.gallery import gallery
from lit_xai.reporting.plots.naming import distinct, isolated, naming
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

HEBREW = "\u05de\u05d5\u05d3\u05dc"


def test_names_that_become_the_same_words_stay_names():
    names = {"a_b": "a b", "a b": "a b", "ig": "IG", "IG": "IG", "c_d": "c d"}
    assert list(distinct(names).values()) == ["a_b", "a b", "ig", "IG", "c d"]
    assert list(distinct({"x\u202e": "x?", "x\u202d": "x?"}).values()) == ["x\ufffd", "2: x\ufffd"]


@pytest.mark.parametrize("text", ["natural", "模型", "1.5"])
def test_what_runs_to_the_right_is_not_isolated(text):
    assert isolated(text) == text


@pytest.mark.parametrize("text", [HEBREW, f"a {HEBREW}", "\u0645", "\u0661"])
def test_what_runs_to_the_left_is_isolated(text):
    assert isolated(text) == f"\u2068{text}\u2069"


def test_words_of_every_kind(results):
    names = naming(results)
    assert names.attribution("integrated_gradients") == "integrated gradients"
    assert names.attack("top_k_eps_0_05") == "top-k attack, eps 0.05"
    assert names.attack("not_in_the_card") == "not in the card"
    assert names.family("random_sign") == "random signs"
    assert names.metric("top_k") == "top-k intersection"
    assert names.heading("ssim") == "SSIM, higher is more robust"
    assert names.heading("change", " in percent") == "change in percent, lower is more robust"
    assert names.heading("unknown") == "unknown"


def test_attacks_metrics_and_families_are_told_apart(changed, results):
    entry = {"sweep": None, "values": {}}
    card = {
        **results.card,
        "attacks": {
            "a_b": entry,
            "a b": entry,
            "t": {"sweep": "c_d", "values": {}},
            "u": {"sweep": "c d", "values": {}},
        },
        "metrics": {"e_f": {"higher_is_better": True}, "e f": {"higher_is_better": True}},
    }
    names = naming(changed(card=card))
    assert (names.attack("a_b"), names.attack("a b")) == ("a_b", "a b")
    assert (names.family("c_d"), names.family("c d")) == ("c_d", "c d")
    assert (names.metric("e_f"), names.metric("e f")) == ("e_f", "e f")


def test_only_what_is_spoken_is_isolated(changed, results):
    card = {**results.card, "attributions": {HEBREW: {}}}
    assert naming(changed(card=card)).attribution(HEBREW) == HEBREW
    assert naming(changed(card=card), spoken=True).attribution(HEBREW) == f"\u2068{HEBREW}\u2069"


def test_no_name_turns_the_text_around_it(tmp_path):
    checkpoints, attributions = ("a\u202eb", HEBREW), ("a_b", "a b", "\u2067x", f"{HEBREW}2")
    results = read(write_results(tmp_path, checkpoints, attributions=attributions, samples=8))
    plots = [plot for found in gallery(results).values() for plot in found]
    titles = [plot.title for plot in plots]
    assert any(": a_b" in title for title in titles)
    assert any(": a b" in title for title in titles)
    for plot in plots:
        for text in (plot.title, plot.alt):
            assert not set(text) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u200e\u200f\u061c")
            assert text.count(HEBREW) == text.count(f"\u2068{HEBREW}")
            assert text.count("\u2068") == text.count("\u2069")
        drawn = [text.get_text() for text in plot.figure.findobj(lambda artist: hasattr(artist, "get_text"))]
        assert not set("".join(drawn)) & set("\u202e\u2067\u2068\u2069")
    assert sum(plot.alt.count(HEBREW) for plot in plots) > 10
