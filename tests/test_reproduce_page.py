"""The page on published settings shows what its results hold, beside what the papers hold."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lit_xai.evaluation.table import insert
from scripts import reproduce
from scripts.exiaa import bounds_of
from scripts.exiaa_imagenet import KINDS

NAMES = ["counts", "exiaa", "claims", "verdicts", "leads", "top_k"]
SETTINGS = list(itertools.product((0.03, 0.15), (0.05, 0.6)))


@pytest.fixture(scope="module")
def results():
    return reproduce.read_results()


@pytest.mark.parametrize("name", NAMES)
def test_a_table_is_what_its_results_render(results, name):
    page = reproduce.PAGE.read_text()
    marker = f"imagenet_{name}"
    assert insert(page, marker, reproduce.tables(results)[marker]) == page


def test_as_many_images_were_attacked_as_the_page_says(results):
    attacked = {
        (study, attribution): own.loc[own["excluded"] == 0, "sample_id"].nunique()
        for study, table in {"exiaa": results.exiaa, "top_k": results.top_k}.items()
        for attribution, own in table[table["kind"] == study].groupby("attribution")
    }
    assert attacked["exiaa", "saliency"] >= 50
    assert attacked["exiaa", "integrated_gradients"] >= 20
    assert attacked["top_k", "saliency"] >= 50
    assert attacked["top_k", "integrated_gradients"] >= 8


def test_the_published_tables_are_whole():
    """What a reader of the paper's tables counts: 300 cells for each of two attacks, and who is ahead."""
    table = pd.read_csv(reproduce.RESULTS / "published.csv")
    assert len(table) == 600
    wide = table.pivot_table(index=["attribution", "model", "alpha", "k"], columns="kind", values="change")
    behind = wide[wide["exiaa"] < wide["gaussian"]].reset_index()
    counts = behind.groupby(["attribution", "model"]).size().to_dict()
    assert counts == {("integrated_gradients", "ResNet-18"): 8, ("deep_lift_shap", "ResNet-18"): 10}
    own = table[table["kind"] == "exiaa"]
    assert (own["confidence_change"] > 10).sum() == 35
    assert (own["confidence_change"] <= 5).sum() == 170


def invented():
    """Return results whose tables can be told by hand: 20 images, one of them without a donor."""
    generator = np.random.default_rng(0)
    rows = []
    for place, kind in enumerate(KINDS):
        for alpha, k in SETTINGS:
            change = 50 + 100 * alpha + 20 * k - 10 * place + generator.normal(0, 1, 20)
            for sample, value in enumerate(change):
                rows.append(("saliency", kind, alpha, k, 0.0, sample, value, 5 * alpha, 1 - 0.1 * place))
    columns = [
        "attribution",
        "kind",
        "alpha",
        "k",
        "rank",
        "sample_id",
        "change",
        "confidence_change",
        "ssim",
    ]
    exiaa = pd.DataFrame(rows, columns=columns).assign(excluded=0.0, failed=0.0, prediction_kept=1.0)
    exiaa = exiaa.assign(checkpoint="net", attack="cell")
    exiaa.loc[exiaa["sample_id"] == 19, ["excluded", "change", "ssim"]] = 1.0, np.nan, np.nan
    exiaa.loc[(exiaa["sample_id"] == 3) & (exiaa["alpha"] == 0.15), "prediction_kept"] = 0.0
    card = {"parts": {"exiaa_saliency": {"misclassified": 1, "accuracy": 0.95, "classified": 20}}}
    published = [pd.read_csv(reproduce.RESULTS / f"{name}.csv") for name in ("published", "published_top_k")]
    return reproduce.Results(exiaa, pd.DataFrame(), card, *published)


def cells_of(table):
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_measured_means_stand_beside_the_papers():
    results = invented()
    rows = cells_of(reproduce.exiaa_table(results, "saliency"))
    assert [(float(row[0]), float(row[1])) for row in rows] == SETTINGS
    own = results.exiaa[(results.exiaa["excluded"] == 0) & (results.exiaa["kind"] == "exiaa")]
    for row, (alpha, k) in zip(rows, SETTINGS, strict=True):
        mean = own.loc[(own["alpha"] == alpha) & (own["k"] == k), "change"].mean()
        assert row[2] == f"{mean:.1f} / {5 * alpha:.2f} / 1.000"
    assert rows[3][6:] == ["88.0 / 13.25", "80.0 / 6.27", "140.9 / 8.52", "87.5 / 2.44"]


def test_images_behind_the_means_are_counted():
    assert cells_of(reproduce.counts_table(invented())) == [
        ["saliency", "19", "1", "not measured", "2 of 76", "0.950 of 20"]
    ]


def test_claims_are_counted_in_the_paper_and_here():
    rows = {row[1]: row[2:] for row in cells_of(reproduce.claims_table(invented()))}
    assert rows["changes more with a larger k"] == ["2 of 2 steps", "2 of 2 steps", "2 of 2 steps"]
    assert rows["changes the confidence by at most 10 %"] == ["3 of 4", "4 of 4", "4 of 4"]
    assert rows["changes more than the Gaussian baseline"] == ["4 of 4", "4 of 4", "4 of 4"]
    assert rows["changes the confidence more than the baseline"] == ["4 of 4", "4 of 4", "0 of 4"]
    assert rows["has a lower SSIM than random places"] == ["", "", "0 of 4"]


def test_a_lead_is_beyond_chance_only_if_its_interval_is():
    results = invented()
    near = results.exiaa["kind"] == "exiaa_random_places"
    base = results.exiaa.loc[results.exiaa["kind"] == "exiaa", "change"].to_numpy()
    shift = np.tile([1.0, -1.0], len(base) // 2) * 5
    results.exiaa.loc[near, "change"] = base + shift
    assert cells_of(reproduce.verdicts_table(results)) == [
        ["saliency", "Gaussian", "4", "0", "0"],
        ["saliency", "Gaussian of equal L2", "4", "0", "0"],
        ["saliency", "random places", "0", "0", "4"],
    ]
    change = reproduce.by_sample(results, "saliency", "change")
    low, high = bounds_of(change["exiaa", 0.03, 0.05] - change["gaussian", 0.03, 0.05], 1 - 0.05 / 12)
    assert f"[{low:+.1f}, {high:+.1f}]" in cells_of(reproduce.leads_table(results))[0][3]


def test_the_top_k_table_counts_images_below_the_walk():
    columns = ["top_k", "lens_recall", "lens_precision", "kendall", "center_shift", "confidence_change"]
    rows = []
    for kind, values in {"random_walk": (0.3, 0.3, 0.3), "top_k": (0.1, 0.3, 0.2)}.items():
        for sample, value in enumerate(values):
            rows.append(["saliency", kind, sample, *[value] * 6, 0.0, float(sample == 1), 1.0])
    header = ["attribution", "kind", "sample_id", *columns, "excluded", "failed", "prediction_kept"]
    samples = pd.DataFrame(rows, columns=header)
    samples.loc[(samples["kind"] == "top_k") & (samples["sample_id"] == 2), "excluded"] = 1.0
    published = pd.read_csv(reproduce.RESULTS / "published_top_k.csv")
    found = {(row[1], row[2]): row[3:] for row in cells_of(reproduce.top_k_table(samples, published))}
    assert found["top_k", "here"] == [
        *("0.200 [0.100]", *["0.200"] * 5),
        *("1 of 2", "0", "1", "1", "2"),
    ]
    assert found["random_walk", "here"][0] == "0.300 [0.300]"
    assert found["random_walk", "here"][6:] == ["", "0", "1", "0", "3"]
    paper = found["random_sign", "Kamath et al. (2024), Table 2, ResNet-50"]
    assert paper == ["0.3825", "0.7875", *[""] * 9]
    by_eye = found["top_k", "Ghorbani et al. (2019), SaliencyMethodsComparison.png by eye, SqueezeNet"]
    assert by_eye == ["about 0.01", *[""] * 10]
