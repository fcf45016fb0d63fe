"""The page on regimes shows what its results hold."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lit_xai.evaluation.table import insert
from lit_xai.reporting.reading import read_table
from scripts import regime_tables, regimes

ROOT = Path(__file__).parents[1]
PAGE = regime_tables.PAGE.read_text()
RESULTS = read_table(regime_tables.RESULTS / "regimes_results.csv")
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


def ends(attribution: str, attack: str, metric: str) -> pd.DataFrame:
    """Return the least and the greatest value over the seeds of each regime."""
    rows = regime_tables.pick(regime_tables.split(RESULTS), attribution, attack, metric)
    return rows.groupby("regime")["value"].agg(["min", "max", "mean"])


def overlap(scores: pd.DataFrame, one: str, other: str) -> bool:
    return max(scores["min"][[one, other]]) <= min(scores["max"][[one, other]])


@pytest.mark.parametrize("attribution", ["integrated_gradients", "saliency"])
def test_what_three_seeds_show(attribution):
    top_k = ends(attribution, "top_k", "top_k")
    for regime in regimes.MAIN[1:]:
        assert top_k["min"][regime] > top_k["max"]["natural"]
    for metric in regime_tables.SCORES:
        apart = (attribution, metric) == ("integrated_gradients", "top_k")
        assert overlap(ends(attribution, "top_k", metric), "pgd", "ig_sum_norm") != apart
    for metric in regime_tables.CLEAN:
        assert overlap(ends(attribution, "unattacked", metric), "pgd", "ig_sum_norm")
    for attack in ("unattacked", "pgd"):
        assert overlap(ends("none", attack, "accuracy"), "pgd", "ig_sum_norm")
    accuracy = ends("none", "unattacked", "accuracy")
    insertion = ends("integrated_gradients", "unattacked", "insertion")
    for regime in regimes.MAIN[1:]:
        assert accuracy["max"][regime] < accuracy["min"]["natural"]
        assert insertion["max"][regime] < insertion["min"]["natural"]
    if attribution == "integrated_gradients":
        assert top_k["min"]["ig_sum_norm"] > top_k["max"]["pgd"]
        assert round(top_k["mean"]["ig_sum_norm"] - top_k["mean"]["pgd"], 2) == 0.01
    cost = pd.read_csv(regime_tables.RESULTS / "cost.csv").set_index("regime")["cost"]
    assert (round(cost["pgd"]), round(cost["rank_thickness"])) == (6, 6)
    assert 55 < cost["ig_sum_norm"] < 70


def test_what_single_networks_show():
    accuracy = ends("none", "unattacked", "accuracy")["mean"]
    gradients, saliency = (
        ends(name, "top_k", "top_k")["mean"] for name in ("integrated_gradients", "saliency")
    )
    assert gradients.idxmax() == "igr"
    assert min(accuracy[["pgd", "ig_norm"]]) < accuracy["igr"] + 0.02 < accuracy["natural"]
    assert saliency["rank_thickness"] > max(saliency[list(regimes.MAIN)])
    assert gradients["rank_thickness"] > gradients["ig_norm"]
    assert accuracy["rank_thickness"] > max(accuracy[list(regimes.MAIN[1:])]) + 0.03
    robust = ends("none", "pgd", "accuracy")["mean"]
    assert [round(robust[regime], 2) for regime in ("smooth_surface", "rank_thickness")] == [0.36, 0.36]
    insertion = ends("integrated_gradients", "unattacked", "insertion")["mean"]
    assert insertion["rank_thickness"] > insertion["natural"] - 0.01
    assert insertion.idxmin() == "trades"
    for regime in ("triplet", "smooth_surface", "gradient_alignment"):
        assert gradients[regime] < gradients["natural"] + 0.06
    lens = ends("saliency", "top_k", "lens_precision")["mean"]
    assert (lens.idxmax(), lens.idxmin()) == ("lens_training", "exiaa_training")
    assert saliency["lens_training"] < saliency["pgd"]
    clean = ends("saliency", "unattacked", "insertion")["mean"]
    assert clean["lens_training"] < ends("saliency", "unattacked", "insertion")["min"]["natural"]
    change = ends("saliency", "exiaa", "change")["mean"]
    assert change.idxmin() == "exiaa_training"
    assert (round(change["exiaa_training"]), round(change["natural"])) == (8, 39)


def test_what_fooling_shows():
    fooled = pd.read_csv(regime_tables.RESULTS / "fooling.csv").set_index(["attribution", "regime"])
    assert (fooled["accuracy_after"] > fooled["accuracy_before"]).all()
    assert (fooled.loc["GradCAM", "rate_after"] > 0.9).all()
    assert (fooled.loc["LayerwiseRelevance", "rate_after"] > 0.6).all()
    saliency = fooled.loc["Saliency", "rate_after"]
    assert (saliency["location_fooling"] < 0.3, saliency["swap_fooling"]) == (True, 0)
