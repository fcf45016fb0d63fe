import numpy as np
import pytest

from lit_xai.reporting.plots.lines import Line, apart, line_plot, told
from lit_xai.reporting.plots.style import look, styled


def line(checkpoint, values=(1.0, 0.5), panel=0):
    values = np.array(values)
    return Line(panel, checkpoint, np.arange(len(values)) * 1.0, values, values - 0.1, values + 0.1)


@styled()
def draw(results, titles, lines, **options):
    return line_plot(results, titles, lines, heading="metric", below="radius", **options)


def written(figure):
    return [text.get_text() for text in figure.texts] + [text.get_text() for text in figure.axes[0].texts]


def test_labels_move_apart_and_stay_inside():
    assert apart([10, 12, 100], limit=100, distance=10) == [10, 20, 100]
    assert apart([95, 99], limit=100, distance=10) == [90, 100]
    assert apart([100, 96, 94], limit=100, distance=10) == [100, 90, 80]
    assert apart([], limit=100) == []


def test_a_single_panel_names_its_lines_at_their_ends(results):
    figure = draw(results, ["one"], [line("natural"), line("pgd", (1.0, 0.9))])
    names = {text.get_text(): text.get_position()[1] for text in figure.axes[0].texts}
    low, high = figure.axes[0].get_ylim()
    assert names == pytest.approx({"natural": (0.5 - low) / (high - low), "pgd": (0.9 - low) / (high - low)})
    assert "natural" not in [text.get_text() for text in figure.texts]


def test_several_panels_have_a_legend_and_one_range(results):
    figure = draw(results, ["one", "two"], [line("natural"), line("pgd", (0.3, 0.2), panel=1)])
    assert [text.get_text() for text in figure.texts] == ["natural", "pgd", "metric", "one", "two", "radius"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()
    assert figure.axes[1].get_ylim() == pytest.approx((0, 1.16))


def test_a_checkpoint_keeps_its_look_where_another_is_missing(results):
    figure = draw(results, ["one"], [line("pgd")])
    drawn = figure.axes[0].lines[0]
    assert (drawn.get_color(), drawn.get_marker()) == (look(1).colour, look(1).marker)


def test_a_band_is_the_interval(results):
    figure = draw(results, ["one"], [line("pgd")])
    corners = figure.axes[0].collections[0].get_paths()[0].vertices
    assert {(x, round(y, 6)) for x, y in corners} == {(0, 0.9), (0, 1.1), (1, 0.4), (1, 0.6)}


def test_many_epochs_have_no_marks(results):
    assert (
        draw(results, ["one"], [line("pgd", np.linspace(0, 1, 13))]).axes[0].lines[0].get_marker() == "None"
    )


def test_an_axis_of_epochs_has_whole_numbers(results):
    figure = draw(results, ["one"], [line("pgd", (0.1, 0.2, 0.3))], whole=True)
    ticks = [tick for tick in figure.axes[0].get_xticks() if 0 <= tick <= 2]
    assert ticks == [0, 1, 2]


def test_words_say_where_a_line_begins_and_ends(results):
    lines = [line("natural"), line("pgd", (np.nan, 0.25))]
    assert told(results, ["one"], lines, "at") == "One: natural 1.00 at 0, 0.50 at 1; pgd 0.25 at 1."
