from dataclasses import replace

import pytest
import torch

from lit_xai.noise import Noise
from lit_xai.regimes.pgd import PGD
from tests.contracts import assert_every_field_matters, assert_regime_contract
from tests.regimes.checking import (
    Modes,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    climbed_by_hand,
    cross_entropies,
    held,
    neighbours,
    normalised,
    totals_in_each_grad_mode,
)

SMALL = PGD(eps=0.1, step_size=0.03, steps=4)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


def test_the_search_equals_the_loop_of_the_specification(model, batch):
    found = SMALL.attack(model, batch.image, batch.label, Noise(0, batch.sample_id))
    expected = climbed_by_hand(
        batch, lambda point: cross_entropies(model, point, batch.label), eps=0.1, step_size=0.03, steps=4
    )
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert ((found == 0) | (found == 1)).any()


def test_minimises_the_cross_entropy_of_adversarial_images_only(model, batch):
    noise = Noise(0, batch.sample_id)
    loss = SMALL.loss(model, batch.image, batch.label, noise)
    image_adv = SMALL.attack(model, batch.image, batch.label, noise)
    expected = cross_entropies(model, image_adv, batch.label).sum() / 6
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], expected.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(image_adv))
    assert expected > cross_entropies(model, batch.image, batch.label).mean() + 0.05


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held(monkeypatch, PGD, neighbours(batch))
    assert_parameter_gradient(PGD(), model, batch)


def test_nothing_flows_through_the_search(model, batch):
    found = SMALL.attack(model, batch.image.clone().requires_grad_(), batch.label, Noise(0, batch.sample_id))
    assert not found.requires_grad


def test_beats_its_random_start(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    noise = Noise(0, sample_id)
    found = PGD(steps=10).attack(trained, image, label, noise)
    start = (image + noise.child("start").uniform(image, -0.1, 0.1)).clamp(0, 1)
    scores = [cross_entropies(trained, point, label) for point in (start, found)]
    assert (scores[1] > scores[0]).double().mean() >= 0.9


def test_stays_in_the_ball_and_reaches_its_corners(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    found = PGD().attack(trained, image, label, Noise(0, sample_id))
    assert (found - image).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    inner = (image > 0.1) & (image < 0.9)
    assert ((found - image).abs()[inner] > 0.0999).double().mean() > 0.5


def test_searches_in_evaluation_mode_and_learns_in_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] * 4 + [True]


def test_batch_norm_remembers_the_adversarial_images_once(model, batch):
    image_adv = SMALL.attack(normalised(model), batch.image, batch.label, Noise(0, batch.sample_id))
    assert_one_update_of_statistics(SMALL, model, batch, image_adv)


@pytest.mark.parametrize("steps", [1, 4])
def test_works_in_any_grad_mode(model, batch, steps):
    first, *others = totals_in_each_grad_mode(replace(SMALL, steps=steps), model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    noise = Noise(0, batch.sample_id)
    assert_every_field_matters(
        SMALL,
        {"eps": 0.2, "step_size": 0.05, "steps": 6},
        lambda method: method.loss(model, batch.image, batch.label, noise).total,
    )


def test_the_defaults_are_those_for_fashion_mnist():
    assert PGD() == PGD(eps=0.1, step_size=0.01, steps=20)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 2}, r"Expected `step_size` in \(0, 1\], but got 2\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        PGD(**options)
