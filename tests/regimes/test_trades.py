from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, kl_divergence

from lit_xai.noise import Noise
from lit_xai.regimes import trades
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.trades import TRADES, divergence
from tests.contracts import assert_every_field_matters, assert_regime_contract, select
from tests.regimes.checking import (
    Modes,
    assert_moves_the_gradient,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    cross_entropies,
    flat_gradient,
    gradient_of,
    held,
    neighbours,
    normalised,
    totals_in_each_grad_mode,
)

SMALL = TRADES(eps=0.1, step_size=0.03, steps=4)


def divergences(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """Return sum_k p_k (log p_k - log q_k), one sample at a time, (N,)."""
    values = []
    for before, after in zip(logits, logits_adv, strict=True):
        p, q = before.exp() / before.exp().sum(), after.exp() / after.exp().sum()
        values.append((p * (p.log() - q.log())).sum())
    return torch.stack(values)


def some_logits(size: float = 2.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 7, 5, generator=generator, dtype=torch.float64)
    return size * first, size * second


def test_the_divergence_is_that_of_torch_and_of_its_definition():
    before, after = some_logits()
    found = divergence(before, after)
    expected = kl_divergence(Categorical(logits=before), Categorical(logits=after))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(found, divergences(before, after), rtol=0, atol=1e-12)
    assert found.min() > 0
    # The other way round is another number.
    assert (found - divergence(after, before)).abs().min() > 1e-3
    assert divergence(before, before + 3.0).abs().max() < 1e-12


def test_the_divergence_is_differentiable_in_both_predictions():
    leaves = [logits.requires_grad_() for logits in some_logits()]
    found = torch.autograd.grad(divergence(*leaves).sum(), leaves)
    expected = torch.autograd.grad(divergences(*leaves).sum(), leaves)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert all(gradient.abs().max() > 0.1 for gradient in expected)


def test_the_divergence_of_certain_predictions_is_finite_in_single_precision():
    before = torch.tensor([[200.0, -200.0], [200.0, -200.0]]).requires_grad_()
    after = torch.tensor([[-200.0, 200.0], [200.0, -200.0]]).requires_grad_()
    found = divergence(before, after)
    assert found.tolist() == [400.0, 0.0]
    for gradient in torch.autograd.grad(found.sum(), (before, after)):
        assert gradient.isfinite().all()


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


def test_minimises_the_reference_formula(model, batch):
    noise = Noise(0, batch.sample_id)
    regime = replace(SMALL, weight=2.5)
    loss = regime.loss(model, batch.image, batch.label, noise)
    image_adv = regime.attack(model, batch.image, batch.label, noise)
    cross_entropy = cross_entropies(model, batch.image, batch.label).sum() / 6
    change = divergences(model(batch.image), model(image_adv)).sum() / 6
    torch.testing.assert_close(loss.total, cross_entropy + 2.5 * change, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["divergence"], change.detach(), rtol=0, atol=1e-12)
    assert torch.equal(loss.logits, model(batch.image))
    assert change > 0.01


def test_the_search_climbs_the_divergence_from_a_small_normal_draw(model, batch):
    noise = Noise(0, batch.sample_id)
    found = SMALL.attack(model, batch.image, batch.label, noise)

    def climbed(other: float) -> Tensor:
        current = batch.image + 0.001 * noise.child("start").normal(batch.image)
        clean = model(batch.image).detach()
        for _ in range(4):
            leaf = current.clone().requires_grad_()
            height = divergences(clean, model(leaf)) + other * cross_entropies(model, leaf, batch.label)
            (gradient,) = torch.autograd.grad(height.sum(), leaf)
            current = current + 0.03 * gradient.sign()
            current = torch.min(torch.max(current, batch.image - 0.1), batch.image + 0.1).clamp(0, 1)
        return current

    torch.testing.assert_close(found, climbed(0.0), rtol=0, atol=1e-12)
    # Otherwise the comparison would not tell the right objective from this.
    assert not torch.allclose(found, climbed(1.0))


def test_the_start_is_normal_and_differs_from_the_image():
    image = torch.full((40, 1, 10, 10), 0.5, dtype=torch.float64)
    moved = TRADES().start(image, Noise(0, torch.arange(40))) - image
    assert moved.std().item() == pytest.approx(0.001, rel=0.05)
    assert moved.abs().max() > 0.003
    assert moved.mean().abs() < 1e-4
    assert not torch.equal(moved, TRADES().start(image, Noise(1, torch.arange(40))) - image)


def test_the_divergence_has_no_slope_at_the_image_itself(model, batch):
    height = SMALL.searched(model, batch.image, batch.label)
    for point, zero in ((batch.image.clone(), True), (neighbours(batch), False)):
        leaf = point.requires_grad_()
        (gradient,) = torch.autograd.grad(height(leaf).sum(), leaf)
        assert (gradient.abs().max().item() < 1e-12) == zero


def test_the_label_does_not_guide_the_search(model, batch):
    found, other = (
        SMALL.attack(model, batch.image, label, Noise(0, batch.sample_id))
        for label in (batch.label, (batch.label + 1) % 4)
    )
    assert torch.equal(found, other)


def test_clean_probabilities_are_computed_once_and_both_terms_see_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] + [False] * 4 + [True, True]


def test_beats_its_start_and_random_noise(trained, fashion_batch):
    image, label, sample_id = fashion_batch
    noise = Noise(0, sample_id)
    regime = TRADES(steps=5, step_size=0.03)
    found = regime.attack(trained, image, label, noise)
    random = (image + 0.1 * noise.signs(image)).clamp(0, 1)
    with torch.no_grad():
        scores = [
            divergence(trained(image), trained(point))
            for point in (found, regime.start(image, noise), random)
        ]
    assert (scores[0] > scores[1]).double().mean() >= 0.9
    assert (scores[0] > scores[2]).double().mean() >= 0.9
    assert (found - image).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held(monkeypatch, TRADES, neighbours(batch))
    assert_parameter_gradient(TRADES(), model, batch)


@pytest.mark.parametrize("detached", [(True, False), (False, True)])
def test_a_detached_prediction_would_be_noticed(model, batch, monkeypatch, detached):
    held(monkeypatch, TRADES, neighbours(batch))

    def half(*predictions: Tensor) -> Tensor:
        pairs = zip(predictions, detached, strict=True)
        return divergence(*(logits.detach() if cut else logits for logits, cut in pairs))

    monkeypatch.setattr(trades, "divergence", half)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(TRADES(), model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch):
    assert_moves_the_gradient(TRADES(steps=3), Natural(), trained, select(fashion_batch, slice(0, 16)))


def test_the_weight_moves_the_gradient_linearly(model, batch, monkeypatch):
    held(monkeypatch, TRADES, SMALL.attack(model, batch.image, batch.label, Noise(0, batch.sample_id)))
    plain = flat_gradient(cross_entropies(model, batch.image, batch.label).mean(), model)
    once, twice = (gradient_of(TRADES(weight=weight), model, batch) - plain for weight in (3.0, 6.0))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_batch_norm_remembers_the_clean_images_once(model, batch):
    assert_one_update_of_statistics(SMALL, model, batch, batch.image)


def test_neighbours_are_normalised_by_their_own_statistics(model, batch, monkeypatch):
    others = 0.3 * batch.image.flip(0)
    held(monkeypatch, TRADES, others)
    found = SMALL.loss(normalised(model), batch.image, batch.label, Noise(0, batch.sample_id))
    reference = normalised(model)
    expected = divergences(reference(batch.image), reference(others)).mean()
    torch.testing.assert_close(found.parts["divergence"], expected.detach(), rtol=0, atol=1e-12)
    frozen = divergences(*(reference.eval()(point) for point in (batch.image, others))).mean()
    assert (frozen - expected).abs() > 0.1 * expected


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_a_network_that_ignores_the_image_gives_finite_gradients(model, batch):
    dead = model.float()
    nn.init.zeros_(list(dead.parameters())[-2])
    loss = SMALL.loss(dead, batch.image.float(), batch.label, Noise(0, batch.sample_id))
    assert loss.parts["divergence"].item() == 0.0
    assert flat_gradient(loss.total, dead).isfinite().all()


def test_every_field_matters(model, batch):
    noise = Noise(0, batch.sample_id)
    assert_every_field_matters(
        SMALL,
        {"eps": 0.2, "step_size": 0.05, "steps": 6, "weight": 1.0},
        lambda method: method.loss(model, batch.image, batch.label, noise).total,
    )


def test_the_defaults():
    assert TRADES() == TRADES(eps=0.1, step_size=0.01, steps=20, weight=6.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 2}, r"Expected `step_size` in \(0, 1\], but got 2\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"weight": 0.0}, "Expected `weight` above 0, but got 0. Use Natural for no regulariser."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TRADES(**options)
