import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from lit_xai.reporting.plots.density import density, draw_scores, quartiles
from lit_xai.reporting.plots.style import look


def drawn(values):
    panel = Figure().add_subplot()
    panel.set_ylim(100, 0)
    draw_scores(panel, np.array(values), float(np.mean(values)), 50.0, look(0))
    return panel


def test_a_density_is_that_of_scipy():
    values = np.random.default_rng(0).normal(size=300)
    places, heights = density(values)
    assert (places[0], places[-1]) == (values.min(), values.max())
    assert heights == pytest.approx(gaussian_kde(values)(places), abs=2e-3)
    assert heights.max() > 0.3


def test_quartiles_are_those_of_a_box_plot():
    values = np.array([0.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 40.0])
    assert quartiles(values) == pytest.approx((10.0, 10.75, 12.5, 14.25, 15.0))


def test_many_samples_are_a_violin_between_their_ends():
    values = np.random.default_rng(0).random(50)
    panel = drawn(values)
    corners = panel.collections[0].get_paths()[0].vertices
    assert (corners[:, 0].min(), corners[:, 0].max()) == (values.min(), values.max())
    assert (corners[:, 1].min(), corners[:, 1].max()) == pytest.approx((43, 57), abs=0.3)
    assert panel.lines[-1].get_xdata() == [pytest.approx(values.mean())]


def test_few_samples_are_a_box_with_whiskers():
    values = np.arange(12.0)
    panel = drawn(values)
    assert not panel.collections
    assert list(panel.lines[0].get_xdata()) == [0, 11]
    (box,) = panel.findobj(lambda artist: type(artist).__name__ == "Rectangle" and artist is not panel.patch)[
        :1
    ]
    assert (box.get_x(), box.get_width()) == (2.75, 5.5)


def test_few_values_are_discs_as_large_as_their_share():
    panel = drawn([0.0] * 10 + [1.0] * 30)
    discs = panel.collections[0]
    assert discs.get_offsets()[:, 0].tolist() == [0, 1]
    assert discs.get_sizes()[1] == 3 * discs.get_sizes()[0]
