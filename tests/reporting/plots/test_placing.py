import itertools

import numpy as np

from lit_xai.reporting.plots.placing import Box, place_labels
from lit_xai.reporting.plots.words import text_width


def boxes(points, texts, labels):
    for (x, y), text, label in zip(points, texts, labels, strict=True):
        width = text_width(text, 11)
        left = x + label.across - {"left": 0, "center": width / 2, "right": width}[label.align]
        yield left, y + label.up - 7, left + width, y + label.up + 7


def test_a_lonely_label_stands_at_the_upper_right():
    (label,) = place_labels([(50, 50)], ["a"], 11, Box(0, 0, 100, 100))
    assert (label.across, label.up, label.align) == (7, 11, "left")


def test_labels_cover_neither_each_other_nor_a_point_nor_the_edge():
    generator = np.random.default_rng(0)
    points = [(float(x), float(y)) for x, y in generator.uniform(20, 280, (8, 2))]
    texts = ["a name"] * 8
    found = list(boxes(points, texts, place_labels(points, texts, 11, Box(0, 0, 300, 300))))
    for first, second in itertools.combinations(found, 2):
        assert (
            first[2] <= second[0] or second[2] <= first[0] or first[3] <= second[1] or second[3] <= first[1]
        )
    for left, bottom, right, top in found:
        assert min(left, bottom) >= 0
        assert max(right, top) <= 300
        assert not any(left < x < right and bottom < y < top for x, y in points)


def test_a_label_does_not_lie_on_an_interval():
    room = Box(0, 0, 200, 200)
    (label,) = place_labels([(100, 100)], ["name"], 11, room, [Box(0, 110, 200, 112)])
    assert (label.across, label.up, label.align) == (7, -11, "left")
