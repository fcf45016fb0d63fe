"""Every table of README and of the pages without a test of their own equals its results."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lit_xai.evaluation.paired import paired_tables
from lit_xai.evaluation.table import comparison, headline, insert
from lit_xai.reporting.reading import read_table
from scripts.faithfulness import agreement_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", re.findall(r"<!-- results: (\w+) -->", README))
def test_a_table_is_what_its_results_render(name):
    results = read_table(ROOT / "results" / name / "results.csv")
    narrow, full = headline(results), comparison(results)
    assert insert(README, name, narrow) == README
    assert f"\n{narrow}\n" in README
    page = (ROOT / "docs" / f"{name}.md").read_text()
    assert insert(page, name, full) == page
    assert f"\n{full}\n" in page


def test_what_the_study_says():
    results = read_table(ROOT / "results" / "study" / "results.csv")
    assert len(set(results["metric"]) - {"accuracy"}) == 13
    cells = results[results["attribution"] == "integrated_gradients"].set_index(
        ["attack", "metric", "checkpoint"]
    )
    top_k = cells.loc["top_k", "top_k"]
    robust = ["pgd", "ig_norm", "ig_sum_norm"]
    assert (top_k.loc[robust, "value"] > top_k.loc["natural", "value"] + 0.15).all()
    apart = abs(top_k.loc["pgd", "value"] - top_k.loc["ig_sum_norm", "value"])
    assert apart < top_k.loc["pgd", "stderr"] + top_k.loc["ig_sum_norm", "stderr"]
    accuracy = results[(results["metric"] == "accuracy") & (results["attack"] == "unattacked")]
    accuracy = accuracy.set_index("checkpoint")["value"]
    assert (accuracy[robust] < accuracy["natural"]).all()
    insertion = cells.loc["unattacked", "insertion"]["value"]
    assert (insertion[robust] < insertion["natural"]).all()


def test_every_page_is_linked_and_every_link_leads_somewhere():
    pages = {f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")}
    linked = set(re.findall(r"\]\(([\w./-]+)\)", README))
    assert pages <= linked
    for page in ("README.md", "CONTRIBUTING.md", *sorted(pages)):
        text = (ROOT / page).read_text()
        for link in re.findall(r"\]\((?!https?:)([^)#\s]+)", text):
            assert ((ROOT / page).parent / link).exists(), f"{page}: {link}"


def test_the_tables_of_faithfulness_are_what_their_results_render():
    page = (ROOT / "docs" / "faithfulness.md").read_text()
    samples = pd.read_parquet(ROOT / "results" / "faithfulness" / "samples.parquet")
    assert insert(page, "faithfulness", paired_tables(samples)) == page
    curve = pd.read_csv(ROOT / "results" / "agreement" / "results.csv")
    assert insert(page, "agreement", agreement_table(curve)) == page
    named = set(re.findall(r"^\| (\w+) ", page, re.MULTILINE))
    assert {path.stem for path in (ROOT / "configs" / "attributions").glob("*.yaml")} <= named


def test_the_claims_of_faithfulness_are_what_the_intervals_show():
    page = (ROOT / "docs" / "faithfulness.md").read_text()
    signs: dict[str, dict[str, list[str]]] = {}
    for line in page.splitlines():
        if line in ("insertion", "deletion", "insertion_signed", "deletion_signed"):
            table = signs.setdefault(line, {})
        elif found := re.match(r"\| (\w+) +\| \S+ \| (.*) \[(.*), (.*)\] \| (.*) \[(.*), (.*)\]", line):
            _, *numbers = found.groups()
            bounds = [(float(numbers[place + 1]), float(numbers[place + 2])) for place in (0, 3)]
            table[found[1]] = [
                "above" if low > 0 else "below" if high < 0 else "equal" for low, high in bounds
            ]
    assert len(signs["insertion"]) == 25
    for metric in ("insertion", "insertion_signed"):
        assert {name for name, found in signs[metric].items() if found != ["above", "above"]} == {"grad_cam"}
        assert signs[metric]["grad_cam"] == ["equal", "equal"]
    for metric in ("deletion", "deletion_signed"):
        assert {found[1] for found in signs[metric].values()} == {"below"}
        hard = {name: found[0] for name, found in signs[metric].items() if found[0] != "below"}
        assert hard == {
            "grad_cam": "above",
            "saliency": "equal",
            "attexplore_pgd": "equal",
            "attexplore_ti": "equal",
        }


def test_the_list_of_methods_is_whole():
    listed = README.partition("## What is here")[2].partition("\n## ")[0]
    for folder in ("attributions", "attacks", "regimes", "metrics", "models", "data"):
        for path in (ROOT / "configs" / folder).glob("*.yaml"):
            assert f"`{yaml.safe_load(path.read_text())['class_path'].rsplit('.', 1)[1]}`" in listed, (
                path.name
            )
