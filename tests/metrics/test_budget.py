from dataclasses import replace

import pytest

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.budget import LinfNorm
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


def test_a_single_darker_channel_counts(model, result):
    image_adv = result.image.clone()
    image_adv[3, 1, 7, 0] -= 0.25
    scores = LinfNorm().scores(model, replace(result, image_adv=image_adv), None)
    assert scores.tolist() == pytest.approx([0, 0, 0, 0.25, 0, 0], abs=1e-15)


def test_lower_is_better():
    assert LinfNorm.higher_is_better is False
