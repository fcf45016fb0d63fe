import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.regimes import triplet
from lit_xai.regimes.triplet import Triplet, rival_gradients, triplet_losses
from lit_xai.types import Batch
from tests.contracts import assert_every_field_matters, assert_regime_contract, select
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
    totals_in_each_grad_mode,
)

SMALL = Triplet(eps=0.1, step_size=0.03, steps=3, k=30)
KEEP = {"create_graph": True}


def softened(model: nn.Module, beta: float = 50.0) -> nn.Module:
    """Return a network whose rectifier modules are softplus modules, with the same parameters."""
    network = copy.copy(model)
    network._modules = {}
    for name, part in model.named_children():
        units = (nn.Softplus(beta) if isinstance(unit, nn.ReLU) else unit for unit in part)
        network._modules[name] = nn.Sequential(*units)
    return network


def pair_by_hand(network: nn.Module, point: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients g_y and g_n of one image, with their graphs."""
    point = point if point.requires_grad else point.clone().requires_grad_()
    logits = network(point[None])[0]
    rival = max((logit.item(), index) for index, logit in enumerate(logits) if index != label)[1]
    return tuple(torch.autograd.grad(logits[index], point, **KEEP)[0] for index in (label, rival))


def distance(first: Tensor, second: Tensor) -> Tensor:
    return 1 - (first * second).sum() / ((first * first).sum() * (second * second).sum()).sqrt()


def losses_by_hand(network: nn.Module, batch: Batch, image_adv: Tensor, baseline: float = 0.0) -> Tensor:
    """Return the triplet loss of section 4.3 of the specification, one sample at a time, (N,)."""
    losses = []
    for image, other, label in zip(batch.image, image_adv, batch.label, strict=True):
        pairs = [pair_by_hand(network, point, label) for point in (image, other)]
        total = 0
        for anchor in (image - baseline, other - baseline):
            positive = max(distance(anchor, own) for own, _ in pairs)
            negative = min(distance(anchor, rival) for _, rival in pairs)
            total = total + (1 + (positive - negative).exp()).log()
        losses.append(total / 2)
    return torch.stack(losses)


def heights_by_hand(
    model: nn.Module, batch: Batch, points: Tensor, k: int, baseline: float = 0.0, beta: float = 50.0
) -> Tensor:
    """Return what the search climbs: the loss of each point and its own maps, over k values, (N,)."""
    heights = []
    for image, point, label in zip(batch.image, points, batch.label, strict=True):
        saliency = pair_by_hand(model, image, label)[0].detach().abs().flatten()
        chosen = saliency.argsort(descending=True)[:k]
        own, rival = (maps.flatten()[chosen] for maps in pair_by_hand(softened(model, beta), point, label))
        seen = point.flatten()[chosen] - baseline
        heights.append((1 + (distance(seen, own) - distance(seen, rival)).exp()).log())
    return torch.stack(heights)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


def test_the_rival_is_the_best_other_class(model, batch):
    own, rival = rival_gradients(model, batch.image, batch.label)
    assert (model(batch.image).argmax(dim=1) == batch.label).unique().tolist() == [False, True]
    for row, (image, label) in enumerate(zip(batch.image, batch.label, strict=True)):
        expected = pair_by_hand(model, image, label)
        torch.testing.assert_close(own[row], expected[0], rtol=0, atol=1e-12)
        torch.testing.assert_close(rival[row], expected[1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("baseline", [0.0, 0.4])
def test_the_loss_equals_a_loop_over_samples(model, batch, baseline):
    image_adv = neighbours(batch)
    twin = SoftplusTwin(model, 50.0)
    found = triplet_losses(twin, batch.image, image_adv, batch.label, baseline=baseline)
    expected = losses_by_hand(softened(model), batch, image_adv, baseline)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)
    assert expected.std() > 0.01


def test_minimises_adversarial_cross_entropy_plus_the_loss(model, batch):
    noise = Noise(0, batch.sample_id)
    loss = SMALL.loss(model, batch.image, batch.label, noise)
    image_adv = SMALL.attack(model, batch.image, batch.label, noise)
    cross_entropy = cross_entropies(model, image_adv, batch.label).sum() / 6
    regulariser = losses_by_hand(softened(model), batch, image_adv).sum() / 6
    torch.testing.assert_close(loss.total, cross_entropy + 0.5 * regulariser, rtol=0, atol=1e-9)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["triplet"], regulariser.detach(), rtol=0, atol=1e-9)
    assert torch.equal(loss.logits, model(image_adv))


def test_the_search_climbs_the_loss_over_the_most_salient_values(model, batch):
    regime = replace(SMALL, beta=5.0, baseline=0.4)
    found = regime.attack(model, batch.image, batch.label, Noise(0, batch.sample_id))

    def climbed(k: int, baseline: float, beta: float) -> Tensor:
        def objective(points: Tensor) -> Tensor:
            return heights_by_hand(model, batch, points, k, baseline, beta)

        return climbed_by_hand(batch, objective, eps=0.1, step_size=0.03, steps=3)

    torch.testing.assert_close(found, climbed(30, 0.4, 5.0), rtol=0, atol=1e-9)
    # Otherwise the comparison would not tell the right objective from these.
    for others in ((128, 0.4, 5.0), (30, 0.0, 5.0), (30, 0.4, 50.0)):
        assert not torch.allclose(found, climbed(*others))


def test_a_share_counts_the_values_of_all_channels(model, batch):
    noise = Noise(0, batch.sample_id)
    found = [replace(SMALL, k=k).attack(model, batch.image, batch.label, noise) for k in (0.25, 32)]
    assert torch.equal(*found)


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held(monkeypatch, Triplet, neighbours(batch))
    assert_parameter_gradient(Triplet(), model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    held(monkeypatch, Triplet, neighbours(batch))
    compute = triplet.triplet_losses
    monkeypatch.setattr(
        triplet, "triplet_losses", lambda *given, **options: compute(*given, **options).detach()
    )
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(Triplet(), model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch):
    regime, batch = Triplet(step_size=0.03, steps=1), select(fashion_batch, slice(0, 32))
    image_adv = regime.attack(trained, batch.image, batch.label, Noise(0, batch.sample_id))
    plain = flat_gradient(cross_entropies(trained, image_adv, batch.label).mean(), trained)
    assert (gradient_of(regime, trained, batch) - plain).norm() > 0.01 * plain.norm()


def test_the_weight_moves_the_gradient_linearly(model, batch, monkeypatch):
    held(monkeypatch, Triplet, neighbours(batch))
    plain = flat_gradient(cross_entropies(model, neighbours(batch), batch.label).mean(), model)
    once, twice = (gradient_of(replace(SMALL, weight=weight), model, batch) - plain for weight in (0.3, 0.6))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_beats_its_random_start_and_stays_in_the_ball(trained, fashion_batch):
    image, label, sample_id = select(fashion_batch, slice(0, 32))
    noise = Noise(0, sample_id)
    regime = Triplet(step_size=0.03, steps=5)
    found = regime.attack(trained, image, label, noise)
    start = (image + noise.child("start").uniform(image, -0.1, 0.1)).clamp(0, 1)
    height = regime.searched(trained, image, label)
    before, after = (height(point.requires_grad_()) for point in (start, found.clone()))
    assert (after > before).double().mean() >= 0.9
    assert (found - image).abs().max() <= 0.1 + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1


def test_a_rectifier_network_has_nothing_to_climb_but_the_image(model, batch):
    """The twin is what gives the maps a slope."""
    leaf = batch.image.clone().requires_grad_()
    for network, curved in ((model, False), (SoftplusTwin(model, 50.0), True)):
        own, _ = rival_gradients(network, leaf, batch.label)
        (slope,) = torch.autograd.grad(own.abs().sum(), leaf, materialize_grads=True, allow_unused=True)
        assert slope.any().item() == curved


def test_nothing_flows_through_the_search(model, batch):
    found = SMALL.attack(model, batch.image.clone().requires_grad_(), batch.label, Noise(0, batch.sample_id))
    assert not found.requires_grad


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] * 4 + [True, False]


def test_batch_norm_remembers_the_adversarial_images_once(model, batch, monkeypatch):
    held(monkeypatch, Triplet, neighbours(batch))
    assert_one_update_of_statistics(SMALL, model, batch, neighbours(batch))


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    changes = {
        "eps": 0.2,
        "step_size": 0.05,
        "steps": 5,
        "weight": 0.1,
        "k": 0.5,
        "beta": 5.0,
        "baseline": 0.4,
    }
    noise = Noise(0, batch.sample_id)
    assert_every_field_matters(
        SMALL, changes, lambda method: method.loss(model, batch.image, batch.label, noise).total.detach()
    )


@pytest.mark.parametrize("scale", [0.0, 1e-30])
def test_black_images_and_gradients_of_almost_nothing_leave_finite_numbers(scale):
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))
    with torch.no_grad():
        network[3].weight.mul_(scale)
    label, noise = torch.tensor([0, 1]), Noise(0, torch.arange(2))
    for pixel in (0.0, 0.5):
        image = torch.full((2, 1, 4, 4), pixel)
        loss = replace(SMALL, k=0.5).loss(network, image, label, noise)
        assert loss.total.isfinite()
        for gradient in torch.autograd.grad(loss.total, list(network.parameters())):
            assert gradient.isfinite().all()


def test_the_defaults_are_the_search_of_the_others_and_the_published_loss():
    assert Triplet() == Triplet(
        eps=0.1, step_size=0.01, steps=20, weight=0.5, k=1000 / 3072, beta=50.0, baseline=0.0
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 8}, r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\."),
        ({"step_size": 2}, r"Expected `step_size` in \(0, 1\], but got 2\."),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0."),
        ({"weight": 0.0}, "Expected `weight` above 0, but got 0. Use PGD for no regulariser."),
        ({"k": 1.5}, r"Expected `k` as a number of pixels or a share in \(0, 1\), but got 1\.5\."),
        ({"beta": 0.0}, "Expected `beta` above 0, but got 0."),
        ({"baseline": 128}, r"Expected `baseline` in \[0, 1\], but got 128\. Write a grey of 128 as 0\.5\."),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        Triplet(**options)


def test_refuses_more_values_than_an_image_has(model, batch):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 128\], but got 129\."):
        replace(SMALL, k=129).loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
