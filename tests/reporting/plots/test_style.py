import re
from pathlib import Path

import matplotlib
import pytest
from matplotlib.figure import Figure

from lit_xai import reporting
from lit_xai.reporting.plots.style import (
    COLOURS,
    WIDTH,
    Entry,
    blank,
    draw_legend,
    frame,
    legend_rows,
    look,
    short_tick,
    small_multiples,
    styled,
)

TEMPLATES = Path(reporting.__file__).parent / "templates"


def luminance(colour):
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def grounds():
    """What lies behind plots: pages and cards, light, dark and in print."""
    text = (TEMPLATES / "style.css").read_text()
    return sorted(set(re.findall(r"--(?:paper|raised): (#[0-9a-f]{6});", text)))


def test_the_grounds_are_light_and_dark():
    assert {"#ffffff", "#1c2024"} <= set(grounds())


@pytest.mark.parametrize("ground", grounds())
@pytest.mark.parametrize("colour", COLOURS)
def test_colours_are_seen_on_every_ground(colour, ground):
    low, high = sorted((luminance(colour), luminance(ground)))
    assert (high + 0.05) / (low + 0.05) >= 3


def test_the_first_64_checkpoints_look_different():
    assert len({look(place)[:2] for place in range(64)}) == 64
    assert look(8).colour == look(0).colour
    assert look(8).line != look(0).line


def test_settings_are_those_of_the_style_and_then_again_the_users():
    with matplotlib.rc_context({"text.usetex": True, "font.size": 33}):
        before = dict(matplotlib.rcParams)
        with styled():
            assert matplotlib.rcParams["text.usetex"] is False
            assert matplotlib.rcParams["text.parse_math"] is False
            assert matplotlib.rcParams["font.size"] == 12
        assert dict(matplotlib.rcParams) == before


def test_a_legend_breaks_where_it_is_full():
    entries = [Entry(name * 20, "#000000", "o", "-") for name in "abcd"]
    assert [[entry.text[0] for entry in row] for row in legend_rows(entries)] == [["a", "b"], ["c", "d"]]


@styled()
def test_the_mark_of_a_legend_is_in_the_middle_of_its_line():
    figure = blank(100)
    draw_legend(figure, [[Entry("a", "#000000", "s", "-")]])
    (line,) = figure.artists
    places = line.get_xdata()
    assert line.get_markevery() == [1]
    assert places[1] == pytest.approx((places[0] + places[2]) / 2)


def test_panels_stand_in_two_columns_inside_the_figure():
    figure, panels = small_multiples(["a", "b", "c"], [], heading="h", below="x")
    boxes = [panel.get_position() for panel in panels]
    assert boxes[0].y0 == pytest.approx(boxes[1].y0)
    assert boxes[2].x0 == pytest.approx(boxes[0].x0)
    assert boxes[0].x1 < boxes[1].x0
    assert boxes[2].y1 < boxes[0].y0
    assert min(box.y0 for box in boxes) > 0
    assert max(box.x1 for box in boxes) < 1
    assert figure.get_figwidth() * 72 == pytest.approx(WIDTH)


@pytest.mark.parametrize(
    ("low", "high", "limits"),
    [
        (0.1, 0.9, (0, 1)),
        (0.8, 0.9, (0.794, 1)),
        (0.5, 0.6, (0.494, 0.606)),
        (2.0, 40.0, (0, 42.28)),
        (0.5, 0.5, (0.47, 0.53)),
    ],
)
def test_limits_end_at_0_or_1_where_that_is_near(low, high, limits):
    panel = Figure().add_subplot()
    frame([panel], low, high)
    assert panel.get_ylim() == pytest.approx(limits)


def test_ticks():
    assert [short_tick(value) for value in (0.1 + 0.2, -0.5, 12000)] == ["0.3", "\u22120.5", "12k"]
