"""Figures and table of the locality study, drawn from a small evaluation of any network."""

import math
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image

from lit_xai.cli import evaluate_cli
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.options import evaluation_parser
from scripts import lens
from scripts.lens_figures import BARS, CURVES, complete, under_top_k, widths

ROOT = Path(__file__).parents[1]
FASHION = yaml.safe_load((ROOT / "configs" / "grids" / "lens_fashion.yaml").read_text())["init_args"]


def small_grid() -> dict:
    """Return the shipped grid for 28 x 28 with one explanation, few steps, and files by their whole paths."""
    attacks = {}
    for name in ("top_k", "random_sign"):
        part = FASHION["attacks"][name]
        if isinstance(part, str):
            attacks[name] = str(ROOT / "configs" / "grids" / part)
        else:
            attacks[name] = {**part, "init_args": {**part["init_args"], "steps": 2}}
    metrics = {
        name: str(ROOT / "configs" / "grids" / part) if isinstance(part, str) else part
        for name, part in FASHION["metrics"].items()
    }
    attributions = {"saliency": f"{ROOT}/configs/attributions/saliency.yaml"}
    parts = {"attributions": attributions, "attacks": attacks, "metrics": metrics}
    return {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": parts}


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    """Results of two networks that were never taught."""
    directory = tmp_path_factory.mktemp("lens")
    for name, width in {"first": 2, "second": 3}.items():
        model = {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": width}}
        (directory / f"{name}.yaml").write_text(yaml.safe_dump({"model": model}))
    sweep = {"values": {"eps": [0.05, 0.1]}}
    config = {"grid": small_grid(), "sweeps": {"top_k": sweep, "random_sign": sweep}, "max_samples": 30}
    (directory / "lens.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    evaluate_cli(
        [
            *("-c", str(directory / "lens.yaml"), "--accelerator=cpu", "--devices=1"),
            *("--data=lit_xai.data.embedded_fashion.EmbeddedFashion", "--data.init_args.max_test=60"),
            *("--models", *(f"{name}={directory / name}.yaml" for name in ("first", "second"))),
            *("--adversary.steps=1", "--output", str(directory / "out")),
        ]
    )
    return directory / "out"


@pytest.fixture(scope="module")
def files(output) -> list[Path]:
    lens.main([str(output), "--size", "28"])
    return sorted((output / "lens").iterdir())


def test_every_figure_and_the_table_are_written(files):
    figures = [
        "figure_2-first",
        "figure_2-second",
        "figure_4",
        "figure_5-first",
        "figure_5-second",
        "figure_8",
    ]
    names = [f"{name}{ending}" for name in figures for ending in (".png", ".svg")]
    assert {path.name for path in files} == {*names, "table_2.csv", "table_2.md", "rows.csv", "chance.csv"}
    for path in files:
        if path.suffix == ".png":
            image = np.asarray(Image.open(path).convert("L"))
            assert image.shape[1] == lens.PNG_WIDTH
            assert 0.01 < (image < 200).mean() < 0.5
        if path.suffix == ".svg":
            root = ElementTree.fromstring(path.read_text())
            assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_the_rows_are_those_of_the_results(output, files):
    results = pd.read_csv(output / "results.csv").set_index(["checkpoint", "attribution", "attack", "metric"])
    rows = pd.read_csv(output / "lens" / "rows.csv")
    chosen = rows[(rows["kind"] == "recall") & rows["diverse"] & (rows["w"] == 3) & (rows["eps"] == 0.05)]
    assert chosen["attack"].tolist() == ["top_k", "random_sign"] * 2
    for row in chosen.rename(columns={"count": "samples"}).itertuples():
        cell = results.loc[row.network, row.attribution, f"{row.attack}_eps_0_05", "lens_recall_3_diverse"]
        assert row.value == pytest.approx(cell["value"], abs=1e-5)
        assert (row.samples, row.k) == (cell["count"], 16)


def test_the_table_is_of_random_signs_at_the_greatest_radius(output, files):
    results = pd.read_csv(output / "results.csv").set_index(["checkpoint", "attack", "metric"])
    table = pd.read_csv(output / "lens" / "table_2.csv")
    assert table["train"].tolist() == ["first", "second"]
    assert (table["eps"] == 0.1).all()
    assert (table["k"] == 16).all()
    names = {"top-k": "top_k_few", "3-LR@k": "lens_recall_3", "3-LR@k-div": "lens_recall_3_diverse"}
    for row in table.to_dict("records"):
        for title, metric in names.items():
            cell = results.loc[row["train"], "random_sign_eps_0_1", metric]
            assert row[title] == pytest.approx(cell["value"], abs=1e-5)
    text = (output / "lens" / "table_2.md").read_text()
    first = table.iloc[0]
    assert f"| first  | SG          | {first['top-k']:.4f} ± {first['top-k error']:.4f}" in text


def test_curves_take_the_smallest_k_and_bars_the_greatest(output):
    rows = lens.collect([output])
    assert complete(rows, CURVES.values()) == [16]
    assert complete(rows, BARS.values()) == [100]
    bars = under_top_k(rows)
    assert set(bars["attack"]) == {"top_k"}
    assert set(bars["eps"]) == {0.1}
    assert set(bars["k"]) == {100}
    over_w = widths(rows[(rows["attack"] == "top_k") & (rows["network"] == "first")], 16, diverse=True)
    assert over_w[over_w["eps"] == 0.1]["w"].tolist() == [0, 1, 2, 3]
    assert over_w["diverse"].tolist() == [False] * 2 + [True] * 6


def test_figures_draw_the_rows(output):
    rows = lens.collect([output])
    plots = {plot.name: plot for plot in lens.plots(rows, lens.chance(28, rows))}
    for name, k in {"figure_2-first": 16, "figure_5-second": 16, "figure_8": 100}.items():
        assert any(text.get_text().endswith(f"k = {k}") for text in plots[name].figure.texts)
    own = rows[(rows["network"] == "first") & (rows["attack"] == "top_k") & (rows["k"] == 16)]
    recall = own[(own["kind"] == "recall") & (own["w"] == 3) & own["diverse"]].sort_values("eps")
    drawn = [line.get_ydata().tolist() for line in plots["figure_2-first"].figure.axes[2].lines]
    assert recall["value"].tolist() in drawn
    last = rows[(rows["k"] == 100) & (rows["eps"] == 0.1) & (rows["attack"] == "top_k")]
    heights = [bar.get_height() for bar in plots["figure_8"].figure.axes[0].patches]
    for kind, found in {"top_k": heights[:2], "precision": heights[2:4], "recall": heights[4:]}.items():
        assert found == last[last["kind"] == kind]["value"].tolist()


def test_networks_of_one_name_are_told_apart(output, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for name in ("card.json", "results.csv"):
        (other / name).write_bytes((output / name).read_bytes())
    rows = lens.collect([output, other])
    assert set(rows["network"]) == {
        f"{one}/{name}" for one in ("out", "other") for name in ("first", "second")
    }
    plots = {plot.name: plot for plot in lens.plots(rows, pd.DataFrame())}
    assert all(name in plots["figure_8"].alt for name in set(rows["network"]))
    assert "out/first" in plots["figure_4"].alt
    assert "second" not in plots["figure_4"].alt


def test_the_level_of_chance_is_the_share_that_windows_cover():
    scores = [("top_k", 0, False, 16), ("precision", 1, False, 16), ("recall", 3, True, 16)]
    rows = pd.DataFrame(scores, columns=["kind", "w", "diverse", "k"])
    found = lens.chance(28, rows).set_index("kind")["value"]
    error = math.sqrt(16 / 784 / lens.PAIRS / 16)
    assert found["top_k"] == pytest.approx(16 / 784, abs=4 * error)
    # Windows of 3 x 3 around 16 of 784 pixels cover less than 144 of them, and more than half of that.
    assert 72 / 784 < found["precision"] < 144 / 784
    assert 0.6 < found["recall"] < 1
    assert lens.chance(28, rows).equals(lens.chance(28, rows))


def test_results_without_its_metrics_are_refused_in_one_line(output, tmp_path, capsys):
    (tmp_path / "card.json").write_bytes((output / "card.json").read_bytes())
    table = pd.read_csv(output / "results.csv")
    table[table["attribution"] == "none"].to_csv(tmp_path / "results.csv", index=False)
    with pytest.raises(SystemExit) as ended:
        lens.main([str(tmp_path)])
    assert ended.value.code == 2
    assert (
        "Expected results of LENS metrics under attacks with a radius, but got none"
        in capsys.readouterr().err
    )


def test_the_published_grid_fits_images_of_224_pixels():
    """All its metrics at k = 1000, on noise: nothing is too large for the picture."""
    parser = evaluation_parser()
    config = parser.parse_args(["-c", str(ROOT / "configs" / "evaluate" / "lens.yaml"), "--models", "a.yaml"])
    grid = parser.instantiate(config).grid
    assert isinstance(grid, Grid)
    assert {round(255 * eps, 3) for eps in config.sweeps["top_k"]["values"]["eps"]} == {1, 2, 4, 8}
    assert {name: round(255 * attack.eps, 3) for name, attack in grid.attacks.items()} == dict.fromkeys(
        ("top_k", "mass_center", "random_sign"), 8
    )
    first, second = torch.rand(2, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    windows = {name: metric.windows for name, metric in grid.metrics.items() if hasattr(metric, "windows")}
    assert len(windows) == 9
    assert {own.k for own in windows.values()} == {1000}
    shares = {name: own.recall(first, second).item() for name, own in windows.items()}
    # A thousand diverse windows of 7 x 7 cover nearly all of the picture, whatever the map.
    assert shares["lens_recall_3_diverse"] > 0.6 > shares["lens_precision_1"]


def test_the_small_k_always_fits():
    assert 784 // 7**2 == 16
    small = {part["init_args"]["k"] for part in FASHION["metrics"].values() if isinstance(part, dict)}
    assert small == {16}
    assert round(1000 / 224**2, 2) == round(16 / 784, 2) == 0.02
