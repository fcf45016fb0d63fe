import numpy as np
import pytest

from lit_xai.reporting.plots.scatter import draw_front, name_points, scatter_panel
from lit_xai.reporting.plots.style import styled


@pytest.fixture
def panel():
    with styled():
        numbers = np.array([0.6, 0.9]), np.array([0.2, 0.5])
        return scatter_panel(*numbers, heading="robust", below="accuracy", note="note")[1]


@pytest.mark.parametrize(("direction", "end"), [(1, 0), (-1, 1)])
def test_a_front_is_the_edge_of_what_its_points_beat(panel, direction, end):
    draw_front(panel, [0.6, 0.9], [0.5, 0.2], direction)
    line = panel.lines[-1]
    assert line.get_xdata() == pytest.approx([panel.get_xlim()[0], 0.6, 0.6, 0.9, 0.9])
    assert line.get_ydata() == pytest.approx([0.5, 0.5, 0.2, 0.2, panel.get_ylim()[end]])


def test_all_points_are_inside(panel):
    low, high = panel.get_xlim()
    assert low < 0.6 < 0.9 < high


def test_names_stand_at_their_points(panel):
    name_points(panel, {"a": (0.6, 0.5), "b": (0.9, 0.2)})
    assert {text.get_text(): text.xy for text in panel.texts} == {"a": (0.6, 0.5), "b": (0.9, 0.2)}


def test_names_leave_intervals_free(panel):
    point, high = (0.75, 0.35), 0.365
    name_points(panel, {"a": point})
    name_points(panel, {"a": point}, [((0.75, 0.6, 0.9), (high, 0.2, 0.5))])
    free, moved = panel.texts
    assert free.xyann == (7, 11)
    assert moved.xyann == (7, -11)
    name_points(panel, {"a": point}, [((0.75, np.nan, 0.9), (high, 0.2, np.nan))])
    assert panel.texts[-1].xyann == (7, 11)
