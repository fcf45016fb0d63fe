import math
import os
import re
import shutil
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pandas as pd
import pytest

from lit_xai.reporting.leaderboard import write_leaderboard
from tests.reporting.browser import EXECUTABLE, Browser
from tests.reporting.made_up import write_results
from tests.reporting.written_boards import Page, checksums, edit, records, write_several

HOSTILE = (
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "$\\frac{a}$ a_b%#&",
    "模型\n\u202eabc",
    "\u05e9\u05dc\u05d5\u05dd",
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return write_several(tmp_path_factory.mktemp("boards") / "runs")


@pytest.fixture
def several(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "runs"))


def test_the_ranks_are_those_of_the_result_tables(several):
    write_leaderboard(several)
    first, second = "b", "a/deep"
    tables = [pd.read_csv(several / name / "results.csv", keep_default_na=False) for name in (first, second)]
    table = pd.concat(tables)
    attacked = table[(table.metric == "top_k") & (table.attack != "unattacked")]
    worst = (
        attacked.astype({"value": float}).groupby("checkpoint")["value"].min().sort_values(ascending=False)
    )
    found = [record for record in records(several) if record["images"] == "20"]
    assert [float(record["strongest"]) for record in found] == pytest.approx(list(worst))
    assert {record["checkpoint"]: float(record["strongest"]) for record in found} == pytest.approx(
        dict(worst)
    )
    assert [int(record["rank"]) for record in found] == list(worst.rank(ascending=False, method="min"))
    assert len({record["board"] for record in records(several)}) == 2


def test_a_record_holds_what_the_card_says(several):
    write_leaderboard(several)
    (record,) = [record for record in records(several) if record["checkpoint"] == "pgd"]
    table = pd.read_csv(several / "b" / "results.csv").set_index(
        ["checkpoint", "attribution", "attack", "metric"]
    )
    accuracy = table.loc["pgd", "none", "unattacked", "accuracy"]
    strongest = table.loc["pgd", "saliency", record["strongest_attack"], "top_k"]
    assert float(record["accuracy"]) == pytest.approx(accuracy["value"])
    assert int(record["accuracy_count"]) == 200
    assert float(record["pgd_accuracy"]) == pytest.approx(
        table.loc["pgd", "none", "pgd", "accuracy"]["value"]
    )
    for name in ("low", "high", "count", "failed", "excluded"):
        assert float(record[f"strongest_{name}"]) == pytest.approx(strongest[name])
    expected = {
        "data": "EmbeddedFashion", "split": "test", "images": "20", "attribution": "saliency",
        "metric": "top_k", "regime": "robust", "group": "robust", "seed": "7",
        "parameters": "12345", "sha256": f"{1:064x}",
        "model": "lit_xai.models.small.SmallCNN", "created": "2026-01-02T03:04:05+00:00",
        "card": "b/card.json", "clean": "1.0", "claims": "", "reason": "", "does_not_repeat": "",
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected


def test_the_page_shows_the_boards(several):
    page = Page(write_leaderboard(several))
    names = [
        row[1].split()[0] for row in page.rows if row[0].strip().isdigit() or row[0].strip()[0].isdigit()
    ]
    assert names == [record["checkpoint"].replace("_", "_ ").split()[0] for record in records(several)]
    text = " ".join("".join(page.words).split())
    assert "saliency on 20 images of EmbeddedFashion" in text
    assert "saliency on 30 images of EmbeddedFashion" in text
    attacks = "RandomSign (control) at radius 0.05, 0.1 and 0.2; TopK at radius 0.05, 0.1 and 0.2; EXIAA at"
    assert attacks in text
    assert "6 checkpoints from 3 evaluations" not in text
    # The natural network of the two boards is one file.
    assert "5 checkpoints from 3 evaluations" in text
    header = [cell.strip() for cell in page.rows[0]]
    assert [header[0], header[1], header[2]] == ["rank", "checkpoint", "top-k intersection"]
    assert header[4:] == [
        "control", "clean", "accuracy", "PGD accuracy", "n", "regime", "model", "date", "card",
    ]  # fmt: skip


def test_links_lead_to_files_inside(several):
    page = Page(write_leaderboard(several))
    files = [link for link in page.links if not link.startswith("#")]
    assert all((several / unquote(link)).is_file() for link in files)
    assert sorted(set(files)) == [
        "a/deep/card.json", "b/card.json", "b/report.html", "large/card.json", "leaderboard.csv",
    ]  # fmt: skip


def test_names_are_shown_and_not_executed(tmp_path):
    root = tmp_path / "runs"
    directory = root / "javascript:alert(1)" / "#?<b>&\"'"
    groups = {name: (name, 0) for name in HOSTILE}
    claims = (
        {
            "checkpoint": HOSTILE[0],
            "attribution": "none",
            "attack": HOSTILE[1],
            "metric": HOSTILE[2],
            "claimed": 1,
        },
    )
    write_results(directory, HOSTILE, attributions=("<b>'\"",), samples=20, groups=groups, claims=claims)

    def change(card):
        card["checkpoints"][HOSTILE[0]]["model"] = "<i>\ud800"
        card["data"]["class_path"] = "<u>"
        card["attacks"]["top_k_eps_0_1"]["init_args"] = {"</pre><script>": "<script>"}

    edit(directory, change)
    (root / "<script>").mkdir()
    (root / "<script>" / "card.json").write_text('{"format": "<script>"}')
    page = Page(write_leaderboard(root))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert not {"img", "b", "i", "u"} & set(tags)
    assert not [key for _, values in page.tags for key in values if key.startswith("on")]
    words = "".join(page.words)
    assert all(name in words for name in HOSTILE)
    assert all(urlsplit(link).scheme == "" and not link.startswith(("/", "\\")) for link in page.links)
    files = {link for link in page.links if link.endswith("card.json")}
    assert [(root / unquote(link)).is_file() for link in files] == [True]
    assert {record["checkpoint"] for record in records(root)} == set(HOSTILE)


def test_a_path_that_is_no_text_is_linked(tmp_path):
    root = tmp_path / "runs"
    written = write_results(root / "one", ("natural",), attributions=("saliency",), samples=20)
    try:
        written.rename(root / os.fsdecode(b"\xff"))
    except OSError:
        pytest.skip("The file system takes text only.")
    page = Page(write_leaderboard(root))
    assert "%FF/card.json" in page.links
    assert "�" in page.text


def test_what_does_not_repeat_is_flagged(several):
    shutil.copytree(several / "b", several / "again")
    edit(several / "again", lambda card: card.update(created="2026-05-05T00:00:00+00:00"))
    page = Page(write_leaderboard(several))
    assert "does not repeat" not in page.text
    assert "was measured again with the same result: b/card.json (pgd)" in page.text
    table = pd.read_csv(several / "again" / "results.csv")
    table.loc[(table.checkpoint == "pgd") & (table.metric == "top_k"), "value"] -= 0.125
    table.to_csv(several / "again" / "results.csv", index=False)
    page = Page(write_leaderboard(several))
    assert page.text.count("does not repeat:") == 1
    (record,) = [record for record in records(several) if record["checkpoint"] == "pgd"]
    assert record["card"] == "again/card.json"
    assert "in b/card.json (pgd), under" in record["does_not_repeat"]


def test_the_page_says_how_rough_its_marks_are(several):
    page = Page(write_leaderboard(several))
    words = " ".join("".join(page.words).split())
    for text in (
        "an interval that is not known counts as overlapping",
        "This is a rough guide and no test",
        "The strongest attack is chosen on the images its mean is reported on.",
    ):
        assert text in words
    assert "95\u00a0% interval" in page.text
    assert not re.search(r"\d %", page.text)


def test_styles_stand_in_the_head_and_sections_are_named(several):
    page = Page(write_leaderboard(several))
    text = page.text
    assert ".board table" in text.partition("</head>")[0]
    headings = {values["id"] for tag, values in page.tags if tag == "h2"}
    assert {values["aria-labelledby"] for tag, values in page.tags if tag == "section"} == headings


def test_what_is_undefined_has_no_rank(several):
    table = pd.read_csv(several / "b" / "results.csv")
    undefined = (table.checkpoint == "pgd") & (table.metric == "top_k") & (table.attack == "top_k_eps_0_2")
    table.loc[undefined, ["value", "low", "high"]] = math.nan
    table.to_csv(several / "b" / "results.csv", index=False)
    page = Page(write_leaderboard(several))
    last = [record for record in records(several) if record["images"] == "20"][-1]
    assert (last["checkpoint"], last["rank"], last["strongest"]) == ("pgd", "", "")
    assert last["reason"] == "undefined under top_k_eps_0_2"
    (row,) = [row for row in page.rows if row[0].strip() == "\N{EN DASH}"]
    assert row[1].split()[:3] == ["pgd", "unranked:", "undefined"]


@pytest.mark.browser
@pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium")
def test_the_page_in_a_browser(several):
    write_results(several / "hostile", HOSTILE, attributions=("saliency",), samples=20)
    edit(several / "hostile", checksums(50))
    page = write_leaderboard(several)
    ranks = (
        "Array.from(document.querySelector('.board tbody').rows, (row) => parseInt(row.cells[0].textContent))"
    )
    with Browser() as browser:
        for width in (390, 1280):
            browser.viewport(width)
            browser.open(page)
            assert (browser.complaints, browser.dialogs, browser.requests[1:]) == ([], [], [])
            assert browser.evaluate("document.documentElement.scrollWidth") <= width
            before = browser.evaluate(ranks)
            assert before == sorted(before)
            assert len(before) == 5 + len(HOSTILE)
            browser.evaluate(
                "for (let i = 0; i < 2; i++) document.querySelector('.board thead button').click()"
            )
            assert browser.evaluate(ranks) == sorted(before, reverse=True)
