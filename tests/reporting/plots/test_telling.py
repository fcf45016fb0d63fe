import numpy as np
import pytest

from lit_xai.reporting.plots.telling import drawable, not_drawn, samples_told, sentences


def test_what_has_a_place_on_an_axis():
    values = [0.0, -5.0, 1e99, -1e100, np.inf, -np.inf, np.nan]
    assert drawable(values).tolist() == [True, True, True, False, False, False, False]


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ([], ""),
        ([1], "Means of 1 sample."),
        ([1200, 1200], "Means of 1,200 samples."),
        ([9, 7, 8], "Means of 7 to 9 samples."),
    ],
)
def test_numbers_of_samples(counts, words):
    assert samples_told(counts) == words


def test_what_is_not_drawn_and_why():
    values = {"a": np.inf, "b": -np.inf, "c": np.nan, "d": 1e200}
    assert not_drawn(list(values.items())) == (
        "Not drawn: a (infinite); b (minus infinite); c (undefined); d (too large)."
    )
    assert not_drawn([("a", np.nan)] * 8).endswith("; and 2 more.")
    assert not_drawn([]) == ""


def test_sentences_leave_out_what_is_empty():
    assert sentences("A.", "", "B.") == "A. B."
