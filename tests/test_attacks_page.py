"""The page on attacks shows what its results hold, and says what they show."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import benchmarks.attack_strength as strength
import scripts.attacks as attacks
import scripts.exiaa as exiaa
from lit_xai.evaluation.table import insert
from lit_xai.reporting.reading import read_table

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "attacks.md").read_text()
RESULTS = read_table(attacks.RESULTS / "results.csv")
SAMPLES = pd.read_parquet(exiaa.RESULTS / "samples.parquet")


def test_the_table_of_attacks_is_what_its_results_render():
    assert insert(PAGE, "attacks", attacks.tables(RESULTS)) == PAGE


def test_the_table_of_attacks_has_every_attack_and_metric():
    grid = yaml.safe_load((ROOT / "configs" / "grids" / "fashion_attacks.yaml").read_text())["init_args"]
    cells = RESULTS[RESULTS["attribution"] != "none"]
    assert set(cells["attack"]) == set(grid["attacks"])
    assert set(cells["metric"]) == set(grid["metrics"])
    assert set(cells["checkpoint"]) == set(attacks.REGIMES)
    named = {yaml.safe_load(path.read_text())["class_path"] for path in (ROOT / "configs/attacks").iterdir()}
    shown = {
        (yaml.safe_load((ROOT / "configs" / "grids" / part).read_text()) if isinstance(part, str) else part)[
            "class_path"
        ]
        for part in grid["attacks"].values()
    }
    assert shown == named


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["exiaa_verdicts", "exiaa_sweep", "exiaa_blends", "exiaa_classes", "exiaa_ranks"]
)
def test_a_table_of_exiaa_is_what_its_results_render(name):
    assert insert(PAGE, name, exiaa.tables(SAMPLES)[name]) == PAGE


def test_the_table_of_strength_is_what_its_results_render():
    samples = pd.read_csv(ROOT / strength.FOLDER / "samples.csv")
    assert insert(PAGE, "attack_strength", strength.rendered(strength.summary(samples))) == PAGE


def test_fewer_passes_reach_the_published_strength():
    table = pd.read_csv(ROOT / strength.FOLDER / "results.csv")
    ours = table[table["setting"].str.startswith("ours")]
    assert len(ours) == 2 * 2 * 3
    assert (ours["passes_ratio"] <= 0.06).all()
    assert (ours[["intersection_difference", "kendall_difference"]] <= 0).all(axis=None)
    scores = table.pivot_table(index=["model", "attack"], columns="setting")
    for score in ("intersection", "kendall"):
        assert (scores[score, "ours"] <= scores[score, "published, beta 10"]).all()


def test_every_cell_of_the_sweep_was_measured_on_the_same_samples():
    sweep = SAMPLES[SAMPLES["study"] == "sweep"]
    sizes = sweep.groupby(["attribution", "kind", "alpha", "k"]).size()
    assert len(sizes) == 2 * 5 * len(exiaa.ALPHAS) * len(exiaa.SHARES)
    assert sizes.nunique() == 1


def test_every_attack_is_in_the_list():
    listed = set(re.findall(r"`(\w+)`", PAGE.partition("## Which attack")[2].partition("Attacks that")[0]))
    classes = {
        yaml.safe_load(path.read_text())["class_path"].rsplit(".", 1)[1]
        for path in (ROOT / "configs" / "attacks").iterdir()
    }
    assert classes - {"Unattacked"} <= listed


def test_an_alpha_between_two_measured_ones_is_interpolated():
    change = np.linspace(0, 12, len(exiaa.BLEND_ALPHAS))
    assert exiaa._alpha_at(change, 2.5) == pytest.approx(0.105)
    assert exiaa._alpha_at(change, 12.0) == pytest.approx(1.0)
    assert np.isnan(exiaa._alpha_at(change, 12.5))
    assert exiaa._at(change, 0.105) == pytest.approx(2.5)


def test_the_claims_on_exiaa_are_what_the_intervals_show():
    lines = [line.strip("| ").split("|") for line in exiaa.verdict_table(SAMPLES).splitlines()[2:]]
    counts = {(row[0].strip(), row[1].strip()): [int(cell) for cell in row[2:]] for row in lines}
    for explanation in ("integrated_gradients", "saliency"):
        for control in ("gaussian", "equal_l2"):
            assert counts[explanation, control][0] == 0
        assert counts[explanation, "random_places"][1] == 0
    assert (
        counts["integrated_gradients", "equal_ssim"][1] == 0 < counts["integrated_gradients", "equal_ssim"][0]
    )
    assert counts["saliency", "equal_ssim"][0] == 0 < counts["saliency", "equal_ssim"][1]


def test_the_standard_is_never_weaker_than_a_member():
    members = pd.read_csv(attacks.RESULTS / "members.csv")
    keys = ["network", "explanation", "sample_id"]
    scores = members.pivot_table(index=keys, columns="attack", values="score")
    assert set(scores.columns) == {"standard", *attacks.standard().attacks}
    assert (scores["standard"] <= scores.min(axis=1)).all()
    assert insert(PAGE, "standard", attacks.members_table(members)) == PAGE


def test_the_claims_on_attacks_are_what_the_table_shows():
    cells = RESULTS[RESULTS["attribution"] != "none"]
    wide = cells.pivot_table(
        index=["attribution", "checkpoint"], columns=["metric", "attack"], values="value"
    )
    for metric, attack in {
        "top_k": "top_k",
        "lens_precision": "soft_coverage",
        "lens_recall": "window_union",
    }.items():
        assert (wide[metric].idxmin(axis=1) == attack).all()
    for metric in ("top_k", "lens_precision"):
        robust = wide[metric].unstack("checkpoint").stack("attack", future_stack=True)
        tried = robust[robust.index.get_level_values("attack") != "unattacked"]
        assert (tried["natural"] < tried[["pgd", "ig_sum_norm"]].min(axis=1)).all()
    assert (wide["center_shift"].idxmax(axis=1) == "mass_center").all()
    assert (wide["top_k", "top_k"] < wide["top_k", "top_k_published"]).all()
    assert (wide["center_shift", "mass_center"] > wide["center_shift", "mass_center_published"]).all()
    weaker = wide["top_k", "standard"] > wide["top_k", "top_k_published"]
    assert weaker.loc["integrated_gradients"].to_dict() == {
        "ig_sum_norm": True,
        "natural": False,
        "pgd": True,
    }
