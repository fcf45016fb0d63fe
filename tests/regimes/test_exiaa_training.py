import copy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.noise import Noise
from lit_xai.regimes.exiaa_training import EXIAATraining
from lit_xai.regimes.similarity import Cosine, Pearson
from lit_xai.types import AttackResult, Batch
from tests.conftest import tiny_batch
from tests.contracts import assert_every_field_matters, assert_regime_contract
from tests.regimes.checking import (
    assert_moves_the_gradient,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    cross_entropies,
    flat_gradient,
    neighbours,
    totals_in_each_grad_mode,
)
from tests.regimes.test_consistency import held_attack

STRONG = EXIAATraining(attack=EXIAA(alpha=0.4, k=0.5), weight=0.7)


def donors() -> list[Batch]:
    return [tiny_batch(20, seed=5)]


def first_alone(batch: Batch) -> list[Batch]:
    """Return the first image as the only donor of the class that all samples need."""
    return [Batch(batch.image[:1], torch.tensor([2]), batch.sample_id[:1])]


@pytest.fixture
def regime(model) -> EXIAATraining:
    return STRONG.prepare(model, donors)


def attacked(regime: EXIAATraining, model: nn.Module, batch: Batch) -> AttackResult:
    """Return what the attack alone does to the network, as an evaluation measures it."""
    return run_attack(model, regime.attribution, regime.attack, batch, seed=0)


def dissimilarity_by_hand(model: nn.Module, image: Tensor, image_adv: Tensor, target: int) -> Tensor:
    """Return 1 - cos of the input gradients of one logit at two images, with its graph."""
    gradients = []
    for pixels in (image, image_adv):
        leaf = pixels.clone().requires_grad_()
        logit = model(leaf[None])[0, target]
        gradients.append(torch.autograd.grad(logit, leaf, create_graph=True)[0].flatten())
    product = sum(first * second for first, second in zip(*gradients, strict=True))
    return 1 - product / (gradients[0].square().sum() * gradients[1].square().sum()).sqrt()


def test_contract(model, batch, regime):
    assert_regime_contract(regime, model, batch, donors)


@pytest.mark.filterwarnings("ignore:Expected donors of each class")
@pytest.mark.parametrize("alone", [False, True])
def test_minimises_attacked_cross_entropy_plus_dissimilarity(model, batch, alone):
    regime = STRONG.prepare(model, (lambda: first_alone(batch)) if alone else donors)
    loss = regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    result = attacked(regime, model, batch)
    rows = result.applied.nonzero().squeeze(1).tolist()
    # No image is its own donor.
    assert rows == list(range(1 if alone else 0, 6))
    terms = [
        dissimilarity_by_hand(model, batch.image[row], result.image_adv[row], result.target[row].item())
        for row in rows
    ]
    assert min(terms) > 1e-3
    cross_entropy = cross_entropies(model, result.image_adv, batch.label).sum() / 6
    expected = cross_entropy + 0.7 * sum(terms) / 6
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["dissimilarity"], sum(terms).detach() / 6, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        flat_gradient(loss.total, model), flat_gradient(expected, model), rtol=0, atol=1e-12
    )


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held_attack(monkeypatch, EXIAATraining, neighbours(batch), batch.label)
    assert_parameter_gradient(STRONG, model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    held_attack(monkeypatch, EXIAATraining, neighbours(batch), batch.label)
    plain = Cosine.similarity
    monkeypatch.setattr(Cosine, "similarity", lambda *arguments: plain(*arguments).detach())
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(STRONG, model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch, fashion, monkeypatch):
    regime = EXIAATraining().prepare(trained, fashion.donors)
    image_adv, target = regime.attacked(trained, fashion_batch.image, Noise(0, fashion_batch.sample_id))
    assert (image_adv != fashion_batch.image).flatten(1).any(dim=1).all()
    held_attack(monkeypatch, EXIAATraining, image_adv, target)
    assert_moves_the_gradient(regime, replace(regime, weight=1e-9), trained, fashion_batch)


def test_training_keeps_maps_alike(model, batch, regime):
    noise, found = Noise(0, batch.sample_id), []
    for weight in (1e-9, 10.0):
        network = copy.deepcopy(model)
        optimizer = torch.optim.Adam(network.parameters(), 3e-3)
        for _ in range(12):
            loss = replace(regime, weight=weight).loss(network, batch.image, batch.label, noise)
            optimizer.zero_grad()
            loss.total.backward()
            optimizer.step()
        found.append(loss.parts["dissimilarity"].item())
    assert found[1] < 0.8 * found[0]


def test_batch_norm_remembers_the_attacked_images_once(model, batch, regime, monkeypatch):
    held_attack(monkeypatch, EXIAATraining, neighbours(batch), batch.label)
    assert_one_update_of_statistics(regime, model, batch, neighbours(batch))


def test_works_in_any_grad_mode(model, batch, regime):
    first, *others = totals_in_each_grad_mode(regime, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_stays_finite_where_maps_are_zero(batch, monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, 4))
    with torch.no_grad():
        network[1].bias.fill_(-100.0)
    image = batch.image.float()
    regime = STRONG.prepare(network, lambda: [Batch(image, torch.arange(6) % 4, batch.sample_id)])
    loss = regime.loss(network, image, batch.label, Noise(0, batch.sample_id))
    # A map without positive values injects nothing, so the attack must be held to meet zeros.
    assert loss.parts["dissimilarity"] == 0
    held_attack(monkeypatch, EXIAATraining, neighbours(batch).float(), batch.label)
    loss = regime.loss(network, image, batch.label, Noise(0, batch.sample_id))
    assert loss.parts["dissimilarity"] == 1
    assert flat_gradient(loss.total, network).isfinite().all()


def test_every_field_matters(model, batch, regime):
    changes = {
        "attack": EXIAA(alpha=0.1).prepare(model, donors),
        "attribution": IntegratedGradients(path_steps=2),
        "similarity": Pearson(),
        "weight": 0.5,
    }
    assert_every_field_matters(
        regime, changes, lambda one: one.loss(model, *batch[:2], Noise(0, batch.sample_id)).total.detach()
    )


def test_the_defaults():
    assert EXIAATraining() == EXIAATraining(
        attack=EXIAA(alpha=0.15, k=0.5),
        attribution=Saliency(absolute=False),
        similarity=Cosine(),
        weight=10.0,
    )


def test_refuses_to_train_without_donors(model, batch):
    with pytest.raises(ValueError, match="Expected an EXIAA with donors, but got one that was not prepared"):
        STRONG.loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    with pytest.raises(ValueError, match="Expected images that may be injected, but got none"):
        STRONG.prepare(model, list)


def test_refuses_a_weight_without_effect():
    with pytest.raises(ValueError, match=r"Expected `weight` above 0, but got 0\. Use Natural"):
        EXIAATraining(weight=0.0)
