import numpy as np
import pytest

from lit_xai.reporting.plots.style import styled
from lit_xai.reporting.plots.tiles import Axis, Matrix, names_fit, tile_colours, tile_plot, tile_width
from lit_xai.reporting.plots.words import NOTHING
from tests.reporting.plots.test_style import luminance

ROWS, COLUMNS = Axis("k", ["0.2", "0.1"]), Axis("alpha", ["1", "2", "3"])
VALUES = np.array([[0.0, 0.5, 1.0], [0.25, np.nan, 0.75]])


@styled()
def draw(*matrices, **options):
    return tile_plot(
        [Matrix(title, values) for title, values in matrices], ROWS, COLUMNS, heading="h", **options
    )


def tiles(panel):
    return {
        (round(tile.get_x() + 0.46), round(tile.get_y() + 0.46)): tile.get_facecolor()
        for tile in panel.get_children()
        if type(tile).__name__ == "Rectangle" and tile is not panel.patch
    }


@pytest.mark.parametrize("share", np.linspace(0, 1, 21))
def test_the_number_is_readable_on_its_tile(share):
    tile, text = (luminance(colour) for colour in tile_colours(share))
    assert (max(tile, text) + 0.05) / (min(tile, text) + 0.05) >= 4.5


def test_more_is_darker():
    shades = [luminance(tile_colours(share)[0]) for share in np.linspace(0, 1, 21)]
    assert shades == sorted(shades, reverse=True)


def test_every_tile_has_its_number_in_its_row_and_column():
    panel = draw(("a", VALUES)).axes[0]
    written = {(text.get_position()[0], text.get_position()[1]): text.get_text() for text in panel.texts}
    assert written == {
        (0, 0): "0.00",
        (1, 0): "0.50",
        (2, 0): "1.00",
        (0, 1): "0.25",
        (1, 1): NOTHING,
        (2, 1): "0.75",
    }
    assert [label.get_text() for label in panel.get_yticklabels()] == ["k 0.2", "k 0.1"]
    assert [label.get_text() for label in panel.get_xticklabels()] == ["1", "2", "3"]
    low, high = panel.get_ylim()
    assert low > high


def test_panels_share_one_scale_of_colour():
    first, second = draw(("a", VALUES), ("b", 4 * VALUES)).axes
    assert tiles(first)[2, 0] == tiles(second)[0, 1]
    assert tiles(first)[0, 0] == tiles(second)[0, 0]
    assert tiles(first)[2, 0] != tiles(second)[2, 0]
    # What has no number is hardly seen.
    assert tiles(first)[1, 1][3] == pytest.approx(0.06)


def test_ends_widen_the_scale():
    alone, wide = draw(("a", VALUES)).axes[0], draw(("a", VALUES), ends=(0.0, 4.0)).axes[0]
    assert tiles(alone)[2, 0] != tiles(wide)[2, 0]
    assert tiles(alone)[1, 0] != tiles(wide)[1, 0]
    assert tiles(alone)[0, 0] == tiles(wide)[0, 0]


def test_the_lowest_is_the_darkest_where_the_scale_falls():
    rising, falling = draw(("a", VALUES)).axes[0], draw(("a", VALUES), falling=True).axes[0]
    assert tiles(falling)[0, 0] == tiles(rising)[2, 0]
    assert tiles(falling)[2, 0] == tiles(rising)[0, 0]


def test_infinite_numbers_leave_the_scale_as_it_is():
    values = VALUES.copy()
    values[0, 1] = np.inf
    panel = draw(("a", values)).axes[0]
    assert tiles(panel)[2, 0] == tiles(draw(("a", VALUES)).axes[0])[2, 0]
    assert tiles(panel)[1, 0][3] == pytest.approx(0.06)
    assert panel.texts[1].get_text() == "\u221e"


def test_names_are_broken_at_spaces_where_there_is_room():
    rows = Axis("", ["integrated gradients", "saliency"])
    assert names_fit(rows, rows)
    assert not names_fit(rows, Axis("", ["integrated gradients"] * 5))
    assert not names_fit(Axis("", ["x" * 40]), Axis("", ["a"]))


def test_equal_numbers_have_a_colour():
    assert len(set(tiles(draw(("a", np.ones((2, 3)))).axes[0]).values())) == 1


def test_the_diagonal_is_marked():
    panel = draw(("a", VALUES), diagonal="=").axes[0]
    assert [text.get_text() for text in panel.texts] == ["=", "0.50", "1.00", "0.25", "=", "0.75"]


@pytest.mark.parametrize(
    ("panels", "columns", "beside"), [(1, 3, 1), (2, 3, 2), (3, 2, 3), (4, 2, 2), (5, 2, 3), (3, 9, 1)]
)
def test_as_many_panels_beside_one_another_as_have_room(panels, columns, beside):
    axis = Axis("", ["1"] * columns)
    values = np.zeros((2, columns))
    with styled():
        figure = tile_plot([Matrix("a", values)] * panels, ROWS, axis, heading="h")
    lefts = {round(panel.get_position().x0, 6) for panel in figure.axes}
    assert len(lefts) == beside
    assert max(panel.get_position().x1 for panel in figure.axes) < 1
    assert figure.axes[0].get_position().width * 400 == pytest.approx(
        columns * tile_width(ROWS, axis, panels)
    )
