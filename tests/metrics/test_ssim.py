import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from skimage.metrics import structural_similarity

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.ssim import ImageSSIM, MapSSIM, map_ssim, ssim
from lit_xai.noise import Noise
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_metric_contract

EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
BORDERS = pytest.mark.parametrize("border", ["mirror", "cut"])
SCALES = pytest.mark.parametrize("scale", ["min_max", "max"])


def similarity(image, image_adv, border):
    """Scikit-image leaves out the five pixels at the border; given five more, it leaves out those."""
    margin = 5 if border == "mirror" else 0
    first, second = (
        np.pad(pixels.double().numpy(), ((0, 0), (margin, margin), (margin, margin)), mode="reflect")
        for pixels in (image, image_adv)
    )
    return structural_similarity(
        first,
        second,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=1,
    )


def similarities(first, second, border):
    return [similarity(*both, border) for both in zip(first, second, strict=True)]


def scaled(maps, scale):
    """Scale each map by itself, with numpy, and give it a channel."""
    rows = []
    for values in maps.double().numpy():
        lifted = values - values.min() if scale == "min_max" else values
        rows.append(lifted / lifted.max() if lifted.max() else lifted)
    return torch.from_numpy(np.stack(rows))[:, None]


def assert_equal(found, expected):
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12)


def pair(shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=generator, dtype=dtype)
    image_adv = (image + 0.3 * torch.randn(shape, generator=generator, dtype=dtype)).clamp(0, 1)
    return image, image_adv


@pytest.fixture
def result():
    """Maps that are large enough for both borders."""
    batch = tiny_batch(size=12)
    return run_attack(tiny_network(size=12), InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


@BORDERS
def test_image_metric_equals_scikit_image(model, result, border):
    scores = assert_metric_contract(ImageSSIM(border), model, result)
    assert_equal(scores, similarities(result.image, result.image_adv, border))


@BORDERS
@SCALES
@pytest.mark.parametrize("reduce", ["abs_sum", "sum_abs"])
def test_map_metric_equals_scikit_image_on_scaled_maps(model, result, border, scale, reduce):
    maps = [
        scaled(pixel_map(values, reduce), scale) for values in (result.attribution, result.attribution_adv)
    ]
    metric = MapSSIM(reduce, scale=scale, border=border)
    assert_equal(assert_metric_contract(metric, model, result), similarities(*maps, border))


@BORDERS
@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 17, 40), (2, 2, 11, 12)])
def test_equals_scikit_image_on_any_shape(border, shape):
    images = pair(shape)
    assert_equal(ssim(*images, border=border), similarities(*images, border))


@EXAMPLES
@given(
    maps=arrays(
        np.float64,
        st.tuples(st.just(2), st.integers(1, 3), st.integers(11, 13), st.integers(11, 14)),
        elements=st.sampled_from([-2.0, -0.25, 0.0, 1e-30, 0.5, 7.0]),
        fill=st.nothing(),
    ),
    border=st.sampled_from(["mirror", "cut"]),
    scale=st.sampled_from(["min_max", "max"]),
)
def test_maps_equal_scikit_image(maps, border, scale):
    first, second = torch.from_numpy(np.abs(maps) if scale == "max" else maps)
    found = map_ssim(first, second, scale=scale, border=border)
    assert_equal(found, similarities(scaled(first, scale), scaled(second, scale), border))
    assert ((found >= -1) & (found <= 1 + 1e-12)).all()


def test_the_border_decides_which_pixels_count():
    first = torch.zeros(1, 1, 22, 11, dtype=torch.float64)
    second = first.clone()
    second[0, 0, 0] = 1
    assert 0 < ssim(first, second).item() < 0.9
    # The first row is in the window of the first of the twelve rows that are left, not in that of the second.
    edge = ssim(first[:, :, :11], second[:, :, :11], border="cut").item()
    expected = (edge + 11) / 12
    assert ssim(first, second, border="cut").item() == pytest.approx(expected, abs=1e-12)
    assert edge < 0.99


def test_each_map_is_scaled_by_itself(result):
    first, second = (pixel_map(values) for values in (result.attribution, result.attribution_adv))
    before = map_ssim(first, second)
    shrunk = torch.logspace(-3, 2, 6, dtype=torch.float64)[:, None, None]
    assert_equal(map_ssim(first * shrunk, second * 1e-30), before.tolist())
    assert_equal(map_ssim(first + 3, second - 5 * shrunk), before.tolist())
    kept = map_ssim(first, second, scale="max")
    assert_equal(map_ssim(first * shrunk, second * 1e-30, scale="max"), kept.tolist())
    assert (kept - map_ssim(first + 3, second, scale="max")).abs().min() > 1e-3


@BORDERS
@SCALES
def test_a_constant_map_stays_flat(border, scale):
    zeros, ones = torch.zeros(1, 12, 12), torch.ones(1, 12, 12)
    assert map_ssim(zeros, zeros, scale=scale, border=border).item() == pytest.approx(1, abs=1e-12)
    assert map_ssim(0.3 * ones, 7 * ones, scale=scale, border=border).item() == pytest.approx(1, abs=1e-12)
    # Brightness 0 against 1 is the largest difference; with its mean taken off, a constant map is dark too.
    expected = 1 if scale == "min_max" else 1e-4 / (1 + 1e-4)
    assert map_ssim(zeros, 7 * ones, scale=scale, border=border).item() == pytest.approx(expected, abs=1e-12)


@BORDERS
def test_two_flat_images_differ_in_luminance_only(border):
    flat = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ssim(0.2 * flat, 0.6 * flat, border=border).item() == pytest.approx(expected, rel=0, abs=1e-12)


def test_an_unchanged_image_is_like_itself(model, result):
    same = replace(result, image_adv=result.image.clone(), attribution_adv=result.attribution.clone())
    for metric in (ImageSSIM(), MapSSIM()):
        assert metric.scores(model, same, None).tolist() == pytest.approx([1] * 6, rel=0, abs=1e-12)


@BORDERS
def test_single_precision_is_computed_in_double(border):
    first, second = pair((4, 3, 28, 28), torch.float32)
    double = first.double(), second.double()
    assert torch.equal(ssim(first, second, border=border), ssim(*double, border=border))
    for scale in ("min_max", "max"):
        maps = map_ssim(first[:, 0], second[:, 0], scale=scale, border=border)
        wide = map_ssim(*(images[:, 0] for images in double), scale=scale, border=border)
        assert maps.dtype == torch.float64
        assert torch.equal(maps, wide)


def test_defaults_and_options_change_the_score(model, result):
    images = [ImageSSIM(border).scores(model, result, None) for border in ("mirror", "cut")]
    assert (images[0] != images[1]).all()
    assert torch.equal(ImageSSIM().scores(model, result, None), images[0])
    options = [{}, {"reduce": "sum_abs"}, {"reduce": "sum"}, {"scale": "max"}, {"border": "cut"}]
    maps = [MapSSIM(**option).scores(model, result, None) for option in options]
    assert not any(torch.equal(maps[a], maps[b]) for a in range(5) for b in range(a))
    stated = MapSSIM("abs_sum", scale="min_max", border="mirror")
    assert torch.equal(stated.scores(model, result, None), maps[0])


def test_no_samples_give_no_scores():
    for border in ("mirror", "cut"):
        found = ssim(torch.zeros(0, 1, 12, 12), torch.zeros(0, 1, 12, 12), border=border)
        assert (found.shape, found.dtype) == ((0,), torch.float64)
    found = map_ssim(torch.zeros(0, 12, 12), torch.zeros(0, 12, 12))
    assert (found.shape, found.dtype) == ((0,), torch.float64)


@pytest.mark.parametrize(("border", "least"), [("mirror", 6), ("cut", 11)])
def test_refuses_images_smaller_than_the_window(model, result, border, least):
    fits, small = torch.ones(2, 1, least, least), torch.ones(2, 1, least + 3, least - 1)
    assert ssim(fits, fits, border=border).tolist() == pytest.approx([1, 1], abs=1e-12)
    message = rf"at least {least} x {least} pixels for SSIM with `border` {border}, but got"
    with pytest.raises(ValueError, match=rf"{message} \({least + 3}, {least - 1}\)"):
        ssim(small, small, border=border)
    with pytest.raises(ValueError, match=rf"{message} \({least - 1}, {least + 3}\)"):
        map_ssim(small[:, 0].transpose(1, 2), small[:, 0].transpose(1, 2), border=border)
    narrow = replace(result, image=small, image_adv=small, attribution=small, attribution_adv=small)
    for metric in (ImageSSIM(border), MapSSIM(border=border)):
        with pytest.raises(ValueError, match=message):
            metric.update(model, narrow, Noise(0, result.sample_id))


def test_refuses_images_without_channels():
    with pytest.raises(ValueError, match=r"images of shape \(N, C, H, W\), but got \(2, 12, 12\)"):
        ssim(torch.ones(2, 12, 12), torch.ones(2, 12, 12))


def test_refuses_signed_maps_where_zero_is_kept():
    maps = torch.ones(2, 12, 12)
    signed = maps.clone()
    signed[1, 3, 4] = -1e-6
    for both in ((maps, signed), (signed, maps)):
        with pytest.raises(ValueError, match=r"without negative values for `scale` max\. Use min_max\."):
            map_ssim(*both, scale="max")
    assert map_ssim(signed, signed).tolist() == pytest.approx([1, 1], abs=1e-12)
    with pytest.raises(ValueError, match="`scale` as min_max, or max of unsigned maps, but got max"):
        MapSSIM("sum", scale="max")


def test_refuses_unknown_options():
    images = torch.zeros(1, 1, 12, 12)
    with pytest.raises(ValueError, match="`border` as mirror or cut, but got zeros"):
        ssim(images, images, border="zeros")
    for metric in (ImageSSIM, MapSSIM):
        with pytest.raises(ValueError, match="`border` as mirror or cut, but got zeros"):
            metric(border="zeros")
    with pytest.raises(ValueError, match="`scale` as min_max or max, but got mean"):
        map_ssim(images[0], images[0], scale="mean")
    with pytest.raises(ValueError, match="`scale` as min_max, or max of unsigned maps, but got mean"):
        MapSSIM(scale="mean")
    with pytest.raises(ValueError, match="`reduce` as abs_sum or sum_abs or sum, but got max"):
        MapSSIM("max")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_refuses_what_does_not_fit(value):
    maps = torch.ones(3, 12, 12)
    broken = maps.clone()
    broken[1, 0, 0] = value
    for both in ((maps, broken), (broken, maps)):
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            map_ssim(*both)
        with pytest.raises(ValueError, match="NaN or infinity for sample 1 of the batch"):
            ssim(*(values[:, None] for values in both))
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(3, 12, 12\) and \(3, 11, 12\)"):
        map_ssim(maps, maps[:, 1:])
    with pytest.raises(ValueError, match=r"maps of one shape, but got \(3, 1, 12, 12\) and \(3, 1, 11, 12\)"):
        ssim(maps[:, None], maps[:, None, 1:])


def test_higher_is_better():
    assert ImageSSIM.higher_is_better is True
    assert MapSSIM.higher_is_better is True
