import numpy as np
import pytest

from lit_xai.reporting.plots.lines import Line, apart, covers, line_plot, told
from lit_xai.reporting.plots.style import look, styled
from lit_xai.reporting.plots.units import units

PLACES = {"natural": 0, "pgd": 1}


def line(checkpoint, values=(1.0, 0.5), panel=0, **others):
    values = np.array(values)
    across = np.arange(len(values)) * 1.0
    place = PLACES[checkpoint]
    return Line(panel, place, checkpoint, across, values, values - 0.1, values + 0.1, **others)


@styled()
def draw(results, titles, lines, **options):
    return line_plot(units(results), titles, lines, heading="metric", below="radius", **options)


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
    assert [text.get_text() for text in figure.texts] == [
        "natural",
        "pgd",
        "metric",
        "one",
        "two",
        "shaded: 95 % interval",
        "radius",
    ]
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
    assert "shaded: 95 % interval" in written(figure)


def test_nothing_is_said_of_bands_without_width(results):
    bare = line("pgd")._replace(low=np.array([1.0, 0.5]), high=np.array([1.0, 0.5]))
    seed = line("natural", is_seed=True)
    assert "shaded: 95 % interval" not in written(draw(results, ["one"], [bare, seed]))


def test_many_epochs_have_no_marks(results):
    assert (
        draw(results, ["one"], [line("pgd", np.linspace(0, 1, 13))]).axes[0].lines[0].get_marker() == "None"
    )


def test_an_axis_of_epochs_has_whole_numbers(results):
    figure = draw(results, ["one"], [line("pgd", (0.1, 0.2, 0.3))], whole=True)
    ticks = [tick for tick in figure.axes[0].get_xticks() if 0 <= tick <= 2]
    assert ticks == [0, 1, 2]


def test_words_say_where_a_line_begins_and_ends():
    lines = [line("natural"), line("pgd", (np.nan, 0.25))]
    words = "One: natural 1.00 at 0, 0.50 at 1; pgd 0.25 at 1. Not drawn: pgd at 0 (undefined)."
    assert told(["one"], lines, "at") == words


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 1e300])
def test_only_what_has_a_place_is_drawn(results, value):
    figure = draw(results, ["one"], [line("natural", (0.4, value, 0.2)), line("pgd", (value, value))])
    panel = figure.axes[0]
    assert np.array_equal(panel.lines[0].get_ydata(), [0.4, np.nan, 0.2], equal_nan=True)
    assert written(figure).count("pgd") == 0
    assert panel.get_ylim() == pytest.approx((0, 0.524))


def test_several_panels_are_told_apart_and_a_control_once():
    lost = line("pgd", (np.inf, 0.1), panel=1)
    control = line("natural", (0.5, -np.inf), dashes=(1.0, 1.0))
    words = told(
        ["one", "two"], [lost, control, control._replace(panel=1)], "at", [line("natural", (np.nan,))]
    )
    assert words.endswith(
        "Not drawn: pgd, two, at 0 (infinite); natural at 1 (minus infinite); natural at 0 (undefined)."
    )


def test_a_covered_line_is_wider_and_says_so(results):
    figure = draw(results, ["one"], [line("natural", (1.0, 0.5, 0.0)), line("pgd", (1.0, 0.501, 0.3))])
    below, above = figure.axes[0].lines[:2]
    assert (below.get_color(), above.get_color()) == (look(0).colour, look(1).colour)
    assert below.get_linewidth() > above.get_linewidth() == 2
    assert below.get_markersize() > above.get_markersize()
    assert "shaded: 95 % interval; wider: below another" in written(figure)
    apart_lines = draw(results, ["one"], [line("natural", (1.0, 0.5, 0.0)), line("pgd", (1.0, 0.6, 0.3))])
    assert {drawn.get_linewidth() for drawn in apart_lines.axes[0].lines} == {2}
    assert "shaded: 95 % interval" in written(apart_lines)


def test_a_line_in_another_panel_covers_nothing(results):
    figure = draw(results, ["one", "two"], [line("natural"), line("pgd", panel=1)])
    assert {drawn.get_linewidth() for panel in figure.axes for drawn in panel.lines} == {2}


def test_covering_takes_two_neighbours():
    first = line("natural", (0.1, 0.5, 0.9))
    assert covers(line("pgd", (0.1, 0.505, 0.2)), first, 0.01)
    assert not covers(line("pgd", (0.1, 0.4, 0.9)), first, 0.01)
    assert not covers(line("pgd", (np.nan, np.nan, 0.9)), first, 0.01)
    assert covers(line("pgd", (0.3,)), line("natural", (0.3,)), 0.01)


def test_dashes_of_different_networks_begin_elsewhere(results):
    dashed = [line(name, dashes=(2.5, 2.0)) for name in PLACES]
    figure = draw(results, ["one"], [line("natural", (0.2, 0.1)), *dashed])
    phases = [drawn._unscaled_dash_pattern[0] for drawn in figure.axes[0].lines[:2]]
    assert phases == [0, 2.25]


def test_seeds_are_thin_and_have_no_names(results):
    figure = draw(results, ["one"], [line("natural", is_seed=True), line("natural", (0.9, 0.4))])
    assert [drawn.get_linewidth() for drawn in figure.axes[0].lines[:2]] == [0.7, 2]
    assert written(figure).count("natural") == 1
    assert "single seeds" in written(figure)
