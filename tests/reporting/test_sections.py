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
    assert part.texts == [
        "Every mean stands with its 95 % interval, but for those that are undefined or of too few samples, "
        "and for “kept only”. A press on a heading sorts."
    ]
    assert part.tables == [tables.attribution(results, "integrated_gradients")]
    # Thirteen attacks, two checkpoints.
    assert part.folds == [("saliency", "26 rows", tables.attribution(results, "saliency"))]


def test_one_row_is_one_row(results):
    chosen = results.table.query("attack == 'unattacked' and checkpoint == 'pgd'")
    part = sections.means(dataclasses.replace(results, table=chosen))
    assert [fold[:2] for fold in part.folds] == [("saliency", "1 row")]


def test_comparisons_are_told_with_their_number(results, compared):
    part = sections.comparisons(results, compared)
    # An accuracy and a PGD accuracy; two attributions, thirteen attacks, five metrics.
    assert part.texts == [
        "Paired t-tests on the samples scored on both networks: what chance could change is the choice of "
        "samples, not the training. Shown are the accuracies and top-k intersection; the complete table "
        "of 132 comparisons is in comparisons.csv."
    ]
    assert [table.caption.partition(":")[0] for table in part.tables] == [
        "Accuracy", "Top-k intersection, integrated gradients",
    ]  # fmt: skip
    shown = compared.query("attribution == 'saliency' and metric == 'top_k'")
    assert [fold[:2] for fold in part.folds] == [("saliency", contrasts.summary(shown))]
    assert part.folds[0].table == contrasts.checkpoint_table(shown, results, "saliency")


def test_many_comparisons_have_a_separator(results, compared):
    many = pd.concat([compared] * 10, ignore_index=True)
    assert "table of 1,320 comparisons" in sections.comparisons(results, many).texts[0]


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
    assert [fold[:2] for fold in part.folds] == [
        ("saliency", "39 means"),
        ("Tests, accuracy", contrasts.summary(shown[0])),
        ("Tests, integrated gradients", contrasts.summary(shown[1])),
        ("Tests, saliency", contrasts.summary(shown[2])),
    ]


def test_one_regime_of_two_seeds_is_tested_against_none(seeded):
    names = ("pgd_0", "pgd_1")
    card = {**seeded.card, "checkpoints": {name: seeded.card["checkpoints"][name] for name in names}}
    table = seeded.table[seeded.table.checkpoint.isin(names) & (seeded.table.attack == "unattacked")]
    alone = dataclasses.replace(seeded, card=card, table=table)
    part = sections.regimes(alone, compare_regimes(alone))
    assert [len(table.rows) for table in part.tables] == [1, 1]
    assert [fold[:2] for fold in part.folds] == [("saliency", "1 mean")]


def test_samples_are_those_of_the_panels(results):
    part = sections.samples(results)
    assert part.texts == [
        "What the strongest attack does to single samples: the least and the most robust ones by their "
        "score, before and after. Both maps of a sample share one scale of colour."
    ]
    assert [group[:3] for group in part.groups] == [
        (checkpoint, attribution, "eXIAA, alpha 0.15, k 0.6")
        for attribution in ("integrated gradients", "saliency")
        for checkpoint in ("natural", "pgd")
    ]


@pytest.mark.parametrize(
    ("titles", "words"),
    [
        (["Distribution of change: a", "Distribution of SSIM: a", "Distribution of SSIM: b"], "change, SSIM"),
        (["Change under eXIAA: a", "SSIM under eXIAA: b"], "Change under eXIAA, SSIM under eXIAA"),
        (["Radius: a", "Radius: b"], "a, b"),
        (["Radius: a"], "Radius"),
        (["of", "of x"], "of, of x"),
        ([f"plot {place}" for place in range(9)], "0, 1, 2, 3, 4, 5 and 3 others"),
        ([f"plot {place}" for place in range(7)], "0, 1, 2, 3, 4, 5 and 1 other"),
        ([], ""),
    ],
)
def test_what_is_folded_is_named(titles, words):
    assert sections.subjects(titles) == words


def test_further_plots_are_named_in_their_part(results, compared, drawn, monkeypatch):
    drawn()
    plots = [Plot(f"p{place}", f"Distribution of {place}: a", "", Figure()) for place in range(6)]
    monkeypatch.setattr(sections, "gallery", lambda _: {"Distributions": plots})
    parts = sections.parts(results, compared, compare_regimes(results))
    assert {part.anchor: part.more for part in parts if part.plots} == {"plots-1": "4, 5"}


def test_a_name_that_turns_is_isolated_in_captions_and_cells(tmp_path, drawn):
    drawn()
    names = ("\u202eabc", "\u05d0\u05d1")
    results = read(write_results(tmp_path, names, attributions=("\u05d2",), samples=8))
    parts = sections.parts(results, compare_checkpoints(results), compare_regimes(results))
    (means,) = (part for part in parts if part.anchor == "means")
    assert means.tables[0].caption.startswith("Means of \u2068\u05d2\u2069 with 95 % intervals")
    assert [row[1].text for row in means.tables[0].rows[:2]] == list(names)
    (accuracy,) = (part for part in parts if part.anchor == "accuracy")
    assert accuracy.tables[0].columns[4].title == "\u2068\u05d2\u2069: top-k intersection"
    cell = tables.Cell("\u05d0\u05d1 \u2192 \u202eabc", 1.0, "note")
    one = sections._upright(tables.Table("", [], [[cell]]), names)
    assert one.rows == [[("\u2068\u05d0\u05d1\u2069 \u2192 \u2068\u202eabc\u2069", 1.0, "note")]]
