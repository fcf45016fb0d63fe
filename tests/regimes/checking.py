"""What the tests of regimes share."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.types import Batch
from tests.contracts import curved, moved


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


def gradient_of(regime: Regime, model: nn.Module, batch: Batch) -> Tensor:
    loss = regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
    return flat_gradient(loss.total, model)


def assert_moves_the_gradient(regime: Regime, plain: Regime, model: nn.Module, batch: Batch) -> None:
    """Check that a regime's parameter gradient is more than 1 % away from that of its cross-entropy alone."""
    without = gradient_of(plain, model, batch)
    assert (gradient_of(regime, model, batch) - without).norm() > 0.01 * without.norm()


def normalised(model: nn.Module) -> nn.Module:
    """Return a copy whose first convolution is followed by batch norm, in training mode."""
    network = copy.deepcopy(model)
    network.features.insert(1, nn.BatchNorm2d(2).double())
    return network.train()


def assert_one_update_of_statistics(regime: Regime, model: nn.Module, batch: Batch, image: Tensor) -> None:
    """Check that a step leaves the running statistics that one training pass of some images leaves."""
    found, expected = normalised(model), normalised(model)
    regime.loss(found, batch.image, batch.label, Noise(0, batch.sample_id)).total.backward()
    expected(image)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(
            getattr(found.features[1], name), getattr(expected.features[1], name), rtol=0, atol=1e-12
        )
    assert found.training
    assert found.features[1].momentum == 0.1
