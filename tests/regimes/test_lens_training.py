from dataclasses import replace

import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor, nn

from lit_xai.attacks import coverage_surrogates
from lit_xai.attacks.base import run_attack
from lit_xai.attacks.coverage_surrogates import SoftTopK
from lit_xai.attacks.criteria import LENSOverlap
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.soft_coverage import SoftCoverage
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from lit_xai.regimes import lens_training
from lit_xai.regimes.lens_training import LENSTraining
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

SMALL = LENSTraining(attack=SoftCoverage(eps=0.1, step_size=0.04, steps=3, k=10), weight=0.7)


def saliency(model: nn.Module, image: Tensor, target: int) -> Tensor:
    """Return the magnitudes of one image's input gradient, summed over channels, (H, W), with their graph."""
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf[None])[0, target], leaf, create_graph=True)
    return gradient.abs().sum(dim=0)


def uncovered_by_hand(clean: Tensor, after: Tensor, *, k: int, w: int, temperature: float) -> Tensor:
    """Return 1 - mean over the clean top k of 1 - prod (1 - sigmoid), the sigmoids of a map summing to k."""
    after = after / after.sum()
    order = after.flatten().detach().sort(descending=True).values
    middle = (order[k - 1] + order[k]) / 2
    exponent = after / middle / temperature
    fixed = exponent.detach()
    root = brentq(lambda t: float((fixed - t).sigmoid().sum()) - k, -100.0, 1000.0, xtol=1e-13, rtol=1e-14)
    # The implicit function's derivative, since the root itself has no graph.
    share = (fixed - root).sigmoid()
    slopes = share * (1 - share) / (share * (1 - share)).sum()
    member = (exponent - root - (slopes * (exponent - fixed)).sum()).sigmoid()
    height, width = clean.shape
    covered = []
    for place in clean.flatten().argsort(descending=True)[:k].tolist():
        row, column = divmod(place, width)
        missed = torch.ones((), dtype=clean.dtype)
        for r in range(max(0, row - w), min(height, row + w + 1)):
            for c in range(max(0, column - w), min(width, column + w + 1)):
                missed = missed * (1 - member[r, c])
        covered.append(1 - missed)
    return 1 - sum(covered) / k


def scales_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the scale of the first maps, since the surrogate's derivative takes it as fixed."""
    plain, scales = coverage_surrogates._relative, []

    def relative(maps: Tensor, k: int) -> Tensor:
        if not scales:
            scales.append((maps / plain(maps, k)).detach())
        return maps / scales[0]

    monkeypatch.setattr(coverage_surrogates, "_relative", relative)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


@pytest.mark.parametrize("w", [0, 1])
def test_minimises_attacked_cross_entropy_plus_the_uncovered_share(model, batch, w):
    regime = replace(SMALL, attack=replace(SMALL.attack, w=w, temperature=0.5, temperature_end=0.2))
    loss = regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    result = run_attack(model, Saliency(), regime.attack, batch, seed=0)
    assert result.applied.sum() >= 5
    terms = []
    for row in result.applied.nonzero().squeeze(1).tolist():
        images = batch.image[row], result.image_adv[row]
        clean, after = (saliency(model, image, result.target[row].item()) for image in images)
        terms.append(uncovered_by_hand(clean.detach(), after, k=10, w=w, temperature=0.2))
    expected = cross_entropies(model, result.image_adv, batch.label).sum() / 6 + 0.7 * sum(terms) / 6
    torch.testing.assert_close(loss.total, expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(loss.parts["uncovered"], sum(terms).detach() / 6, rtol=0, atol=1e-9)
    torch.testing.assert_close(
        flat_gradient(loss.total, model), flat_gradient(expected, model), rtol=0, atol=1e-8
    )


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held_attack(monkeypatch, LENSTraining, neighbours(batch), batch.label)
    scales_held(monkeypatch)
    assert_parameter_gradient(SMALL, model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    held_attack(monkeypatch, LENSTraining, neighbours(batch), batch.label)
    plain = lens_training.relative_map
    monkeypatch.setattr(lens_training, "relative_map", lambda *arguments: plain(*arguments).detach())
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(SMALL, model, batch)


def test_the_regulariser_moves_the_gradient(trained, fashion_batch, monkeypatch):
    regime = LENSTraining()
    image_adv, target = regime.attacked(trained, fashion_batch.image, Noise(0, fashion_batch.sample_id))
    held_attack(monkeypatch, LENSTraining, image_adv, target)
    assert_moves_the_gradient(regime, replace(regime, weight=1e-9), trained, fashion_batch)


def test_the_short_search_beats_random_signs(trained, fashion_batch):
    scores = []
    for attack in (RandomSign(eps=0.1), LENSTraining().attack):
        result = run_attack(trained, Saliency(), attack, fashion_batch, seed=0)
        assert (result.image_adv - fashion_batch.image).abs().max() <= 0.1 + 1e-6
        maps = pixel_map(result.attribution), pixel_map(result.attribution_adv)
        scores.append(LENSOverlap(100, 1).score(*maps))
    assert result.kept.all()
    assert (scores[1] < scores[0]).double().mean() >= 0.9


def test_maps_that_cover_the_clean_set_cost_less(model, batch):
    explain = Saliency().bind(model, Noise(0, batch.sample_id))
    target = model(batch.image).argmax(dim=1)
    same, other = (
        SMALL.change(explain, batch.image, image_adv, target).detach()
        for image_adv in (batch.image, batch.image.flip(3))
    )
    assert (same < 0.2).all()
    assert (other > 1.1 * same).all()


def test_batch_norm_remembers_the_attacked_images_once(model, batch, monkeypatch):
    held_attack(monkeypatch, LENSTraining, neighbours(batch), batch.label)
    assert_one_update_of_statistics(SMALL, model, batch, neighbours(batch))


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [-100.0, 100.0])
def test_stays_finite_where_maps_are_zero_or_constant(batch, bias, monkeypatch):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(128, 4), nn.ReLU(), nn.Linear(4, 4))
    with torch.no_grad():
        network[1].weight.fill_(0.1)
        network[1].bias.fill_(bias)
    held_attack(monkeypatch, LENSTraining, neighbours(batch).float(), batch.label)
    loss = SMALL.loss(network, batch.image.float(), batch.label, Noise(0, batch.sample_id))
    gradient = flat_gradient(loss.total, network)
    assert loss.total.isfinite()
    assert gradient.isfinite().all()


def test_every_field_matters(model, batch):
    changes = {
        "attack": replace(SMALL.attack, surrogate=SoftTopK(), temperature=0.2),
        "attribution": IntegratedGradients(path_steps=2),
        "weight": 0.5,
    }
    assert_every_field_matters(
        SMALL, changes, lambda one: one.loss(model, *batch[:2], Noise(0, batch.sample_id)).total.detach()
    )


def test_the_defaults():
    assert LENSTraining() == LENSTraining(
        attack=SoftCoverage(eps=0.1, step_size=0.03, steps=5, path_steps=4, judge_every=5, k=100),
        attribution=Saliency(absolute=False),
        weight=10.0,
    )


def test_refuses_a_weight_without_effect():
    with pytest.raises(ValueError, match=r"Expected `weight` above 0, but got 0\. Use Natural"):
        LENSTraining(weight=0.0)
