from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lit_xai.noise import Noise
from lit_xai.regimes import ig_norm
from lit_xai.regimes.ig_sum_norm import IGSumNorm
from tests.contracts import assert_every_field_matters, assert_regime_contract
from tests.regimes.checking import (
    Modes,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    climbed_by_hand,
    cross_entropies,
    flat_gradient,
    gradient_of,
    held,
    neighbours,
    normalised,
    totals_in_each_grad_mode,
)
from tests.regimes.test_ig_norm import detached_norm, loss_and_size, norms_by_hand, norms_to

SMALL = IGSumNorm(eps=0.1, step_size=0.03, steps=3, path_steps=4, inner_path_steps=2, weight=0.5)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


def test_minimises_adversarial_cross_entropy_plus_the_norm(model, batch):
    noise = Noise(0, batch.sample_id)
    loss = SMALL.loss(model, batch.image, batch.label, noise)
    image_adv = SMALL.attack(model, batch.image, batch.label, noise)
    cross_entropy = cross_entropies(model, image_adv, batch.label).sum() / 6
    norm = norms_by_hand(model, batch.image, image_adv, batch.label, 4).sum() / 6
    torch.testing.assert_close(loss.total, cross_entropy + 0.5 * norm, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["attribution_norm"], norm.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(image_adv))


def test_the_search_climbs_the_same_sum_on_the_short_path(model, batch):
    found = replace(SMALL, weight=2.0).attack(model, batch.image, batch.label, Noise(0, batch.sample_id))

    def climbed(path_steps: int, weight: float, share: float) -> Tensor:
        def objective(point: Tensor) -> Tensor:
            norms = norms_by_hand(model, batch.image, point, batch.label, path_steps)
            return share * cross_entropies(model, point, batch.label) + weight * norms

        return climbed_by_hand(batch, objective, eps=0.1, step_size=0.03, steps=3)

    torch.testing.assert_close(found, climbed(2, 2.0, 1.0), rtol=0, atol=1e-12)
    # Otherwise the comparison would not tell the right objective from these.
    assert not torch.allclose(found, climbed(4, 2.0, 1.0))
    assert not torch.allclose(found, climbed(2, 1.0, 1.0))
    assert not torch.allclose(found, climbed(2, 2.0, 0.0))


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held(monkeypatch, IGSumNorm, neighbours(batch))
    assert_parameter_gradient(IGSumNorm(path_steps=4), model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    held(monkeypatch, IGSumNorm, neighbours(batch))
    monkeypatch.setattr(ig_norm, "loss_attribution_norm", detached_norm)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(IGSumNorm(path_steps=4), model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch):
    regime = IGSumNorm(steps=5, path_steps=5, inner_path_steps=2)
    image, label, sample_id = fashion_batch
    image_adv = regime.attack(trained, image, label, Noise(0, sample_id))
    found = gradient_of(regime, trained, fashion_batch)
    plain = flat_gradient(cross_entropies(trained, image_adv, label).mean(), trained)
    assert (found - plain).norm() > 0.01 * plain.norm()


def test_the_weight_moves_the_gradient_linearly(model, batch, monkeypatch):
    held(monkeypatch, IGSumNorm, neighbours(batch))
    plain = flat_gradient(cross_entropies(model, neighbours(batch), batch.label).mean(), model)
    once, twice = (gradient_of(replace(SMALL, weight=weight), model, batch) - plain for weight in (0.3, 0.6))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_beats_its_random_start(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    noise = Noise(0, sample_id)
    regime = IGSumNorm(steps=10, inner_path_steps=3)
    found = regime.attack(trained, image, label, noise)
    start = (image + noise.child("start").uniform(image, -0.1, 0.1)).clamp(0, 1)
    scores = [
        cross_entropies(trained, point, label) + 0.1 * norms_to(trained, fashion_batch, point, 3)
        for point in (start, found)
    ]
    assert (scores[1] > scores[0]).double().mean() >= 0.9


def test_stays_in_the_ball_and_reaches_its_corners(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    found = IGSumNorm(inner_path_steps=2).attack(trained, image, label, Noise(0, sample_id))
    assert (found - image).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    inner = (image > 0.1) & (image < 0.9)
    assert ((found - image).abs()[inner] > 0.0999).double().mean() > 0.5


def test_nothing_flows_through_the_search(model, batch):
    found = SMALL.attack(model, batch.image.clone().requires_grad_(), batch.label, Noise(0, batch.sample_id))
    assert not found.requires_grad


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] * 6 + [True, False]


def test_batch_norm_remembers_the_classified_images_once(model, batch):
    image_adv = SMALL.attack(normalised(model), batch.image, batch.label, Noise(0, batch.sample_id))
    assert_one_update_of_statistics(SMALL, model, batch, image_adv)


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    changes = {
        "eps": 0.2,
        "step_size": 0.05,
        "steps": 5,
        "path_steps": 6,
        "inner_path_steps": 3,
        "weight": 0.1,
        "max_batch": 6,
    }
    assert_every_field_matters(SMALL, changes, lambda method: loss_and_size(method, model, batch))


def test_max_batch_changes_memory_only(model, batch):
    losses = [loss_and_size(replace(SMALL, max_batch=size), model, batch)[0] for size in (1, 4, 6, 512)]
    torch.testing.assert_close(torch.stack(losses), losses[0].expand(4), rtol=0, atol=1e-12)


def test_the_defaults_are_those_for_fashion_mnist():
    assert IGSumNorm() == IGSumNorm(
        eps=0.1, step_size=0.01, steps=20, path_steps=50, inner_path_steps=10, weight=0.1
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 2}, r"Expected `step_size` in \(0, 1\], but got 2\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"path_steps": 0}, "Expected `path_steps` of at least 1, but got 0."),
        ({"inner_path_steps": 0}, "Expected `inner_path_steps` of at least 1, but got 0."),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0."),
        ({"weight": -1.0}, "Expected `weight` above 0, but got -1. Use Natural or PGD for no regulariser."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        IGSumNorm(**options)
