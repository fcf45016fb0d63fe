"""The images of a report: which, in what order, how large, and what is said of them."""

import base64
import dataclasses
import io
import math

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lit_xai.reporting.panels import Panel, groups
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

STRONGEST = "exiaa_alpha_0_15_k_0_6"


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("results"), samples=8))


def changed(results, **columns):
    """Return the results with one example alone, some of its columns changed."""
    rows = results.examples
    cell = (rows.checkpoint == "pgd") & (rows.attribution == "saliency") & (rows.attack == STRONGEST)
    one = rows[cell & (rows.extreme == "best")]
    return dataclasses.replace(
        results, examples=one.assign(**{name: [value] for name, value in columns.items()})
    )


def only(results):
    (group,) = groups(results)
    ((sample,),) = group.kinds.values()
    return sample


def test_attributions_come_before_checkpoints_and_the_first_is_open(results):
    under = "eXIAA, alpha 0.15, k 0.6"
    assert [(*group[:3], group.is_open) for group in groups(results)] == [
        ("natural", "integrated gradients", under, True),
        ("pgd", "integrated gradients", under, True),
        ("natural", "saliency", under, False),
        ("pgd", "saliency", under, False),
    ]


def test_the_worst_stand_together_and_before_the_best(results):
    rows = results.examples
    more = pd.concat([rows, rows.assign(place=2, sample_id=rows.sample_id + 10)])
    for group in groups(dataclasses.replace(results, examples=more)):
        titles = {kind: [sample.title for sample in samples] for kind, samples in group.kinds.items()}
        assert list(titles) == ["worst", "best"]
        metric = "top-k intersection"
        assert titles["worst"] == [f"Worst 1: {metric} 0.100", f"Worst 2: {metric} 0.100"]
        assert titles["best"] == [f"Best 1: {metric} 0.900", f"Best 2: {metric} 0.900"]


def test_a_sample_tells_its_score_and_its_prediction(results):
    (worst,), (best,) = groups(results)[0].kinds.values()
    assert (worst.title, worst.text) == (
        "Worst 1: top-k intersection 0.100", "Sample 0: class 3, predicted 3; prediction kept.",
    )  # fmt: skip
    assert (best.title, best.text) == (
        "Best 1: top-k intersection 0.900", "Sample 1: class 3, predicted 3; prediction kept.",
    )  # fmt: skip


def test_every_number_is_the_example_s_own(results):
    columns = {"place": 2, "sample_id": 41, "value": -0.25, "label": 7, "target": 5, "kept": False}
    sample = only(changed(results, metric="map_ssim", **columns))
    assert sample.title == "Best 2: map SSIM −0.250"
    assert sample.text == "Sample 41: class 7, predicted 5; prediction changed."


def test_an_undefined_score_is_a_dash(results):
    assert only(changed(results, value=math.nan)).title == "Best 1: top-k intersection –"


def test_four_images_in_order_and_in_words(results):
    panels = only(results := changed(results, sample_id=41)).panels
    under = "under eXIAA, alpha 0.15, k 0.6"
    assert [(panel.alt, panel.caption) for panel in panels] == [
        ("Image of sample 41", "image"),
        ("Map of saliency on sample 41", "map before"),
        (f"Image of sample 41 {under}", "attacked"),
        (f"Map of saliency on sample 41 {under}", "map after"),
    ]
    row = results.examples.iloc[0]
    for panel, column in ((panels[0], "image"), (panels[2], "image_adv")):
        stored = np.frombuffer(row[column], dtype=np.uint8).reshape(8, 8)
        shown = Image.open(io.BytesIO(base64.b64decode(panel.source.removeprefix("data:image/png;base64,"))))
        assert (np.asarray(shown) == stored).all()


@pytest.mark.parametrize(("height", "width"), [(3, 300), (257, 2), (1, 1)])
def test_the_size_is_that_of_the_pixels(results, height, width):
    size = height * width
    pixels, maps = bytes(3 * size), np.ones(size, dtype=np.float32).tobytes()
    shape = {"height": height, "width": width, "channels": 3}
    images = {"image": pixels, "image_adv": pixels, "map": maps, "map_adv": maps}
    for panel in only(changed(results, **shape, **images)).panels:
        assert (panel.width, panel.height) == (width, height)
        assert panel.is_small == (size == 1)


@pytest.mark.parametrize(
    ("width", "height", "small"), [(96, 96, True), (97, 96, False), (96, 97, False), (28, 28, True)]
)
def test_pixels_are_seen_up_to_a_size(width, height, small):
    assert Panel("", width, height, "", "").is_small is small


def test_attacks_that_words_would_merge_keep_their_names(results):
    attacks = {**results.card["attacks"], "other": results.card["attacks"][STRONGEST]}
    merged = dataclasses.replace(changed(results), card={**results.card, "attacks": attacks})
    (group,) = groups(merged)
    assert group[:3] == ("pgd", "saliency", STRONGEST)
    assert group.kinds["best"][0].panels[2].alt == f"Image of sample 1 under {STRONGEST}"


def test_no_examples_no_groups(results):
    assert groups(dataclasses.replace(results, examples=results.examples.iloc[:0])) == []


def test_a_metric_that_turns_leaves_the_score_as_it_is(results):
    sample = only(changed(results, metric="\u05d0\u05d1", value=0.25))
    assert sample.title == "Best 1: \u2068\u05d0\u05d1\u2069 0.250"
