import copy
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import nn

from lit_xai.attributions.base import Attribution
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.softened import Softened, top_one_agreement
from lit_xai.models.softplus import SoftplusTwin, network_of
from lit_xai.noise import Noise
from tests import contracts
from tests.contracts import Untouched, assert_attribution_contract, assert_every_field_matters


class Recording(Attribution):
    """A method that runs the network inside a twin, as one that records its operations does."""

    differentiable = False

    def attribute(self, model, image, target, noise):
        return Saliency().attribute(network_of(model), image, target, noise).detach()


@dataclass(frozen=True)
class Blind(Attribution):
    """A method that is not differentiable, and remembers what it was prepared with."""

    prepared: tuple[object, ...] = field(default=(), compare=False)
    differentiable = False

    def prepare(self, model, donors):
        return replace(self, prepared=(model, donors))

    def attribute(self, model, image, target, noise):
        with torch.no_grad():
            return image * model(image)[:, :1, None, None]


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


def with_activation(model: nn.Module, activation: nn.Module) -> nn.Module:
    """Return a copy of a network with another activation in place of each ReLU."""
    written = copy.deepcopy(model)
    for part in (written.features, written.head):
        for index, module in enumerate(part):
            if isinstance(module, nn.ReLU):
                part[index] = activation
    return written


def with_mean_pooling(model: nn.Module) -> nn.Module:
    """Return a copy without the kinks of max-pooling; those of the rectifiers are the method's to smooth."""
    pooled = copy.deepcopy(model)
    for index, module in enumerate(pooled.features):
        if isinstance(module, nn.MaxPool2d):
            pooled.features[index] = nn.AvgPool2d(2)
    return pooled


@pytest.mark.parametrize("method", [Saliency(), InputXGradient(), IntegratedGradients(3), Blind()])
def test_contract(model, batch, method, monkeypatch):
    monkeypatch.setattr(contracts, "curved", with_mean_pooling)
    assert_attribution_contract(Softened(method, beta=3.0), model, batch)


@pytest.mark.parametrize("beta", [1.0, 10.0])
@pytest.mark.parametrize("method", [Saliency(absolute=False), IntegratedGradients(7)])
def test_equals_the_method_on_the_network_written_with_softplus(model, batch, method, beta):
    expected = attribute(method, with_activation(model, nn.Softplus(beta)), batch)
    found = attribute(Softened(method, beta), model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-8 * expected.abs().max().item())
    assert (found - attribute(method, model, batch)).abs().max() > 1e-3 * expected.abs().max()


def test_the_default_sharpness_is_the_papers():
    assert Softened(Saliency()).beta == 10


@pytest.mark.parametrize("sharpness", [0.5, 100.0])
def test_an_attacks_twin_is_taken_off(model, batch, sharpness):
    method = Softened(Saliency(), beta=3.0)
    twin = SoftplusTwin(SoftplusTwin(model, 2.0), sharpness)
    assert torch.equal(attribute(method, twin, batch), attribute(method, model, batch))


def test_the_network_predicts_as_before(model, batch):
    before = model(batch.image)
    with Untouched(model, *batch), torch.no_grad():
        attribute(Softened(Saliency()), model, batch)
    assert torch.equal(model(batch.image), before)


def test_a_softer_map_moves_less(trained, fashion_batch):
    """The bound on a map's change is proportional to the sharpness."""
    soft, paper, sharp = (
        relative_change(with_mean_pooling(trained), fashion_batch, beta) for beta in (1.0, 10.0, 1000.0)
    )
    assert soft < 0.3 * paper < 0.09 * sharp


def test_max_pooling_keeps_the_map_movable(trained, fashion_batch):
    soft, sharp = (relative_change(trained, fashion_batch, beta) for beta in (1.0, 1000.0))
    assert soft > 0.5 * sharp


def relative_change(model, batch, beta):
    """Return how far a random step of 0.02 moves the input gradient, as a share of its length."""
    step = 0.02 * Noise(0, batch.sample_id).child("step").signs(batch.image)
    method = Softened(Saliency(absolute=False), beta)
    before, after = (
        attribute(method, model, batch._replace(image=image)).flatten(1)
        for image in (batch.image, batch.image + step)
    )
    return ((after - before).norm(dim=1) / before.norm(dim=1)).mean().item()


def test_no_images(model, batch):
    empty = type(batch)(*(tensor[:0] for tensor in batch))
    assert attribute(Softened(Saliency()), model, empty).shape == (0, 2, 8, 8)


def test_differentiable_is_what_the_method_is():
    assert Softened(Saliency()).differentiable is True
    assert Softened(Blind()).differentiable is False


def test_prepares_the_method(model):
    method = Softened(Blind(), beta=2.0)
    prepared = method.prepare(model, list)
    assert prepared == method
    assert prepared.attribution.prepared == (model, list)
    assert Softened(Saliency()).prepare(model, list) == Softened(Saliency())


def test_every_field_matters(model, batch):
    changes = {"attribution": InputXGradient(), "beta": 3.0}
    assert_every_field_matters(Softened(Saliency()), changes, lambda method: attribute(method, model, batch))


@pytest.mark.parametrize("beta", [0.0, -1.0])
def test_refuses_a_sharpness_that_is_not_above_zero(beta):
    with pytest.raises(ValueError, match=f"Expected `beta` above 0, but got {beta:g}"):
        Softened(Saliency(), beta)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU()])
def test_refuses_a_network_without_a_rectifier(model, batch, activation):
    network = with_activation(model, activation)
    message = (
        "^Expected a network that calls a rectifier, but SmallCNN calls none, so softplus changes nothing"
    )
    for method in (Saliency(), Recording()):
        for network_or_twin in (network, SoftplusTwin(network)):
            with pytest.raises(ValueError, match=message):
                attribute(Softened(method), network_or_twin, batch)
    with pytest.raises(ValueError, match=message):
        top_one_agreement(network, batch.image, [1.0])


def test_a_method_that_does_not_run_the_twin_is_no_reason_to_refuse(model, batch):
    """The pass that tells is one in evaluation mode: it leaves the running statistics alone."""
    network = nn.Sequential(nn.BatchNorm2d(2).double(), model).train()
    attribute(Recording(), network, batch)
    once = network[0].running_mean.clone()
    network[0].reset_running_stats()
    assert attribute(Softened(Recording()), network, batch).shape == batch.image.shape
    assert torch.equal(network[0].running_mean, once)
    assert network.training


def test_the_agreement_is_counted_class_by_class(trained, fashion_batch):
    image, betas = fashion_batch.image, [0.5, 3.0, 1e4]
    found = top_one_agreement(trained, image, betas)
    assert found.shape == (64, 3)
    assert found.dtype == torch.bool
    for column, beta in enumerate(betas):
        smooth = with_activation(trained, nn.Softplus(beta))
        for row in range(64):
            one = image[[row]]
            assert found[row, column] == (smooth(one).argmax() == trained(one).argmax())
    share = found.double().mean(dim=0)
    assert share[0] < 0.9 < share[2] == 1


def test_the_agreement_is_with_the_network_inside_a_twin(trained, fashion_batch):
    image, betas = fashion_batch.image, [0.5, 3.0]
    twin = SoftplusTwin(trained, 0.5)
    assert torch.equal(top_one_agreement(twin, image, betas), top_one_agreement(trained, image, betas))


def test_the_agreement_leaves_the_network_as_it_was(model, batch):
    with Untouched(model, *batch):
        top_one_agreement(model, batch.image, [1.0])
    with torch.inference_mode():
        assert top_one_agreement(model, batch.image.clone(), [1.0]).shape == (6, 1)
    assert top_one_agreement(model, batch.image[:0], [1.0, 2.0]).shape == (0, 2)


def test_the_agreement_is_taken_in_evaluation_mode(trained, fashion_batch):
    noisy = nn.Sequential(nn.Dropout(0.9), trained)
    noisy.train()
    assert top_one_agreement(noisy, fashion_batch.image, [1e4]).all()


def test_what_is_softened_is_made_coarse():
    found = Softened(IntegratedGradients(9), beta=3.0).coarse(2)
    assert found == Softened(IntegratedGradients(2), beta=3.0)
