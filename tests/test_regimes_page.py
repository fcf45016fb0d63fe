"""The page on regimes shows what its results hold."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lit_xai.evaluation.table import insert, read_results
from scripts import regime_tables, regimes

ROOT = Path(__file__).parents[1]
PAGE = regime_tables.PAGE.read_text()
RESULTS = read_results(regime_tables.RESULTS / "regimes_results.csv")
CLASSES = {
    path.stem: yaml.safe_load(path.read_text())["class_path"].rsplit(".", 1)[1]
    for path in (ROOT / "configs" / "regimes").glob("*.yaml")
}


@pytest.mark.parametrize("name", regime_tables.TABLES)
def test_a_table_is_what_its_results_render(name):
    table = regime_tables.TABLES[name]()
    assert insert(PAGE, name, table) == PAGE
    assert f"\n{table}\n" in PAGE


def test_every_regime_is_in_the_list():
    listed = set(re.findall(r"`(\w+)`", PAGE.partition("## Which regime")[2].partition("```")[0]))
    assert set(CLASSES.values()) <= listed


def test_every_regime_was_trained_and_measured():
    fooled = pd.read_csv(regime_tables.RESULTS / "fooling.csv")
    measured = {name.split("/")[0] for name in RESULTS["checkpoint"]} | set(fooled["regime"])
    assert measured == CLASSES.keys() - {"scheduled"}
    counts = regime_tables.split(RESULTS).groupby("regime")["seed"].nunique()
    assert {name for name, count in counts.items() if count == 3} == set(regimes.MAIN)


def test_the_same_images_were_attacked():
    attacked = RESULTS[RESULTS["attack"] == "top_k"]
    assert (attacked["count"] + attacked["excluded"] == 128).all()
    accuracy = RESULTS[RESULTS["metric"] == "accuracy"]
    assert (accuracy["count"] == 1000).all()
