"""The parts of a report: their order, what each holds, and which of them are left out."""

import dataclasses

import pandas as pd
import pytest
from markupsafe import Markup
from matplotlib.figure import Figure

from lit_xai.reporting import contrasts, sections, tables
from lit_xai.reporting.comparisons import compare_checkpoints, compare_regimes, regime_means
from lit_xai.reporting.plots.base import Plot, svg
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

SEEDED = {
    "natural": ("natural", 0),
    "pgd_0": ("pgd", 0),
    "pgd_1": ("pgd", 1),
    "ig_0": ("ig", 0),
    "ig_1": ("ig", 1),
}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), samples=8))


@pytest.fixture(scope="module")
def seeded(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("seeded"), tuple(SEEDED), groups=SEEDED, samples=8))


@pytest.fixture(scope="module")
def compared(results):
    return compare_checkpoints(results)


@pytest.fixture
def drawn(monkeypatch):
    """Return plots by section as the report would draw them, without drawing."""

    def draw(*titles):
        plots = {
            title: [Plot(f"plot-{place}", title.upper(), "", Figure())] for place, title in enumerate(titles)
        }
        monkeypatch.setattr(sections, "gallery", lambda _: plots)

    return draw


def without(results, **columns):
    """Return results without the rows of the table that have these values."""
    ((name, value),) = columns.items()
    return dataclasses.replace(results, table=results.table[results.table[name] != value])


def outline(parts):
    return [(part.anchor, part.title) for part in parts]


def test_a_drawing_is_safe_and_its_title_is_not():
    plot = Plot("a", "<b>", "<i>", Figure())
    (drawing,) = sections.drawings([plot])
    assert drawing == ("<b>", svg(plot))
    assert (type(drawing.title), type(drawing.svg)) == (str, Markup)
    assert "<i>" not in drawing.svg


def test_the_parts_in_reading_order(seeded, drawn):
    drawn("Accuracy and robustness", "Radius", "Epochs", "Agreement of explanations")
    parts = sections.parts(seeded, compare_checkpoints(seeded), compare_regimes(seeded))
    assert outline(parts) == [
        ("accuracy", "Accuracy and robustness"),
        ("plots-1", "Radius"),
        ("plots-2", "Epochs"),
        ("means", "All means"),
        ("comparisons", "Comparisons of networks"),
        ("regimes", "Regimes over seeds"),
        ("samples", "Worst and best samples"),
        ("agreement", "Agreement of explanations"),
    ]
    titles = {part.anchor: [drawing.title for drawing in part.plots] for part in parts if part.plots}
    assert titles == {
        "accuracy": ["ACCURACY AND ROBUSTNESS"],
        "plots-1": ["RADIUS"],
        "plots-2": ["EPOCHS"],
        "agreement": ["AGREEMENT OF EXPLANATIONS"],
    }
    assert parts[0].tables == [tables.accuracy(seeded)]


def test_what_has_nothing_to_show_is_left_out(results, drawn):
    drawn()
    bare = dataclasses.replace(without(results, attribution="none"), examples=results.examples.iloc[:0])
    nothing = compare_checkpoints(dataclasses.replace(results, samples=results.samples.iloc[:0]))
    assert outline(sections.parts(bare, nothing, nothing)) == [("means", "All means")]


def test_plots_alone_keep_the_accuracies(results, compared, drawn):
    drawn("Accuracy and robustness")
    (first, *_) = sections.parts(without(results, attribution="none"), compared, compare_regimes(results))
    assert (first.anchor, len(first.plots), first.tables) == ("accuracy", 1, [])


def test_the_means_of_the_first_attribution_are_open(results):
    part = sections.means(results)
    assert part.texts == ["Every mean stands with its 95 % bootstrap interval; a press on a heading sorts."]
    assert part.tables == [tables.attribution(results, "integrated_gradients")]
    # Thirteen attacks, two checkpoints.
    assert part.folds == [("saliency: 26 rows", tables.attribution(results, "saliency"))]


def test_one_row_is_one_row(results):
    chosen = results.table.query("attack == 'unattacked' and checkpoint == 'pgd'")
    part = sections.means(dataclasses.replace(results, table=chosen))
    assert [fold.summary for fold in part.folds] == ["saliency: 1 row"]


def test_comparisons_are_told_with_their_number(results, compared):
    part = sections.comparisons(results, compared)
    # An accuracy and a PGD accuracy; two attributions, thirteen attacks, five metrics.
    assert part.texts == [
        "Paired t-tests on the samples scored on both networks: what chance could change is the choice of "
        "samples, not the training. p is corrected for all 132 comparisons (Holm). Shown are the accuracies "
        "and top k; the complete table is in comparisons.csv."
    ]
    assert [table.caption.partition(":")[0] for table in part.tables] == [
        "Accuracy", "Top k, integrated gradients",
    ]  # fmt: skip
    shown = compared.query("attribution == 'saliency' and metric == 'top_k'")
    found = int((shown.p_holm < 0.05).sum())
    assert [fold.summary for fold in part.folds] == [f"saliency: 13 comparisons, {found} significant"]
    assert part.folds[0].table == contrasts.checkpoint_table(shown, results, "saliency")


def test_many_comparisons_have_a_separator(results, compared):
    many = pd.concat([compared] * 10, ignore_index=True)
    assert "corrected for all 1,320 comparisons" in sections.comparisons(results, many).texts[0]


@pytest.mark.parametrize(
    ("accuracies", "headlines", "opened"), [(40, 40, 2), (40, 41, 1), (41, 1, 0), (0, 3, 2)]
)
def test_what_comes_first_and_is_short_is_open(results, compared, accuracies, headlines, opened):
    counts = {"none": accuracies, "integrated_gradients": headlines, "saliency": 1}
    rows = {name: contrasts.headline_rows(compared, results, name).iloc[[0]] for name in counts}
    frame = pd.concat([rows[name] for name, count in counts.items() for _ in range(count)])
    part = sections.comparisons(results, frame)
    assert len(part.tables) == opened
    sizes = [count for count in counts.values() if count]
    assert [len(table.rows) for table in part.tables] == sizes[:opened]
    assert [len(fold.table.rows) for fold in part.folds] == sizes[opened:]


def test_nothing_compared_is_no_part(results, compared):
    assert sections.comparisons(results, compared.iloc[:0]) is None


def test_one_seed_each_is_no_part(results):
    assert sections.regimes(results, compare_regimes(results)) is None


def test_regimes_have_means_then_tests(seeded):
    tested = compare_regimes(seeded)
    part = sections.regimes(seeded, tested)
    assert part.texts == [
        "The seed is the unit here: a regime's mean is that of its networks' means, and its interval says "
        "how far another training may lie."
    ]
    averages = regime_means(seeded)
    for table, name in zip(part.tables, ("none", "integrated_gradients"), strict=True):
        rows = contrasts.headline_rows(averages, seeded, name)
        assert table == contrasts.regime_means_table(rows, seeded, name)
    shown = [contrasts.headline_rows(tested, seeded, name) for name in ("none", *seeded.attributions)]
    found = [int((rows.p_holm < 0.05).sum()) for rows in shown]
    assert [fold.summary for fold in part.folds] == [
        "saliency: 39 means",
        f"Tests, accuracy: 2 comparisons, {found[0]} significant",
        f"Tests, integrated gradients: 13 comparisons, {found[1]} significant",
        f"Tests, saliency: 13 comparisons, {found[2]} significant",
    ]


def test_one_regime_of_two_seeds_is_tested_against_none(seeded):
    names = ("pgd_0", "pgd_1")
    card = {**seeded.card, "checkpoints": {name: seeded.card["checkpoints"][name] for name in names}}
    table = seeded.table[seeded.table.checkpoint.isin(names) & (seeded.table.attack == "unattacked")]
    alone = dataclasses.replace(seeded, card=card, table=table)
    part = sections.regimes(alone, compare_regimes(alone))
    assert [len(table.rows) for table in part.tables] == [1, 1]
    assert [fold.summary for fold in part.folds] == ["saliency: 1 mean"]


def test_samples_are_those_of_the_panels(results):
    part = sections.samples(results)
    assert part.texts == [
        "What the strongest attack does to single samples: the least and the most robust ones by their "
        "score, before and after. Both maps of a sample share one scale of colour."
    ]
    assert [group.title for group in part.groups] == [
        f"{checkpoint}: {attribution} under eXIAA, alpha 0.15, k 0.6"
        for attribution in ("integrated gradients", "saliency")
        for checkpoint in ("natural", "pgd")
    ]


def test_every_metric_is_explained_before_the_words_of_the_page(results):
    found = sections.glossary(results)
    assert found[:5] == [
        ("top k", "Mean top_k. Higher is more robust."),
        ("LENS precision", "Mean lens_precision. Higher is more robust."),
        ("change", "Mean change. Lower is more robust."),
        ("SSIM", "Mean ssim. Higher is more robust."),
        ("confidence change", "Mean confidence_change. Lower is more robust."),
    ]
    assert [word for word, _ in found[5:]] == [
        "kept", "failed", "excluded", "strongest attack", "95 % interval", "effect", "Holm",
    ]  # fmt: skip
    assert all(text.endswith(".") for _, text in found)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"higher_is_better": None}, "Mean top_k."),
        ({"description": ""}, "lit_xai.metrics.top_k.TopKIntersection. Higher is more robust."),
        ({"description": None, "class_path": ""}, "Higher is more robust."),
        ({"description": "", "class_path": "", "higher_is_better": None}, ""),
    ],
)
def test_a_metric_is_explained_by_what_is_known(results, change, text):
    entry = {**results.card["metrics"]["top_k"], **change}
    card = {**results.card, "metrics": {"top_k": entry}}
    assert sections.glossary(dataclasses.replace(results, card=card))[0] == ("top k", text)
