import dataclasses

import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.plots.curves import epoch_curves, radius_curves
from lit_xai.reporting.plots.style import DASHES, look


def test_a_curve_is_the_means_over_the_radius_from_the_clean_image(results, mean):
    plots = radius_curves(results)
    assert [plot.name for plot in plots] == ["radius-integrated_gradients", "radius-saliency"]
    assert plots[1].title == "Top-k intersection over radius: saliency under top-k attack"
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
    assert list(dashed[0]._unscaled_dash_pattern[1]) == list(DASHES[0])
    assert dashed[0].get_ydata()[2] == mean("natural", "integrated_gradients", "random_sign_eps_0_1", "top_k")
    assert "random signs (control)" in [text.get_text() for text in radius_curves(results)[0].figure.texts]


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
        "Top-k intersection over radius: integrated gradients under random signs",
        "Top-k intersection over radius: saliency under random signs",
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
    assert plot.title.endswith("under window union attack and top-k attack")


def test_controls_of_many_families_all_have_dashes(changed, results):
    card = dict(results.card)
    attacks = dict(card["attacks"])
    for turn in range(6):
        for eps in (0.05, 0.1):
            name = f"random_sign_eps_{str(eps).replace('.', '_')}"
            attacks[f"control{turn}_{eps}"] = {**attacks[name], "sweep": f"control_{turn}"}
    table = [results.table]
    for turn in range(6):
        for eps in (0.05, 0.1):
            rows = results.table[results.table.attack == f"random_sign_eps_{str(eps).replace('.', '_')}"]
            table.append(rows.assign(attack=f"control{turn}_{eps}"))
    plot = radius_curves(changed(card={**card, "attacks": attacks}, table=pd.concat(table)))[0]
    texts = [text.get_text() for text in plot.figure.texts]
    assert [text for text in texts if text.endswith("(control)")] == [
        "random signs (control)",
        *(f"control {turn} (control)" for turn in range(6)),
    ]
    dashed = [line for line in plot.figure.axes[0].lines if line.get_linestyle() == "--"]
    assert len(dashed) == 14


def test_a_regime_is_a_line_with_its_seeds_thin(seeds):
    plot = radius_curves(seeds)[0]
    panel = plot.figure.axes[0]
    thin = [line for line in panel.lines if line.get_linewidth() == 0.7]
    assert [line.get_color() for line in thin] == [look(0).colour] * 3 + [look(1).colour] * 3
    mean = next(line for line in panel.lines if line.get_marker() == look(0).marker)
    assert mean.get_ydata() == pytest.approx(np.mean([line.get_ydata() for line in thin[:3]], axis=0))
    assert [text.get_text() for text in panel.texts] == ["natural", "pgd", "alone"]
    assert "natural (mean of 3 seeds) 1.00 at radius 0" in plot.alt
    assert "alone 1.00 at radius 0" in plot.alt
    assert len([line for line in panel.lines if line.get_linestyle() == "--"]) == 3


def test_epochs_of_a_regime_are_the_mean_over_its_seeds(seeds):
    panel = epoch_curves(seeds)[0].figure.axes[0]
    thin = [line for line in panel.lines if line.get_linewidth() == 0.7]
    assert len(thin) == 6
    mean = next(line for line in panel.lines if line.get_marker() == look(1).marker)
    assert mean.get_ydata() == pytest.approx(np.mean([line.get_ydata() for line in thin[3:]], axis=0))


def test_numbers_of_samples_stand_beside(results):
    table = results.table[(results.table.metric == "top_k") & (results.table.attribution == "saliency")]
    counts = table[table.attack.str.startswith("top_k")]["count"]
    assert radius_curves(results)[1].alt.endswith(f"Means of {counts.min()} to {counts.max()} samples.")
    assert epoch_curves(results)[1].alt.endswith("Means of 60 samples.")


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("column", ["value", "low", "high"])
def test_a_point_without_a_place_is_left_out_and_told(changed, results, value, column):
    table = results.table.copy()
    cell = (table.checkpoint == "pgd") & (table.attribution == "saliency") & (table.metric == "top_k")
    table.loc[cell & (table.attack == "top_k_eps_0_1"), column] = value
    plot = radius_curves(changed(table=table))[1]
    (line,) = [
        line
        for line in plot.figure.axes[0].lines
        if line.get_linewidth() == 2 and line.get_color() == look(1).colour and len(line.get_xdata()) > 1
    ]
    assert np.isnan(line.get_ydata()).tolist() == [False, False, column == "value", False]
    assert ("Not drawn: pgd at radius 0.1 (" in plot.alt) == (column == "value")


def test_a_family_without_a_finite_mean_has_no_panel_but_is_told(changed, results):
    table = results.table.copy()
    table.loc[table.attack.str.startswith("top_k_eps"), "value"] = np.inf
    table.loc[table.attack.str.startswith("random_sign_eps_0_05"), "value"] = -np.inf
    card = dict(results.card)
    path = "lit_xai.attacks.window_union.WindowUnion"
    card["attacks"] = {
        name: {**entry, "class_path": path} if entry["sweep"] == "random_sign" else entry
        for name, entry in card["attacks"].items()
    }
    plot = radius_curves(changed(table=table, card=card))[0]
    assert len(plot.figure.axes) == 1
    assert "natural at radius 0.05 (minus infinite)" in plot.alt
    assert "natural under top-k attack at radius 0.05 (infinite)" in plot.alt


def test_a_control_without_a_place_is_told(changed, results):
    table = results.table.copy()
    cell = (table.attack == "random_sign_eps_0_2") & (table.checkpoint == "pgd") & (table.metric == "top_k")
    table.loc[cell, "value"] = np.inf
    assert (
        "Not drawn: pgd under random signs at radius 0.2 (infinite)."
        in radius_curves(changed(table=table))[0].alt
    )


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_an_epoch_without_a_place_is_left_out_and_told(changed, results, value):
    training = results.training.copy()
    cell = (training.checkpoint == "pgd") & (training.key == "val/accuracy")
    training.loc[cell & (training.epoch == 2), "value"] = value
    plot = epoch_curves(changed(training=training))[0]
    assert np.isnan(plot.figure.axes[0].lines[1].get_ydata()).tolist() == [False, True, False]
    assert "Not drawn: pgd, accuracy, in epoch 2 (" in plot.alt
    training.loc[training.key == "val/accuracy", "value"] = value
    plot = epoch_curves(changed(training=training))[0]
    assert len(plot.figure.axes) == 1
    assert "natural, accuracy, in epoch 1 (" in plot.alt
    training["value"] = value
    assert epoch_curves(changed(training=training)) == []


def test_an_epoch_that_is_no_number_is_left_out(changed, results):
    training = results.training.assign(epoch=results.training.epoch.astype(float))
    training.loc[training.epoch == 3, "epoch"] = np.inf
    assert epoch_curves(changed(training=training))[0].figure.axes[0].lines[0].get_xdata().tolist() == [1, 2]


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
    assert [text.get_text() for text in plots[1].figure.texts[-3:]] == ["top-k attack", "", "epoch"]


def with_errors(results, names, epochs=(1, 2, 3)):
    key = "robustness/integrated_gradients/top_k/top_k"
    rows = [(name, epoch, f"{key}_stderr", 0.1 * epoch) for name in names for epoch in epochs]
    return pd.concat([results.training, pd.DataFrame(rows, columns=results.training.columns)])


def test_the_interval_of_an_epoch_is_a_band(changed, results):
    plot = epoch_curves(changed(training=with_errors(results, results.checkpoints, (1, 3))))[1]
    panel = plot.figure.axes[1]
    corners = np.concatenate([path.vertices for path in panel.collections[1].get_paths()])
    # Student's t of 60 samples; of the epoch between nothing is known.
    reach = 2.0009954 * 0.3
    assert {round(y, 5) for x, y in corners if x == 3} == {round(0.55 - reach, 5), round(0.55 + reach, 5)}
    assert not [x for x, _ in corners if x == 2]
    assert plot.figure.texts[-2].get_text() == "shaded: 95 % interval"
    assert panel.get_ylim()[1] > 0.55 + reach


def test_intervals_of_seeds_are_not_drawn_and_take_no_room(seeds):
    before = epoch_curves(seeds)[1].figure
    names = [name for name in seeds.checkpoints if name != "alone"]
    after = epoch_curves(dataclasses.replace(seeds, training=with_errors(seeds, names)))[1].figure
    assert after.axes[1].get_ylim() == before.axes[1].get_ylim()
    assert after.texts[-2].get_text() == before.texts[-2].get_text()


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
