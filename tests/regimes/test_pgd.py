from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.pgd import PGD, adversarial_images
from lit_xai.types import Batch
from tests.contracts import assert_every_field_matters, assert_regime_contract, curved, moved

SMALL = PGD(eps=0.1, step_size=0.03, steps=4)


def cross_entropies(model: nn.Module, image: Tensor, label: Tensor) -> Tensor:
    """Return -log softmax of the labels, (N,), with its graph."""
    logits = model(image)
    odds = (logits - logits.max(dim=1, keepdim=True).values).exp()
    return -(odds[range(len(label)), label] / odds.sum(dim=1)).log()


def climbed_by_hand(
    batch: Batch, objective: Callable[[Tensor], Tensor], *, eps: float, step_size: float, steps: int
) -> Tensor:
    """Return the last iterate of section 1.4 of the specification, from the start that the noise draws."""
    current = batch.image + Noise(0, batch.sample_id).child("start").uniform(batch.image, -eps, eps)
    for _ in range(steps):
        leaf = current.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(objective(leaf).sum(), leaf)
        current = current + step_size * gradient.sign()
        current = torch.min(torch.max(current, batch.image - eps), batch.image + eps)
        current = torch.where(current < 0, 0.0, torch.where(current > 1, 1.0, current))
    return current


def flat_gradient(value: Tensor, model: nn.Module) -> Tensor:
    gradients = torch.autograd.grad(value, list(model.parameters()))
    return torch.cat([gradient.flatten() for gradient in gradients])


def assert_parameter_gradient(regime: Regime, model: nn.Module, batch: Batch) -> None:
    """Compare the gradient in 20 parameters with central differences, the network being curved."""
    smooth = curved(model)
    noise = Noise(0, batch.sample_id)
    places = [(parameter, place) for parameter in smooth.parameters() for place in range(parameter.numel())]
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(4))[:20].tolist()

    def value(image: Tensor) -> Tensor:
        return regime.loss(smooth, image, batch.label, noise).total

    analytic = flat_gradient(value(batch.image), smooth)[order]
    numeric = []
    for chosen in order:
        parameter, place = places[chosen]
        towards = torch.zeros(parameter.numel(), dtype=parameter.dtype)
        towards[place] = 1e-5
        by = towards.view_as(parameter)
        numeric.append(
            (moved(parameter, by, value, batch.image) - moved(parameter, -by, value, batch.image)) / 2e-5
        )
    assert (analytic.abs() > 1e-4).sum() >= 15
    torch.testing.assert_close(analytic, torch.stack(numeric), rtol=1e-4, atol=1e-8)


def held(monkeypatch: pytest.MonkeyPatch, kind: type[Regime], image_adv: Tensor) -> None:
    """Make a regime's search return given images."""
    monkeypatch.setattr(kind, "attack", lambda *_: image_adv)


def neighbours(batch: Batch) -> Tensor:
    """Return images near those of a batch, as a search could have found them."""
    return (batch.image + Noise(8, batch.sample_id).uniform(batch.image, -0.1, 0.1)).clamp(0, 1)


class Modes(nn.Module):
    """A network that writes down whether it trains, at each call."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.seen: list[bool] = []

    def forward(self, image: Tensor) -> Tensor:
        self.seen.append(self.training)
        return self.network(image)


def totals_in_each_grad_mode(regime: Regime, model: nn.Module, batch: Batch) -> list[Tensor]:
    """Return the loss with grad mode on, with grad mode off, and in inference mode."""
    totals = [regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.detach()]
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            image, label, sample_id = (tensor.clone() for tensor in batch)
            totals.append(regime.loss(model, image, label, Noise(0, sample_id)).total.clone())
    return totals


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


def test_the_start_is_uniform_in_the_ball_and_cut_with_the_first_step():
    image = torch.zeros(8, 3, 32, 32, dtype=torch.float64)
    found = adversarial_images(
        nn.Identity(),
        image,
        torch.zeros(8).long(),
        lambda point, center, label: point.flatten(1).sum(dim=1),
        Noise(0, torch.arange(8)),
        eps=0.2,
        step_size=0.05,
        steps=1,
    )
    # From U(-0.2, 0.2) plus 0.05: 3/8 are cut to 0 and 1/8 to 0.2; cutting the start first would leave half
    # of them at 0.05.
    assert abs((found == 0).double().mean().item() - 3 / 8) < 0.01
    assert abs((found == 0.2).double().mean().item() - 1 / 8) < 0.01
    assert abs((found < 0.1).double().mean().item() - 5 / 8) < 0.01


def test_searches_in_evaluation_mode_and_learns_in_training_mode(model, batch):
    network = Modes(model).train()
    SMALL.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    assert network.seen == [False] * 4 + [True]


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
