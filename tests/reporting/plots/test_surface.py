import pytest

from lit_xai.reporting.plots.surface import surfaces
from lit_xai.reporting.plots.words import NOTHING


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
    assert [label.get_text() for label in natural.get_yticklabels()] == ["0.6", "0.2", "0.05"]
    assert numbers(natural)[0, 2] == f"{mean('natural', 'saliency', 'exiaa_alpha_0_06_k_0_05', 'ssim'):.2f}"
    assert numbers(pgd)[1, 0] == f"{mean('pgd', 'saliency', 'exiaa_alpha_0_15_k_0_6', 'ssim'):.2f}"
    assert len(numbers(pgd)) == 6


def test_words(results, mean):
    plot = surfaces(results)[0]
    assert plot.title == "Change under eXIAA: integrated gradients"
    assert "change in percent, lower is more robust" in [text.get_text() for text in plot.figure.texts]
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
        "Top k under eXIAA: integrated gradients",
        "Top k under eXIAA: saliency",
    ]


def test_no_surface_without_two_fields(changed, results, empty):
    attacks = {name: entry for name, entry in results.card["attacks"].items() if len(entry["values"]) < 2}
    assert surfaces(changed(card={**results.card, "attacks": attacks})) == []
    assert surfaces(empty) == []
