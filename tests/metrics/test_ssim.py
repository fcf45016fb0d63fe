from dataclasses import replace

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.ssim import ImageSSIM
from tests.contracts import assert_metric_contract


def similarity(image, image_adv):
    """Let scikit-image average over every pixel: it cuts off the five that are mirrored at the border."""
    first, second = (
        np.pad(pixels.numpy(), ((0, 0), (5, 5), (5, 5)), mode="reflect") for pixels in (image, image_adv)
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


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


def pair(result, shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(shape, generator=generator, dtype=dtype)
    image_adv = (image + 0.3 * torch.randn(shape, generator=generator, dtype=dtype)).clamp(0, 1)
    return replace(result, image=image, image_adv=image_adv)


def test_contract(model, result):
    scores = assert_metric_contract(ImageSSIM(), model, result)
    expected = [similarity(*images) for images in zip(result.image, result.image_adv, strict=True)]
    assert scores.tolist() == pytest.approx(expected, rel=0, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 1, 28, 28), (2, 3, 17, 40), (2, 2, 11, 12)])
def test_equals_scikit_image_with_mirrored_borders(model, result, shape):
    images = pair(result, shape)
    expected = [similarity(*both) for both in zip(images.image, images.image_adv, strict=True)]
    found = ImageSSIM().scores(model, images, None)
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12)


def test_single_precision_keeps_five_digits(model, result):
    images = pair(result, (4, 3, 28, 28), torch.float32)
    double = replace(images, image=images.image.double(), image_adv=images.image_adv.double())
    found = ImageSSIM().scores(model, images, None).double()
    torch.testing.assert_close(found, ImageSSIM().scores(model, double, None), rtol=0, atol=1e-5)


def test_an_unchanged_image_is_like_itself(model, result):
    same = replace(result, image_adv=result.image.clone())
    assert ImageSSIM().scores(model, same, None).tolist() == pytest.approx([1] * 6, rel=0, abs=1e-12)


def test_two_flat_images_differ_in_luminance_only(model, result):
    flat = torch.ones(1, 1, 12, 12, dtype=torch.float64)
    images = replace(result, image=0.2 * flat, image_adv=0.6 * flat)
    expected = (2 * 0.2 * 0.6 + 1e-4) / (0.2**2 + 0.6**2 + 1e-4)
    assert ImageSSIM().scores(model, images, None).item() == pytest.approx(expected, rel=0, abs=1e-12)


def test_higher_is_better():
    assert ImageSSIM.higher_is_better is True
