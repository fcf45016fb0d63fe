import numpy as np
import pytest
from matplotlib.colors import to_hex

from lit_xai.reporting.plots.surface import surfaces
from lit_xai.reporting.plots.words import NOTHING
from tests.reporting.plots.test_style import luminance


def numbers(panel):
    return {text.get_position(): text.get_text() for text in panel.texts}


def test_a_surface_has_the_mean_at_its_alpha_and_k(results, mean):
    plots = {plot.name: plot for plot in surfaces(results)}
    assert list(plots)[:3] == [
        f"surface-integrated_gradients-exiaa-alpha-k-{metric}"
        for metric in ("change", "ssim", "confidence_change")
    ]
    assert len(plots) == 6
    natural, pgd = plots["surface-saliency-exiaa-alpha-k-ssim"].figure.axes
    assert [label.get_text() for label in natural.get_xticklabels()] == ["0.06", "0.15"]
    assert [label.get_text() for label in natural.get_yticklabels()] == ["k 0.6", "k 0.2", "k 0.05"]
    assert numbers(natural)[0, 2] == f"{mean('natural', 'saliency', 'exiaa_alpha_0_06_k_0_05', 'ssim'):.2f}"
    assert numbers(pgd)[1, 0] == f"{mean('pgd', 'saliency', 'exiaa_alpha_0_15_k_0_6', 'ssim'):.2f}"
    assert len(numbers(pgd)) == 6


def test_words(results, mean):
    plot = surfaces(results)[0]
    assert plot.title == "Change under eXIAA: integrated gradients"
    assert "change in percent, darker: less robust" in [text.get_text() for text in plot.figure.texts]
    low, high = (
        mean("natural", "integrated_gradients", f"exiaa_alpha_{cell}", "change")
        for cell in ("0_06_k_0_05", "0_15_k_0_6")
    )
    assert f"natural: from {low:.1f} at alpha 0.06, k 0.05 to {high:.1f} at alpha 0.15, k 0.6." in plot.alt


def test_donors_are_averaged(changed, results, mean):
    """The two strengths of alpha become two donors of one strength."""
    renamed = {0.06: 0, 0.15: 1}
    attacks = {}
    for name, entry in results.card["attacks"].items():
        values = entry["values"]
        if entry["sweep"] == "exiaa":
            values = {"alpha": 0.1, "k": values["k"], "rank": renamed[values["alpha"]]}
        attacks[name] = {**entry, "values": values}
    plots = surfaces(changed(card={**results.card, "attacks": attacks}))
    assert plots[0].title == "Change under eXIAA: integrated gradients, mean of 2 donors"
    ends = [
        mean("natural", "integrated_gradients", f"exiaa_alpha_{alpha}_k_0_6", "change")
        for alpha in ("0_06", "0_15")
    ]
    panel = plots[0].figure.axes[0]
    assert len(numbers(panel)) == 3
    assert numbers(panel)[0, 0] == f"{sum(ends) / 2:.1f}"


def test_a_cell_that_is_missing_is_a_dash(changed, results):
    table = results.table[results.table.attack != "exiaa_alpha_0_06_k_0_05"]
    assert numbers(surfaces(changed(table=table))[0].figure.axes[0])[0, 2] == NOTHING


@pytest.mark.parametrize("metric", ["ExplanationChange", "ImageSSIM", "ConfidenceChange"])
def test_metrics_are_known_by_their_class(changed, results, metric):
    card = {**results.card, "metrics": {"top_k": {"class_path": f"mine.{metric}", "higher_is_better": True}}}
    assert [plot.title for plot in surfaces(changed(card=card))] == [
        "Top-k intersection under eXIAA: integrated gradients",
        "Top-k intersection under eXIAA: saliency",
    ]


def darkness(panel):
    """Return the luminance of every tile by its number."""
    tiles = [
        tile
        for tile in panel.get_children()
        if type(tile).__name__ == "Rectangle" and tile is not panel.patch
    ]
    found = {}
    for tile in tiles:
        column, row = round(tile.get_x() + 0.46), round(tile.get_y() + 0.46)
        found[numbers(panel)[column, row]] = luminance(to_hex(tile.get_facecolor()))
    return found


@pytest.mark.parametrize(("metric", "sign"), [("ssim", 1), ("change", -1)])
def test_darker_is_less_robust_whichever_way_a_metric_runs(results, metric, sign):
    plot = next(plot for plot in surfaces(results) if plot.name.endswith(f"-{metric}"))
    shades = darkness(plot.figure.axes[0])
    order = sorted(shades, key=lambda text: sign * float(text))
    assert [shades[text] for text in order] == sorted(shades.values())
    assert shades[order[0]] < shades[order[-1]]


def test_a_metric_without_a_direction_is_darker_where_it_is_higher(changed, results):
    card = {
        **results.card,
        "metrics": {"ssim": {**results.card["metrics"]["ssim"], "higher_is_better": None}},
    }
    plot = surfaces(changed(card=card))[0]
    assert "SSIM, darker: higher" in [text.get_text() for text in plot.figure.texts]
    shades = darkness(plot.figure.axes[0])
    assert shades[max(shades, key=float)] < shades[min(shades, key=float)]


@pytest.mark.parametrize(("value", "sign"), [(np.inf, "\u221e"), (-np.inf, "\u2212\u221e")])
def test_an_infinite_mean_has_no_colour_and_is_told(changed, results, value, sign):
    table = results.table.copy()
    cell = (
        (table.attack == "exiaa_alpha_0_06_k_0_2") & (table.checkpoint == "pgd") & (table.metric == "change")
    )
    table.loc[cell, "value"] = value
    plot = surfaces(changed(table=table))[0]
    assert numbers(plot.figure.axes[1])[0, 1] == sign
    assert "Not drawn: pgd at alpha 0.06, k 0.2 (" in plot.alt
    before = darkness(surfaces(results)[0].figure.axes[0])
    assert darkness(plot.figure.axes[0]) == before


def test_all_infinite_is_no_surface(changed, results):
    table = results.table.copy()
    table.loc[table.metric == "change", "value"] = np.inf
    assert surfaces(changed(table=table))[0].title.startswith("SSIM")


def test_seeds_are_averaged(seeds):
    plot = surfaces(seeds)[0]
    assert [text.get_text() for text in plot.figure.texts if text.get_fontweight() == "bold"] == [
        "natural",
        "pgd",
        "alone",
    ]
    cells = [
        seeds.cell(f"pgd_{seed}", "integrated_gradients", "exiaa_alpha_0_06_k_0_05", "change")
        for seed in (3, 5, 11)
    ]
    value = np.mean([cell["value"] for cell in cells])
    assert numbers(plot.figure.axes[1])[0, 2] == f"{value:.1f}"
    assert "pgd (mean of 3 seeds): from" in plot.alt


def test_the_axis_of_rows_stands_in_their_labels_only(results):
    plot = surfaces(results)[0]
    assert "k" not in [text.get_text() for text in plot.figure.texts]
    assert plot.alt.endswith(" samples.")


def test_no_surface_without_two_fields(changed, results, empty):
    attacks = {name: entry for name, entry in results.card["attacks"].items() if len(entry["values"]) < 2}
    assert surfaces(changed(card={**results.card, "attacks": attacks})) == []
    assert surfaces(empty) == []
