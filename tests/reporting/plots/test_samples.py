import base64
import io

import matplotlib
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from lit_xai.reporting.plots.samples import example_panels


def pixels(uri):
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def stored(results, example):
    rows = results.examples
    cell = (rows.checkpoint == example.checkpoint) & (rows.attribution == example.attribution)
    return rows[cell & (rows.attack == example.attack) & (rows.extreme == example.extreme)].iloc[0]


def test_the_worst_and_the_best_under_the_strongest_attack(results):
    found = example_panels(results)
    assert [(one.checkpoint, one.attribution, one.extreme) for one in found] == [
        (checkpoint, attribution, extreme)
        for checkpoint in ("natural", "pgd")
        for attribution in ("integrated_gradients", "saliency")
        for extreme in ("worst", "best")
    ]
    assert {one.attack for one in found} == {"exiaa_alpha_0_15_k_0_6"}
    assert found[1][4:11] == ("best", 1, 1, 0.9, 3, 3, True)


def test_images_are_the_stored_pixels(results):
    example = example_panels(results)[0]
    row = stored(results, example)
    image = np.frombuffer(row.image, dtype=np.uint8).reshape(8, 8)
    assert (pixels(example.image) == image[..., None]).all()
    assert (pixels(example.image_adv) == 255 - image[..., None]).all()


def test_both_maps_have_one_scale_from_zero(results):
    example = example_panels(results)[0]
    row = stored(results, example)
    before, after = (np.frombuffer(row[key], dtype=np.float32).reshape(8, 8) for key in ("map", "map_adv"))
    top = max(before.max(), after.max())
    for uri, values in ((example.map, before), (example.map_adv, after)):
        expected = matplotlib.colormaps["inferno"]((values / top * 255).round().astype(int))[..., :3] * 255
        assert np.abs(pixels(uri) - expected).max() <= 0.5


def example_with(changed, results, **columns):
    rows = results.examples.head(0).copy()
    attack = results.strongest("pgd", "saliency")
    row = results.examples[(results.examples.attack == attack) & (results.examples.extreme == "worst")].iloc[
        :1
    ]
    rows = row.assign(
        checkpoint="pgd", attribution="saliency", **{key: [value] for key, value in columns.items()}
    )
    return example_panels(changed(examples=rows))


def test_colour_images(changed, results):
    image = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    (example,) = example_with(changed, results, channels=3, image=image.tobytes(), image_adv=image.tobytes())
    assert (pixels(example.image) == image).all()


@pytest.mark.parametrize("key", ["map", "map_adv"])
def test_the_fainter_map_is_fainter(changed, results, key):
    maps = {"map": np.ones(64, dtype=np.float32), "map_adv": np.ones(64, dtype=np.float32)}
    maps[key] *= 4
    (example,) = example_with(changed, results, **{name: values.tobytes() for name, values in maps.items()})
    brightest, quarter = (255 * np.array(matplotlib.colormaps["inferno"](place))[:3] for place in (255, 64))
    for name in maps:
        expected = brightest if name == key else quarter
        assert np.abs(pixels(getattr(example, name)) - expected).max() <= 0.5


def test_an_empty_or_infinite_map_is_dark(changed, results):
    nothing, infinite = np.zeros(64, dtype=np.float32), np.full(64, np.inf, dtype=np.float32)
    (example,) = example_with(changed, results, map=nothing.tobytes(), map_adv=infinite.tobytes())
    assert pixels(example.map).max() <= 4
    assert pixels(example.map_adv).max() <= 4


def test_bytes_of_another_size_are_refused(changed, results):
    with pytest.raises(ValueError, match=r"Expected `map` of shape \(8, 8\) in an example, but got 4 values"):
        example_with(changed, results, map=np.zeros(4, dtype=np.float32).tobytes())


def test_a_limit_in_order_of_place(changed, results):
    rows = results.examples
    more = [rows.assign(place=place, sample_id=100 + place) for place in (3, 1, 2)]
    several = changed(examples=pd.concat(more))
    found = [
        one
        for one in example_panels(several, limit=2)
        if one.checkpoint == "pgd" and one.attribution == "saliency"
    ]
    assert [(one.extreme, one.place, one.sample_id) for one in found] == [
        ("worst", 1, 101),
        ("worst", 2, 102),
        ("best", 1, 101),
        ("best", 2, 102),
    ]


def test_no_examples(empty):
    assert example_panels(empty) == []
