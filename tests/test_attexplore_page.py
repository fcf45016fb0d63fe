"""The page on AttEXplore shows what its results hold; any evaluation fills the tables of the paper."""

import re
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

import benchmarks.frames_per_second as speed
import scripts.attexplore as tables
import scripts.attexplore_study as study
import scripts.attexplore_trends as trends
from lit_xai.attributions.adversarial_ig import AdversarialIG
from lit_xai.attributions.attexplore import AttEXplore
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.models.small import SmallCNN
from lit_xai.types import Batch

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "attexplore.md").read_text()
GRIDS = {
    path.stem: yaml.safe_load(path.read_text())["init_args"]
    for path in (ROOT / "configs" / "grids").glob("attexplore*.yaml")
}
PUBLISHED = pd.read_csv(tables.PUBLISHED)


def test_the_page_is_what_its_results_render():
    assert study.page(PAGE) == PAGE


def test_the_notes_are_what_the_results_show():
    found = pd.read_csv(study.RESULTS / "small_cnn_comparison" / "trends.csv")
    verdicts = {row.claim: trends.verdict(row.sign, row.low, row.high) for row in found.itertuples()}
    rivals = {claim.split()[-1]: known for claim, known in verdicts.items() if claim.startswith("insertion")}
    assert len(rivals) == 10
    assert {name for name, known in rivals.items() if known == "holds"} == {"Fast-IG"}
    assert {name for name, known in rivals.items() if known == "cannot be told"} == {
        "Grad-CAM",
        "SaliencyMap",
    }
    assert {known for claim, known in verdicts.items() if claim.startswith("deletion")} == {"holds"}
    values = tables.read([study.RESULTS / name for name in ("small_cnn_comparison", "small_cnn_attacks")])
    means = values.pivot_table(index="attribution", columns="metric", values="value")
    attacks = means.loc[list(tables.TABLES[6].rows), "insertion_union"]
    assert attacks.idxmax() == "attexplore_sini_as_coded"
    error = means["infidelity"]
    assert 10 * error["attexplore"] < error["constant_map"] < error["no_map"]
    # The control of its own and the map that says one everywhere are the same.
    assert means.loc["attexplore", "constant_map_infidelity"] == pytest.approx(
        error["constant_map"], rel=1e-5
    )
    seen = pd.read_csv(study.RESULTS / "vit_comparison" / "results.csv")
    seen = seen[seen["metric"] == "infidelity"].set_index("attribution")
    own, control = seen.loc["attexplore"], seen.loc["constant_map"]
    assert abs(own["value"] - control["value"]) < min(own["stderr"], control["stderr"])
    lower = set(seen.index[seen["value"] < control["value"]])
    assert lower == {"attexplore", "guided_ig"}


def test_the_page_is_of_the_sizes_that_the_study_has():
    for name, (stem, network, images) in study.EVALUATIONS.items():
        results = pd.read_csv(study.RESULTS / name / "results.csv")
        cells = results[results["attribution"] != "none"]
        assert set(cells["checkpoint"]) == {network}
        assert set(cells["attribution"]) == set(GRIDS[stem]["attributions"])
        assert set(cells["metric"]) == set(GRIDS[stem]["metrics"])
        assert (cells["count"] + cells["excluded"] == images).all()


@pytest.mark.parametrize("number", tables.TABLES)
def test_a_grid_has_every_row_of_a_table(number):
    table = tables.TABLES[number]
    stem = {6: "attexplore_attacks"}.get(number, "attexplore" if number in (1, 2, 7, 8) else None)
    grid = GRIDS[stem or "attexplore_parameters"]
    assert set(table.rows) - {"no_map"} <= set(grid["attributions"])
    assert number == 2 or set(table.metrics) <= set(grid["metrics"])
    published = PUBLISHED[PUBLISHED["table"] == number]
    assert set(published["attribution"]) <= set(table.rows)
    assert set(published["metric"]) <= set(table.metrics)


def test_the_names_of_the_settings_are_the_settings():
    for name, part in GRIDS["attexplore_parameters"]["attributions"].items():
        eps, samples, steps = (int(number) for number in re.findall(r"\d+", name))
        given = part["init_args"]
        assert given["eps"] == pytest.approx(eps / 255, abs=1e-7)
        assert (given["samples"], given["steps"]) == (samples, steps)


def test_the_published_values_are_those_of_the_paper():
    counts = {1: 66, 2: 6, 3: 36, 4: 36, 5: 36, 6: 48, 7: 20, 8: 30, 9: 54, 10: 90, 11: 24, 12: 42}
    assert PUBLISHED.groupby("table").size().to_dict() == counts
    first = PUBLISHED[PUBLISHED["table"] == 1].pivot_table(
        index="attribution", columns=["network", "metric"], values="value"
    )
    others = first.drop(["grad_cam", "adversarial_ig", "attexplore"])
    # The paper's average gains, for which it leaves out AGI and Grad-CAM.
    for network, gain in {"inception_v3": 20.59, "resnet50": 24.06, "vgg16": 19.05}.items():
        column = (network, "insertion_union")
        assert 100 * (first.loc["attexplore", column] - others[column].mean()) == pytest.approx(
            gain, abs=0.02
        )
    # What is printed in two tables is the same there, but for a last digit in table 6.
    cells = PUBLISHED[PUBLISHED["table"].isin([3, 4, 5])]
    twice = cells.groupby(["attribution", "network", "metric"])["value"].agg(["nunique", "size"])
    assert (twice["nunique"] == 1).all()
    assert (twice["size"] == 3).sum() == 6


def written(folder: Path, network: str, cells: dict[tuple[str, str], float]) -> Path:
    """Write a file of results as evaluate.py does."""
    folder.mkdir()
    known = [(network, "none", "unattacked", "accuracy", 0.5, 0.1, 4, 0, 0)]
    known += [
        (network, name, "unattacked", metric, value, 0.01, 4, 0, 0) for (name, metric), value in cells.items()
    ]
    pd.DataFrame(known, columns=study.COLUMNS).to_csv(folder / "results.csv", index=False)
    return folder


def test_every_value_stands_in_its_cell_with_the_published_one_beside(tmp_path):
    games = {"insertion_union": 0.5, "deletion_union": 0.25}
    vgg = {("attexplore", metric): value for metric, value in games.items()}
    vgg |= {("saliency", "insertion_union"): 0.125, ("attexplore", "infidelity"): 1.5}
    vgg |= {("constant_map", "infidelity"): 0.75, ("constant_map", "zero_map_infidelity"): 12.0}
    folders = [
        written(tmp_path / "vgg", "vgg16", vgg),
        written(tmp_path / "own", "mine", {("attexplore", "insertion_union"): 0.0625}),
        written(tmp_path / "vit", "vit_b_16", {("attexplore", "deletion_union"): 0.03125}),
        written(
            tmp_path / "many",
            "vgg16 ",
            {(f"eps_{eps}_samples_20_steps_10", "insertion_union"): eps / 100 for eps in range(1, 8)},
        ),
    ]
    assert tables.main(folders, tmp_path / "tables") == [1, 7, 8, 12]
    page = (tmp_path / "tables" / "attexplore.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]
    assert ["method", "vgg16: Insertion", "vgg16: Deletion", "mine: Insertion", "mine: Deletion"] in rows
    assert ["AttEXplore", "0.5000 (0.3186)", "0.2500 (0.0226)", "0.0625", ""] in rows
    assert ["SaliencyMap", "0.1250 (0.2089)", "– (0.0323)", "", ""] in rows
    assert ["AttEXplore", "0.0312 (0.062)"] in rows
    # What was published beside and not measured here; what was neither is left out.
    assert ["DeepLIFT", "– (0.063)"] in rows
    assert ["DeepLIFT", "– (0.0827)", "– (0.0157)", "", ""] in rows
    assert not [row for row in rows if row[0] == "random map"]
    heads = next(row for row in rows if row[0] == "network")
    line = dict(zip(heads, next(row for row in rows if row[0] == "vgg16"), strict=True))
    published = [name for name in tables.METHODS.values() if line.get(name, "").endswith(")")]
    assert list(line)[1:] == [*published, "constant map", "no map"]
    assert (line["AttEXplore"], line["constant map"], line["no map"]) == ("1.500 (0.6)", "0.7500", "12.000")
    assert line["DeepLIFT"] == "– (9.746)"
    assert page.count("Images: vgg16 4, mine 4.") == 1
    assert ["eps", *"1234567"] in rows
    assert ["vgg16 : Insertion", *(f"0.0{eps}00" for eps in range(1, 8))] in rows
    table = pd.read_csv(tmp_path / "tables" / "table_1.csv")
    assert table.loc[
        table["attribution"] == "saliency", ["network", "value", "published", "count"]
    ].to_numpy()[0].tolist() == [
        "vgg16",
        0.125,
        0.2089,
        4,
    ]


def test_what_cannot_be_rendered_is_refused(tmp_path):
    folder = written(tmp_path / "a", "mine", {("attexplore", "insertion"): 0.5})
    again = written(tmp_path / "b", "mine", {("attexplore", "insertion"): 0.5})
    with pytest.raises(
        ValueError, match="Expected each value once, but got mine/attexplore/insertion from two"
    ):
        tables.read([folder, again])
    with pytest.raises(
        FileNotFoundError, match=r"Expected a directory with results\.csv or frames_per_second"
    ):
        tables.read([tmp_path])


def test_a_trend_is_the_mean_of_paired_differences():
    first, second = [0.5, 0.7, 0.9], [0.4, 0.5, 0.6]
    rows = [("net", "attexplore", "insertion_union", place, value) for place, value in enumerate(first)]
    rows += [("net", "saliency", "insertion_union", place, value) for place, value in enumerate(second)]
    (found,) = trends.measured(
        pd.DataFrame(rows, columns=["checkpoint", "attribution", "metric", "sample_id", "value"])
    ).itertuples()
    # Differences 0.1, 0.2, 0.3: standard error 0.1 / sqrt(3), Student's 97.5 % point for 2 degrees 4.3027.
    assert (found.difference, found.low, found.high, found.count) == pytest.approx(
        (0.2, -0.0484, 0.4484, 3), abs=1e-4
    )
    assert found.claim == "insertion is higher than that of SaliencyMap"


@pytest.mark.parametrize(
    ("sign", "low", "high", "expected"),
    [
        (1, 0.1, 0.2, "holds"),
        (1, -0.2, -0.1, "the contrary"),
        (-1, -0.2, -0.1, "holds"),
        (-1, -0.1, 0.1, "cannot be told"),
        (0, -0.01, 0.019, "holds"),
        (0, 0.021, 0.03, "does not hold"),
        (0, 0.01, 0.03, "cannot be told"),
    ],
)
def test_a_verdict_is_what_the_interval_shows(sign, low, high, expected):
    assert trends.verdict(sign, low, high) == expected


@pytest.fixture(scope="module")
def model() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN(width=4).eval()


def batches() -> list[Batch]:
    image = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    whole = Batch(image, torch.tensor([1, 2, 3]), torch.arange(3))
    return [Batch(*(part[:2] for part in whole)), Batch(*(part[2:] for part in whole))]


@pytest.mark.parametrize(
    ("method", "forwards", "backwards"),
    [
        (AttEXplore(steps=2, samples=5), 10, 10),
        (IntegratedGradients(path_steps=7), 7, 7),
        # One pass for each of two targets, twice differentiated; one image a batch asks for the classes.
        (AdversarialIG(classes=2, steps=1), 2 + 2 / 3, 4),
    ],
)
def test_passes_are_counted_and_made_again(model, method: Attribution, forwards, backwards):
    row = speed.timed(("net", "method"), method, model, batches(), 1)
    assert (row.count, row.forwards, row.backwards) == (3, forwards, backwards)
    assert row.ratio > 0
    assert row.lowest == row.frames_per_second == row.highest > 0
    passes = speed.recorded(method, model, batches())
    again = speed.Recording(model)
    speed.replay(again, passes, {one.shape: torch.rand(one.shape) for one in passes})
    assert again.passes == passes


def test_a_device_has_finished_before_and_after_what_is_timed(monkeypatch):
    done = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: done.append("finished"))
    assert speed.seconds(lambda: done.append("work")) >= 0
    assert done == ["finished", "work", "finished"]


def test_frames_per_second_stand_beside_the_published_ones(tmp_path):
    row = {"network": "net", "attribution": "attexplore", "count": 8, "forwards": 200, "backwards": 200}
    row |= {"frames_per_second": 0.25, "lowest": 0.2, "highest": 0.3, "ratio": 1.5}
    pd.DataFrame([row]).to_csv(tmp_path / "frames_per_second.csv", index=False)
    values = tables.read([tmp_path])
    lines = tables.rendered(2, tables.chosen(2, values)).splitlines()
    assert len(lines) == 2 + 6 + 2
    assert lines[-1] == "Images: net 8."
    (line,) = [line for line in lines if line.startswith("| AttEXplore")]
    assert [cell.strip() for cell in line.split("|")[1:-1]] == [
        "AttEXplore",
        "0.2500 (47.2805)",
        "200",
        "200",
        "1.500",
    ]
