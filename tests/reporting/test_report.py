"""The report: whole, the same for the same files, and with the numbers of the files."""

import csv
import dataclasses
import itertools
import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting import report, sections
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes
from lit_xai.reporting.reading import read
from lit_xai.reporting.report import write_report
from tests.reporting.made_up import METRICS, write_results
from tests.reporting.test_page import Tables

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    r"$\frac{a}$ 模型",
    "a_b%#&amp;{{ 7 * 7 }}",
)
SEEDED = {"pgd_0": ("pgd", 0), "pgd_1": ("pgd", 1), "ig_0": ("ig", 0), "ig_1": ("ig", 1)}
CLAIM = {
    "checkpoint": "natural", "attribution": "none", "attack": "unattacked", "metric": "accuracy",
    "claimed": 0.5, "measured": 0.9, "stderr": 0.01, "count": 400,
}  # fmt: skip


@pytest.fixture
def plain(monkeypatch):
    """No plots, where they are not looked at: they take most of a report's time."""
    monkeypatch.setattr(sections, "gallery", lambda results: {})


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    found = tmp_path_factory.mktemp("results")
    write_results(found, ("natural", *SEEDED), groups=SEEDED, samples=12, claims=(CLAIM,))
    write_report(found)
    return found


@pytest.fixture(scope="module")
def made(directory):
    return read(directory)


@pytest.fixture(scope="module")
def page(directory):
    return Tables((directory / "report.html").read_text())


def test_every_mean_of_the_page_is_that_of_the_file(directory, page):
    results = read(directory)
    names = {"integrated_gradients": "means-table-1", "saliency": "means-fold-1"}
    seen = 0
    for attribution, anchor in names.items():
        rows = page.rows[anchor][1:]
        keys = [(attack, name) for attack in results.attacks for name in results.checkpoints]
        for row, (attack, name) in zip(rows, keys, strict=True):
            assert row[1][0] == name
            for place, metric in enumerate(METRICS, start=2):
                expected = results.cell(name, attribution, attack, metric)
                assert row[place][1] == expected["value"]
                assert float(row[place][0].split()[0]) == pytest.approx(expected["value"], abs=0.051)
                seen += 1
            first = results.cell(name, attribution, attack, "top_k")
            assert [row[place][1] for place in (-3, -1)] == [first["count"], first["excluded"]]
            assert row[-2] == (("–", None) if attack == "unattacked" else (str(first.failed), first.failed))
    accuracies = [row[1:3] for row in page.rows["accuracy-table-1"][1:]]
    for name, cells in zip(results.checkpoints, accuracies, strict=True):
        for cell, attack in zip(cells, ("unattacked", "pgd"), strict=True):
            assert cell[1] == results.cell(name, "none", attack, "accuracy")["value"]
            seen += 1
    assert seen == len(results.table)


def test_comparisons_are_those_of_the_complete_table(directory, page):
    results = read(directory)
    expected = compare_checkpoints(results)
    shown = expected[(expected.attribution == "saliency") & (expected.metric == "top_k")]
    rows = page.rows["comparisons-fold-2"][1:]
    assert [row[1][0] for row in rows] == (shown["first"] + " → " + shown["second"]).tolist()
    titles = [cell[0] for cell in page.rows["comparisons-fold-2"][0]]
    for title, column in (("difference", "difference"), ("effect", "effect"), ("p", "p_holm"), ("n", "n")):
        place = titles.index(title)
        values = [math.nan if row[place][1] is None else row[place][1] for row in rows]
        np.testing.assert_array_equal(values, shown[column])
    better = titles.index("better")
    assert [row[better][0].replace("–", "") for row in rows] == shown.better.tolist()


def test_the_complete_table_of_comparisons_is_a_file(directory):
    results = read(directory)
    expected = compare_checkpoints(results)
    seeds = compare_regimes(results)
    with (directory / "comparisons.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["unit"] for row in rows] == ["sample"] * len(expected) + ["seed"] * len(seeds)
    assert [float(row["p_holm"] or "nan") for row in rows[: len(expected)]] == pytest.approx(
        expected.p_holm.tolist(), nan_ok=True, rel=1e-12
    )
    assert rows[0]["first"] == expected.iloc[0]["first"]
    assert rows[-1]["first_seeds"] == "2"


def test_regimes_are_judged_by_seeds(page):
    rows = page.rows["regimes-table-1"][1:]
    assert [(row[0][0], row[1][0], row[3][1]) for row in rows[:3]] == [
        ("unattacked", "natural", 1.0), ("unattacked", "pgd", 2.0), ("unattacked", "ig", 2.0),
    ]  # fmt: skip
    accuracies = {row[0][0]: row[1][1] for row in page.rows["accuracy-table-1"][1:]}
    assert rows[1][2][1] == pytest.approx((accuracies["pgd_0"] + accuracies["pgd_1"]) / 2)


def test_one_seed_makes_no_section_of_regimes(plain, tmp_path):
    text = write_report(write_results(tmp_path, samples=8)).read_text()
    assert 'id="regimes"' not in text
    assert "and no regime." in text


def test_claims_stand_against_what_was_measured(page):
    (row,) = page.rows["claims"][1:]
    assert [cell[0] for cell in row] == [
        "natural", "none", "unattacked", "accuracy", "0.5000", "0.9000 ± 0.0100", "400",
        "better than claimed",
    ]  # fmt: skip


def test_what_was_measured_is_told(directory, page):
    words = " ".join(" ".join(page.words).split())
    card = json.loads((directory / "card.json").read_text())
    for text in (
        "5 networks (3 regimes), 2 attributions, 2 attacks at 9 strengths and 1 control on 12 test images of "
        "EmbeddedFashion, judged by top-k intersection.",
        card["created"], card["data"]["sha256"]["test"], card["checkpoints"]["ig_1"]["sha256"],
        "evaluate.py -c configs/evaluate/quick.yaml", "torch 2.14.1", "grid 0, subset 0", "float32",
        "lit_xai.attacks.exiaa.EXIAA",
    ):  # fmt: skip
        assert text in words
    radii = {row[0][0]: row[2] for row in page.rows["attacks"][1:]}
    assert radii["top_k_eps_0_2"] == ("0.2 51/255", 0.2)
    assert radii["exiaa_alpha_0_06_k_0_05"] == ("–", None)


def test_headings_are_in_order_and_the_contents_lead_to_them(page):
    levels = [int(tag[1]) for tag, _ in page.found if tag in ("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    anchors = [attributes["href"] for attributes in page.of("a")]
    identities = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert {anchor.removeprefix("#") for anchor in anchors} <= set(identities)
    assert len(anchors) == len(page.of("section")) + 1


def test_every_section_is_named_by_its_heading(page):
    headings = {attributes.get("id") for attributes in page.of("h2")}
    named = [attributes["aria-labelledby"] for attributes in page.of("section")]
    assert len(set(named)) == len(named) > 8
    assert set(named) == headings


def test_every_hint_of_a_heading_stands_in_the_glossary(directory):
    text = (directory / "report.html").read_text()
    hinted = re.findall(r'<button type="button" title="[^"]+"><bdi>([^<]+)</bdi>', text)
    (glossary,) = re.findall(r'<section id="glossary".*?</section>', text, re.DOTALL)
    words = set(re.findall(r"<dt><bdi>([^<]+)</bdi></dt>", glossary))
    # A metric under its strongest attack is explained by the metric.
    assert {name.rpartition(": ")[2] for name in hinted} - words == set()
    assert len(set(hinted)) > 10


def test_no_line_ends_before_a_percent_sign(directory):
    text = (directory / "report.html").read_text()
    assert not re.search(r"\d %", text)
    assert "95\u00a0% interval" in text


@pytest.mark.parametrize(
    ("attacks", "text"),
    [
        ({"a": "TopK"}, "1 attack"),
        ({"a": "TopK", "b": "TopK"}, "2 attacks"),
        ({"a/1": "TopK", "a/2": "TopK", "b": "EXIAA"}, "2 attacks at 3 strengths"),
        ({"a": "TopK", "r/1": "RandomSign", "r/2": "RandomSign"}, "1 attack and 1 control"),
        ({"a/1": "A", "a/2": "A", "r": "RandomSign", "g": "MatchedGaussian"},
         "1 attack at 2 strengths and 2 controls"),
        ({}, "0 attacks"),
    ],
)  # fmt: skip
def test_attacks_are_counted_without_their_strengths_and_controls(made, attacks, text):
    entries = {
        name: {"class_path": f"my.{kind}", "sweep": name.partition("/")[0] if "/" in name else None}
        for name, kind in attacks.items()
    }
    card = {**made.card, "attacks": {"unattacked": made.card["attacks"]["unattacked"], **entries}}
    assert report._attacks(dataclasses.replace(made, card=card)) == text


@pytest.mark.parametrize(("count", "text"), [(1, "on 1 test image of"), (1234, "on 1,234 test images of")])
def test_images_are_counted(made, count, text):
    card = {**made.card, "samples": {**made.card["samples"], "count": count}}
    assert text in report._lede(dataclasses.replace(made, card=card))


def test_equal_files_give_equal_bytes(directory, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    outputs = ("report.html", "results.tex", "comparisons.csv")
    before = [(copy / name).read_bytes() for name in outputs]
    for name in outputs:
        (copy / name).unlink()
    write_report(copy)
    assert [(copy / name).read_bytes() for name in outputs] == before


def test_hostile_names_are_text(tmp_path):
    write_results(
        tmp_path, HOSTILE, samples=8, groups={HOSTILE[0]: (HOSTILE[1], 0), HOSTILE[2]: (HOSTILE[1], 1)}
    )
    text = write_report(tmp_path).read_text()
    found = Tables(text)
    assert len(found.of("script")) == 1
    assert not [key for _, attributes in found.found for key in attributes if key.startswith("on")]
    assert not [attributes for attributes in found.of("img") if not attributes["src"].startswith("data:")]
    assert [row[0][0] for row in found.rows["networks"][1:]] == list(HOSTILE)
    assert not [
        value
        for _, attributes in found.found
        for key, value in attributes.items()
        if key in ("href", "src", "xlink:href") and not value.startswith(("#", "data:"))
    ]


def test_names_that_look_like_numbers_stay_names(plain, tmp_path):
    names = ("nan", "1", "", "inf")
    write_results(tmp_path, names, samples=8)
    found = Tables(write_report(tmp_path).read_text())
    assert [row[0][0] for row in found.rows["networks"][1:]] == list(names)


def test_what_may_be_missing_may_be_missing(plain, tmp_path):
    write_results(tmp_path, ("only",), samples=8)
    for name in ("agreement.parquet", "examples.parquet", "training.csv"):
        (tmp_path / name).unlink()
    table = pd.read_csv(tmp_path / "results.csv", keep_default_na=False)
    table[table.attribution != "none"].to_csv(tmp_path / "results.csv", index=False)
    card = json.loads((tmp_path / "card.json").read_text())
    for key in ("data", "samples", "device", "command", "versions", "passes", "seconds", "claims", "seeds"):
        del card[key]
    (tmp_path / "card.json").write_text(json.dumps(card))
    found = Tables(write_report(tmp_path).read_text())
    assert (
        "1 network, 2 attributions, 2 attacks at 9 strengths and 1 control, judged by top-k intersection."
        in " ".join(found.words)
    )
    assert set(found.rows) == {"means-table-1", "means-fold-1", "networks", "attacks"}


def test_a_report_that_fails_leaves_the_old_one(plain, directory, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    before = {path.name: path.read_bytes() for path in copy.iterdir()}

    def broken(*_):
        raise OSError("full")

    monkeypatch.setattr(Path, "replace", broken)
    with pytest.raises(OSError, match="full"):
        write_report(copy)
    assert {path.name: path.read_bytes() for path in copy.iterdir()} == before


def test_half_a_character_is_written_as_a_mark(tmp_path):
    report._replace(tmp_path / "x", "a\ud83db")
    assert (tmp_path / "x").read_bytes() == b"a?b"
