from dataclasses import replace

import numpy as np
import pytest
import torch

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.budget import L2Norm, LinfNorm
from tests.contracts import assert_metric_contract


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.1), batch, seed=0)


def test_equals_the_loop(model, result):
    images = zip(result.image, result.image_adv, strict=True)
    expected = [
        max(abs(a - b) for a, b in zip(image.flatten().tolist(), other.flatten().tolist(), strict=True))
        for image, other in images
    ]
    assert assert_metric_contract(LinfNorm(), model, result).tolist() == expected
    assert expected == pytest.approx([0.1] * 6, abs=1e-12)


def test_length_equals_numpy_over_all_channels(model, result):
    image_adv = result.image * torch.linspace(0.5, 1, 64, dtype=torch.float64).view(8, 8)
    changed = replace(result, image_adv=image_adv)
    expected = np.linalg.norm((image_adv - result.image).numpy().reshape(6, 128), axis=1)
    assert assert_metric_contract(L2Norm(), model, changed).tolist() == pytest.approx(expected, rel=1e-12)
    assert expected.min() > 1


def test_length_of_a_large_image_in_single_precision(model, result):
    # Adding 150,528 equal squares one by one would lose digits.
    image = torch.zeros(1, 3, 224, 224)
    wide = replace(result, image=image, image_adv=image + 8 / 255)
    expected = float(np.float32(8 / 255)) * 150_528**0.5
    assert L2Norm().scores(model, wide, None).tolist() == pytest.approx([expected], rel=1e-12)


@pytest.mark.parametrize("metric", [LinfNorm, L2Norm])
def test_a_single_darker_channel_counts(model, result, metric):
    image_adv = result.image.clone()
    image_adv[3, 1, 7, 0] -= 0.25
    scores = metric().scores(model, replace(result, image_adv=image_adv), None)
    assert scores.tolist() == pytest.approx([0, 0, 0, 0.25, 0, 0], abs=1e-15)


def test_two_changes_add_up_as_legs_of_a_triangle(model, result):
    image_adv = result.image.clone()
    image_adv[2, 0, 1, 1] += 0.3
    image_adv[2, 1, 7, 0] -= 0.4
    changed = replace(result, image_adv=image_adv)
    assert L2Norm().scores(model, changed, None).tolist() == pytest.approx([0, 0, 0.5, 0, 0, 0], abs=1e-15)
    assert LinfNorm().scores(model, changed, None).tolist() == pytest.approx([0, 0, 0.4, 0, 0, 0], abs=1e-15)


def test_lower_is_better():
    assert LinfNorm.higher_is_better is False
    assert L2Norm.higher_is_better is False
