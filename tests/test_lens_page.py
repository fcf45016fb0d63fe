"""The page on locality shows what its results hold."""

import io
import math
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from lit_xai.evaluation.options import evaluation_parser
from lit_xai.evaluation.table import insert
from scripts import chen, lens, lens_findings, lens_study

ROOT = Path(__file__).parents[1]
PAGE = lens_study.PAGE.read_text()
FIGURES, TABLE, LEVELS = lens_study.rows("figures"), lens_study.rows("table"), lens_study.levels()
SCORE = ("network", "attribution", "attack", "eps")


@pytest.mark.parametrize("name", lens_study.TABLES)
def test_a_table_is_what_its_results_render(name):
    text = lens_study.TABLES[name]()
    assert insert(PAGE, name, text) == PAGE
    assert f"\n{text}\n" in PAGE


@pytest.mark.parametrize("name", chen.FILES)
def test_the_table_of_chen_is_what_its_results_render(name):
    assert insert(PAGE, f"chen_{name}", chen.text(name)) == PAGE


@pytest.mark.slow
def test_the_figures_are_those_of_the_results():
    plots = {plot.name: plot for plot in lens.plots(FIGURES, LEVELS)}
    assert set(lens_study.SHOWN) <= plots.keys()
    for name in lens_study.SHOWN:
        file = ROOT / "docs" / f"lens_{name.partition('-')[0]}.png"
        assert f"]({file.name})" in PAGE
        assert file.stat().st_size <= 100_000
        drawn, kept = (pixels(content) for content in (lens_study.bitmap(plots[name]), file.read_bytes()))
        assert drawn.shape == kept.shape
        # Another version of the fonts may move a letter, but no line.
        assert np.abs(drawn - kept).mean() < 2


def pixels(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"), dtype=np.float64)


def test_every_cell_was_measured():
    grid = yaml.safe_load((ROOT / "configs" / "grids" / "lens_fashion.yaml").read_text())["init_args"]
    sweeps = yaml.safe_load((ROOT / "configs" / "evaluate" / "lens_fashion.yaml").read_text())["sweeps"]
    cells = FIGURES[list(SCORE)].drop_duplicates()
    assert len(cells) == 3 * len(grid["attributions"]) * len(grid["attacks"]) * 4
    assert {name: sorted(found["eps"].unique()) for name, found in cells.groupby("attack")} == {
        name: sweep["values"]["eps"] for name, sweep in sweeps.items()
    }
    assert ((FIGURES["count"] + FIGURES["excluded"]) == 64).all()
    assert ((TABLE["count"] + TABLE["excluded"]) == 500).all()


def test_wider_windows_never_lower_a_plain_score():
    text = lens_findings.over_width(FIGURES)
    assert re.search(r"plain sets the score never falls from w to w \+ 1 in (\d+) of \1 cells", text)


def test_the_findings_count_what_the_rows_hold():
    """One number of each finding, counted again by hand."""
    natural = FIGURES[
        (FIGURES["network"] == "natural") & (FIGURES["eps"] == 0.1) & (FIGURES["attack"] == "top_k")
    ]
    ig = natural[natural["attribution"] == "integrated_gradients"]

    def of(kind: str, w: int, k: int, rows: pd.DataFrame = ig) -> float:
        chosen = (rows["kind"] == kind) & (rows["w"] == w) & (rows["k"] == k) & ~rows["diverse"]
        return rows[chosen]["value"].item()

    ratio = of("precision", 1, 100) / of("top_k", 0, 100)
    assert f"are {ratio:.1f} and" in lens_findings.of_networks(FIGURES).splitlines()[1]
    higher = total = 0
    for _, cell in FIGURES[FIGURES["k"] == 100].groupby(list(SCORE)):
        higher += of("precision", 1, 100, cell) > of("top_k", 0, 100, cell)
        total += 1
    assert f"in {higher} of {total} cells" in lens_findings.of_networks(FIGURES)
    level = LEVELS[(LEVELS["kind"] == "recall") & LEVELS["diverse"] & (LEVELS["w"] == 3)]["value"].item()
    assert f"two random maps reach {level:.2f}" in lens_findings.over_radius(FIGURES, LEVELS).splitlines()[2]
    assert level > 0.5
    signs = TABLE[~TABLE["diverse"] & (TABLE["kind"] == "top_k")].set_index(["attribution", "network"])[
        "value"
    ]
    higher = sum(signs[name, "pgd"] > signs[name, "natural"] for name in signs.index.levels[0])
    assert f"for {higher} of 3 explanations" in lens_findings.of_table(lens.table(TABLE))


def test_comparisons_are_counted_again():
    last = FIGURES[(FIGURES["attack"] == "top_k") & (FIGURES["eps"] == 0.1) & FIGURES["k"].isin([0, 100])]
    # Five scores: those of k = 100, and Kendall's tau of plain and of smoothed maps.
    wide = last[last["kind"] != "spearman"].pivot_table(
        index=["attribution", "kind", "w"], columns="network", values=["value", "stderr"]
    )
    text = lens_findings.of_networks(FIGURES)
    for name in ("pgd", "ig_sum_norm"):
        rise = wide["value", name] - wide["value", "natural"]
        error = np.hypot(wide["stderr", name], wide["stderr", "natural"])
        counts = (rise > 0).sum(), (rise > 2 * error).sum()
        assert len(rise) == 10
        assert f"{name} is above natural in {counts[0]} of 10 comparisons" in text
        assert f"in {counts[1]} of them by more" in text.partition(f"{name} is above")[2].splitlines()[0]
    most = []
    for _, cell in FIGURES[(FIGURES["eps"] == 0.1) & ~FIGURES["diverse"]].groupby(["network", "attribution"]):
        rises = {}
        for attack, own in cell[cell["k"] == 16].groupby("attack"):
            scores = own.set_index(["kind", "w"])["value"]
            rises[attack] = scores["precision", 1] - scores["top_k", 0]
        most.append(max(rises, key=rises.get))
    words = {"top_k": "top-k attack", "mass_center": "mass center attack", "random_sign": "random signs"}
    line = lens_findings.over_width(FIGURES).splitlines()[2]
    for attack in set(most):
        assert f"{words[attack]} {most.count(attack)}" in line


def test_a_rise_counts_as_clear_from_two_standard_errors():
    rows = []
    for regime, value in {"natural": 0.5, "pgd": 0.53, "ig_norm": 0.52, "ig_sum_norm": 0.4}.items():
        for attribution, attack, metric in chen.COLUMNS:
            names = {"checkpoint": regime, "attribution": attribution, "attack": attack, "metric": metric}
            rows.append({**names, "value": value, "stderr": 0.01, "count": 150, "failed": 2, "excluded": 50})
    results = pd.DataFrame(rows)
    lines = chen.findings(results).splitlines()
    assert lines[2] == (
        "- top-k: 2 of 3 above NATURAL, 1 of them by more than two standard errors; the highest is Madry."
    )
    assert 0.02 < 2 * math.hypot(0.01, 0.01) < 0.03
    table = chen.table(results).splitlines()
    assert [part.strip() for part in table[3].split("|")[1:4]] == ["Madry", "0.530 ± 0.010", "0.530 ± 0.010"]
    assert [part.strip() for part in table[3].split("|")[6:9]] == ["150", "2", "50"]


def test_a_training_is_begun_continued_or_left_alone(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    begun = chen.command_of("pgd")
    assert {"--data=configs/data/fashion_mnist.yaml", "--data.init_args.max_train=20000"} <= set(begun)
    assert "--trainer.max_epochs=3" in begun
    for number in (2, 10):
        (tmp_path / "runs" / "chen_fashion_pgd" / str(number)).mkdir(parents=True)
    assert chen.command_of("pgd") == ["--resume", "runs/chen_fashion_pgd/10"]
    monkeypatch.setattr("scripts.chen.is_finished", lambda run: run.name == "10")
    assert chen.command_of("pgd") is None


def test_what_is_not_measured_says_how(monkeypatch, tmp_path):
    monkeypatch.setitem(chen.FILES, "fashion", tmp_path / "nothing.csv")
    assert chen.text("fashion") == "Not measured: `make chen` does it."


def test_the_commands_are_understood(monkeypatch):
    monkeypatch.chdir(ROOT)
    block = re.search(r"```bash\n(.*?)```", PAGE, re.DOTALL)[1]
    first, second, third = (shlex.split(command)[2:] for command in block.splitlines())
    for arguments, config in ((first, "lens"), (second, "lens_table")):
        assert arguments[:2] == ["-c", f"configs/evaluate/{config}.yaml"]
        found = evaluation_parser().parse_args(arguments)
        assert found.checkpoints == ["natural=natural.ckpt", "pgd=pgd.ckpt"]
    seen = {}
    monkeypatch.setattr(
        lens, "write", lambda *parts: seen.update(zip(("of", "to", "size"), parts, strict=True)) or []
    )
    lens.main(third)
    assert seen == {
        "of": [Path("runs/evaluate/1"), Path("runs/evaluate/2")],
        "to": Path("figures"),
        "size": 224,
    }


def test_every_configuration_is_in_the_list():
    listed = re.findall(r"^\| `(lens\w*)\.yaml`", PAGE, re.MULTILINE)
    assert set(listed) == {path.stem for path in (ROOT / "configs" / "evaluate").glob("lens*.yaml")}


def test_published_values_are_those_of_the_paper():
    """Table 2 of arXiv 2312.10534; the mean of all its values is a check on the typing."""
    assert sum(map(sum, lens_study.PUBLISHED.values())) == pytest.approx(11.6343, abs=1e-9)
