import pandas as pd
import pytest

from lit_xai.reporting.plots.curves import epoch_curves, radius_curves
from lit_xai.reporting.plots.style import DASHED, look


def test_a_curve_is_the_means_over_the_radius_from_the_clean_image(results, mean):
    plots = radius_curves(results)
    assert [plot.name for plot in plots] == ["radius-integrated_gradients", "radius-saliency"]
    assert plots[1].title == "Top k over radius: saliency under top k"
    (panel,) = plots[1].figure.axes
    solid = [line for line in panel.lines if line.get_linestyle() == "-" and len(line.get_xdata()) > 1]
    assert [line.get_color() for line in solid] == [look(0).colour, look(1).colour]
    attacks = ["unattacked", "top_k_eps_0_05", "top_k_eps_0_1", "top_k_eps_0_2"]
    assert solid[1].get_xdata().tolist() == [0, 0.05, 0.1, 0.2]
    assert solid[1].get_ydata().tolist() == [mean("pgd", "saliency", attack, "top_k") for attack in attacks]


def test_the_control_is_dashed_in_the_colour_of_its_checkpoint(results, mean):
    panel = radius_curves(results)[0].figure.axes[0]
    dashed = [line for line in panel.lines if line.get_linestyle() == "--"]
    assert [line.get_color() for line in dashed] == [look(0).colour, look(1).colour]
    assert dashed[0]._unscaled_dash_pattern[1] == DASHED[1]
    assert dashed[0].get_ydata()[2] == mean("natural", "integrated_gradients", "random_sign_eps_0_1", "top_k")
    assert "random sign (control)" in [text.get_text() for text in radius_curves(results)[0].figure.texts]


def test_the_text_has_the_numbers(results, mean):
    last = mean("natural", "saliency", "top_k_eps_0_2", "top_k")
    assert f"natural 1.00 at radius 0, {last:.2f} at radius 0.2" in radius_curves(results)[1].alt


def test_the_interval_is_a_band(results, mean):
    panel = radius_curves(results)[0].figure.axes[0]
    corners = panel.collections[0].get_paths()[0].vertices.tolist()
    cell = ("natural", "integrated_gradients", "top_k_eps_0_1", "top_k")
    assert [0.1, mean(*cell, "low")] in corners
    assert [0.1, mean(*cell, "high")] in corners


def test_controls_alone_are_drawn_as_attacks(changed, results):
    card = dict(results.card)
    card["attacks"] = {name: entry for name, entry in card["attacks"].items() if entry["sweep"] != "top_k"}
    plots = radius_curves(changed(card=card))
    assert [plot.title for plot in plots] == [
        "Top k over radius: integrated gradients under random sign",
        "Top k over radius: saliency under random sign",
    ]


def test_every_family_has_a_panel(changed, results):
    card = dict(results.card)
    path = "lit_xai.attacks.window_union.WindowUnion"
    card["attacks"] = {
        name: {**entry, "sweep": "window_union", "class_path": path}
        if entry["sweep"] == "random_sign"
        else entry
        for name, entry in card["attacks"].items()
    }
    plot = radius_curves(changed(card=card))[0]
    assert len(plot.figure.axes) == 2
    assert plot.figure.axes[0].get_ylim() == plot.figure.axes[1].get_ylim()
    assert plot.title.endswith("under window union and top k")


def test_nothing_swept_nothing_drawn(changed, results, empty):
    attacks = {"unattacked": results.card["attacks"]["unattacked"]}
    assert radius_curves(changed(card={**results.card, "attacks": attacks})) == []
    assert radius_curves(empty) == []


def test_epochs_of_accuracy_and_of_robustness(results):
    plots = epoch_curves(results)
    assert [plot.name for plot in plots] == ["epochs", "epochs-integrated_gradients"]
    accuracy, attacked = plots[0].figure.axes
    assert accuracy.lines[1].get_ydata() == pytest.approx([0.55, 0.65, 0.75])
    assert attacked.lines[1].get_ydata() == pytest.approx([0.2, 0.3, 0.4])
    assert accuracy.lines[1].get_xdata().tolist() == [1, 2, 3]
    assert plots[0].title == "Accuracy and accuracy under PGD over epochs"
    assert "pgd 0.45 in epoch 1, 0.55 in epoch 3" in plots[1].alt
    assert [text.get_text() for text in plots[1].figure.texts[-3:]] == ["random sign", "top k", "epoch"]


def test_one_epoch_is_a_point(changed, results):
    training = results.training[results.training.epoch == 1]
    plot = epoch_curves(changed(training=training))[0]
    assert "natural 0.60 in epoch 1;" in plot.alt


def test_no_log_no_plot(empty, changed):
    assert epoch_curves(empty) == []
    log = pd.DataFrame([("pgd", 1, "val/accuracy", 0.5)], columns=["checkpoint", "epoch", "key", "value"])
    (plot,) = epoch_curves(changed(training=log))
    assert plot.title == "Accuracy over epochs"
    assert len(plot.figure.axes) == 1
