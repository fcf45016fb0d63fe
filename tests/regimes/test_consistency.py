from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.attributions.expected_gradients import ExpectedGradients
from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.regimes.consistency import Consistency
from lit_xai.types import Batch, Donors
from tests.conftest import tiny_batch
from tests.contracts import assert_every_field_matters, assert_regime_contract
from tests.regimes.checking import (
    Modes,
    assert_one_update_of_statistics,
    assert_parameter_gradient,
    cross_entropies,
    flat_gradient,
    gradient_of,
    totals_in_each_grad_mode,
)


@dataclass(frozen=True)
class Speckle(Attack):
    """Add random signs to the images that are bright on average, and write down how it was called."""

    eps: float = 0.1
    needs_gradient: ClassVar[bool] = False
    donors: int = field(default=0, compare=False)
    calls: list[dict[str, object]] = field(default_factory=list, compare=False)

    def prepare(self, model: nn.Module, donors: Donors) -> "Speckle":
        return replace(self, donors=sum(len(batch.label) for batch in donors()))

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        frozen = not any(parameter.requires_grad for parameter in model.parameters())
        with_gradient = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        self.calls.append({"frozen": frozen, "gradient": with_gradient, "map": explain(image, target)})
        bright = (image.mean(dim=(1, 2, 3), keepdim=True) > 0.5).to(image)
        return (image + self.eps * bright * noise.signs(image)).clamp(0, 1)


@dataclass(frozen=True)
class Moved(Consistency):
    """Compares maps by the sum of their differences."""

    attack: Attack = field(default_factory=Speckle)
    part: ClassVar[str] = "moved"

    def change(self, explain: Explain, image: Tensor, image_adv: Tensor, target: Tensor) -> Tensor:
        return 1 + (explain(image_adv, target) - explain(image, target)).abs().flatten(1).sum(dim=1)


SMALL = Moved(attribution=SmoothGrad(samples=2), weight=0.3)


def held_attack(
    monkeypatch: pytest.MonkeyPatch, kind: type[Consistency], image_adv: Tensor, target: Tensor
) -> None:
    """Make a regime's attack return given images, and the prediction given classes."""
    monkeypatch.setattr(kind, "attacked", lambda *_: (image_adv, target))


def speckled(batch: Batch) -> Tensor:
    """Return what the attack should see and do, one sample at a time."""
    signs = Noise(0, batch.sample_id).child("attack").signs(batch.image)
    rows = [
        (image + 0.1 * sign).clamp(0, 1) if image.mean() > 0.5 else image
        for image, sign in zip(batch.image, signs, strict=True)
    ]
    return torch.stack(rows)


def test_contract(model, batch):
    assert_regime_contract(SMALL, model, batch)


def test_minimises_the_cross_entropy_of_attacked_images_plus_the_change_of_their_maps(model, batch):
    loss = SMALL.loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    image_adv = speckled(batch)
    changed = [not torch.equal(*pair) for pair in zip(batch.image, image_adv, strict=True)]
    assert 0 < sum(changed) < 6
    noise = Noise(0, batch.sample_id).child("attribution")
    target = torch.tensor([model(image[None]).argmax().item() for image in batch.image])
    assert (target != batch.label).any()
    maps = [
        SmoothGrad(samples=2).attribute(model, image, target, noise) for image in (batch.image, image_adv)
    ]
    moved = sum(1 + (maps[1][row] - maps[0][row]).abs().sum() for row in range(6) if changed[row]) / 6
    cross_entropy = cross_entropies(model, image_adv, batch.label).sum() / 6
    torch.testing.assert_close(loss.total, cross_entropy + 0.3 * moved, rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["cross_entropy"], cross_entropy.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(loss.parts["moved"], moved.detach(), rtol=0, atol=1e-12)
    assert loss.parts.keys() == {"cross_entropy", "moved"}
    assert torch.equal(loss.logits, model(image_adv))


def test_the_attack_sees_a_frozen_network_and_the_explanation_that_is_compared(model, batch):
    attack = Speckle()
    regime, noise = replace(SMALL, attack=attack), Noise(0, batch.sample_id)
    for context in (torch.enable_grad, torch.no_grad, torch.inference_mode):
        with context():
            image_adv, target = regime.attacked(model, batch.image, noise)
        assert not image_adv.requires_grad
        assert torch.equal(image_adv, speckled(batch))
        seen = attack.calls.pop()
        assert seen["frozen"]
        assert seen["gradient"]
        expected = SmoothGrad(samples=2).attribute(model, batch.image, target, noise.child("attribution"))
        torch.testing.assert_close(seen["map"].detach(), expected.detach(), rtol=0, atol=1e-12)


def test_a_sample_that_is_left_as_it_is_enters_by_its_cross_entropy_only(model, batch):
    dark = batch._replace(image=batch.image / 2)
    loss = SMALL.loss(model, dark.image, dark.label, Noise(0, dark.sample_id))
    assert loss.parts["moved"] == 0
    expected = flat_gradient(cross_entropies(model, dark.image, dark.label).mean(), model)
    torch.testing.assert_close(flat_gradient(loss.total, model), expected, rtol=0, atol=1e-12)


def test_prepares_the_attack_and_the_explanation_once(model, batch):
    calls = []

    def donors() -> list[Batch]:
        calls.append(len(calls))
        return [tiny_batch(5, seed=3)]

    regime = Moved(attribution=ExpectedGradients(samples=2))
    prepared = regime.prepare(model, donors)
    assert prepared.attack.donors == 5
    assert regime.attack.donors == 0
    for _ in range(2):
        assert prepared.loss(model, *batch[:2], Noise(0, batch.sample_id)).parts["moved"] > 0
    assert len(calls) == 2
    with pytest.raises(ValueError, match="prepare"):
        regime.loss(model, *batch[:2], Noise(0, batch.sample_id))


def test_the_parameter_gradient_equals_finite_differences(model, batch, monkeypatch):
    held_attack(monkeypatch, Moved, speckled(batch), batch.label)
    assert_parameter_gradient(SMALL, model, batch)


def test_the_weight_moves_the_gradient_linearly(model, batch):
    plain = flat_gradient(cross_entropies(model, speckled(batch), batch.label).mean(), model)
    once, twice = (gradient_of(replace(SMALL, weight=weight), model, batch) - plain for weight in (0.3, 0.6))
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


def test_only_the_cross_entropy_sees_training_mode(model, batch):
    network = Modes(model).train()
    regime = Moved()
    regime.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    # The prediction, the map under attack, the attacked images, the two maps that are compared.
    assert network.seen == [False, False, True, False, False]


def test_batch_norm_remembers_the_attacked_images_once(model, batch):
    assert_one_update_of_statistics(SMALL, model, batch, speckled(batch))


def test_works_in_any_grad_mode(model, batch):
    first, *others = totals_in_each_grad_mode(SMALL, model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


def test_every_field_matters(model, batch):
    changes = {"attack": Speckle(eps=0.05), "attribution": Saliency(), "weight": 0.5}
    assert_every_field_matters(
        SMALL,
        changes,
        lambda regime: regime.loss(model, *batch[:2], Noise(0, batch.sample_id)).total.detach(),
    )


def test_explains_by_the_signed_gradient_by_default():
    assert Moved() == Moved(attack=Speckle(), attribution=Saliency(absolute=False), weight=1.0)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("inf"), float("nan")])
def test_refuses_a_weight_without_effect(weight):
    with pytest.raises(ValueError, match=r"Expected `weight` above 0, but got .*\. Use Natural"):
        Moved(weight=weight)


def test_refuses_an_explanation_without_derivatives():
    with pytest.raises(TypeError, match=r"differentiable attribution for Moved, but got GuidedIG\. Train by"):
        Moved(attribution=GuidedIG())
