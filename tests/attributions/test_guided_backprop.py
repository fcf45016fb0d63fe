import copy

import captum.attr
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional

from lit_xai.attributions.guided_backprop import GuidedBackprop
from lit_xai.attributions.saliency import Saliency
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from tests import contracts
from tests.contracts import assert_attribution_contract, assert_every_field_matters
from tests.models.test_tracing import (
    SAME,
    in_parts,
    library_network,
    of_modules,
    over_and_over,
    randomised,
    written,
)


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


def by_captum(model, image, label):
    with pytest.warns(UserWarning, match="Setting backward hooks"):
        return captum.attr.GuidedBackprop(model).attribute(image.clone(), label).detach()


def with_mean_pooling(model):
    pooled = copy.deepcopy(model)
    for index, module in enumerate(pooled.features):
        if isinstance(module, nn.MaxPool2d):
            pooled.features[index] = nn.AvgPool2d(2)
    return pooled


@pytest.mark.parametrize("score", ["logit", "probability", "loss"])
def test_contract(model, batch, score, monkeypatch):
    monkeypatch.setattr(contracts, "curved", lambda model: SoftplusTwin(with_mean_pooling(model), 2.0))
    assert_attribution_contract(GuidedBackprop(score), model, batch)


@pytest.mark.parametrize("way", [in_parts, over_and_over])
def test_derivatives_of_other_networks(batch, way, monkeypatch):
    monkeypatch.setattr(contracts, "curved", lambda model: SoftplusTwin(model, 2.0))
    contracts.assert_second_derivatives(GuidedBackprop(), written(way), batch)


def test_equals_captum(model, batch):
    expected = by_captum(model, batch.image, batch.label)
    assert torch.equal(attribute(GuidedBackprop(), model, batch), expected)
    assert expected.abs().max() > 0


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_equals_captum_on_library_networks(name):
    image = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = library_network(name)
    label = model(image).argmax(dim=1)
    # captum's hooks cannot follow a module that works in place.
    apart = copy.deepcopy(model)
    for module in apart.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    expected = by_captum(apart, image, label)
    found = GuidedBackprop().attribute(model, image, label, Noise(0, torch.arange(2))).detach()
    assert torch.equal(found, expected)
    assert expected.abs().max() > 0


@pytest.mark.parametrize("way", SAME)
def test_rectifiers_in_any_form_are_guided(batch, way):
    modules = written(of_modules)
    expected = attribute(GuidedBackprop(), modules, batch)
    torch.testing.assert_close(attribute(GuidedBackprop(), written(way), batch), expected, rtol=0, atol=1e-12)
    assert (expected - attribute(Saliency(absolute=False), modules, batch)).abs().max() > 0.01


RECTIFIERS = {
    "relu": (nn.ReLU(), lambda z: (z > 0).double()),
    "relu6": (nn.ReLU6(), lambda z: ((z > 0) & (z < 6)).double()),
    "relu6 in place": (nn.ReLU6(inplace=True), lambda z: ((z > 0) & (z < 6)).double()),
    "hardtanh": (nn.Hardtanh(-2.0, 3.0), lambda z: ((z > -2) & (z < 3)).double()),
    "leaky": (nn.LeakyReLU(0.3), lambda z: 0.3 + 0.7 * (z > 0).double()),
    "leaky in place": (nn.LeakyReLU(0.3, inplace=True), lambda z: 0.3 + 0.7 * (z > 0).double()),
}


@pytest.mark.parametrize("score", ["logit", "loss"])
@pytest.mark.parametrize("name", RECTIFIERS)
@pytest.mark.parametrize("beta", [None, 0.8])
def test_equals_the_rule_written_out(batch, name, beta, score):
    rectifier, slope = RECTIFIERS[name]
    first, second, last = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 5, 3, 2), nn.Linear(20, 4)
    model = randomised(nn.Sequential(first, rectifier, second, rectifier, nn.Flatten(), last))
    with torch.no_grad():
        second.weight.mul_(16)
    apart = copy.deepcopy(rectifier)
    apart.inplace = False
    bend = apart if beta is None else SoftplusTwin(apart, beta)

    def steep(z):
        if beta is None:
            return slope(z)
        source = z.detach().requires_grad_()
        return torch.autograd.grad(bend(source).sum(), source)[0]

    below = first(batch.image)
    above = second(bend(below))
    assert above.max() > 6
    logits = last(bend(above).flatten(1))
    shift = functional.one_hot(batch.label, 4).double()
    gradient = shift if score == "logit" else logits.softmax(dim=1) - shift
    guide = functional.relu if beta is None else lambda value: functional.softplus(value, beta)
    gradient = (gradient @ last.weight).view_as(above)
    gradient = guide(gradient) * steep(above)
    gradient = functional.conv_transpose2d(gradient, second.weight, stride=2, output_padding=1)
    expected = functional.conv_transpose2d(guide(gradient) * steep(below), first.weight)
    twin = model if beta is None else SoftplusTwin(model, beta)
    found = attribute(GuidedBackprop(score), twin, batch)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-11)


def test_a_sharp_twin_has_almost_the_networks_map(batch):
    model = written(of_modules)
    expected = attribute(GuidedBackprop(), model, batch)
    gaps = [
        (attribute(GuidedBackprop(), SoftplusTwin(model, beta), batch) - expected).norm() / expected.norm()
        for beta in (3.0, 1e7)
    ]
    assert gaps[1] < 1e-5
    assert gaps[0] > 0.1


def test_the_inner_of_two_twins_decides(batch):
    model = written(of_modules)
    expected = attribute(GuidedBackprop(), SoftplusTwin(model, 2.0), batch)
    found = attribute(GuidedBackprop(), SoftplusTwin(SoftplusTwin(model, 2.0), 30.0), batch)
    assert torch.equal(found, expected)


def test_a_plain_gradient_afterwards_is_plain(batch):
    model, image = written(over_and_over), batch.image.clone().requires_grad_()
    (before,) = torch.autograd.grad(model(image).sum(), image)
    guided = GuidedBackprop().attribute(model, image, batch.label, Noise(0, batch.sample_id))
    (after,) = torch.autograd.grad(model(image).sum(), image)
    assert torch.equal(after, before)
    assert (guided - before).abs().max() > 0.01


def test_the_graph_of_a_map_is_its_own(model, batch):
    twin, image = SoftplusTwin(with_mean_pooling(model), 2.0), batch.image.clone().requires_grad_()
    noise = Noise(0, batch.sample_id)
    guided = GuidedBackprop().attribute(twin, image, batch.label, noise)
    (alone,) = torch.autograd.grad(guided.square().sum(), image, retain_graph=True)
    GuidedBackprop().attribute(twin, image, batch.label, noise)
    (again,) = torch.autograd.grad(guided.square().sum(), image)
    assert torch.equal(alone, again)
    assert (alone < 0).any()


def test_differs_from_the_gradient(trained, fashion_batch):
    guided = attribute(GuidedBackprop(), trained, fashion_batch).flatten(1)
    gradient = attribute(Saliency(absolute=False), trained, fashion_batch).flatten(1)
    ranks = [spearmanr(*pair).statistic for pair in zip(guided, gradient, strict=True)]
    assert max(ranks) < 0.99
    assert sum(ranks) / 64 < 0.95


@pytest.mark.parametrize("unit", [nn.GELU(), nn.SiLU(), nn.Identity()])
def test_refuses_a_network_without_rectifiers(batch, unit):
    model = randomised(nn.Sequential(nn.Conv2d(2, 3, 3), unit, nn.Flatten(), nn.Linear(108, 4)))
    message = (
        "^Expected a network with rectifiers, but got Sequential: guided backpropagation would be its "
        r"plain gradient\. Use Saliency\.$"
    )
    for one in (model, SoftplusTwin(model, 2.0)):
        with pytest.raises(ValueError, match=message):
            attribute(GuidedBackprop(), one, batch)


def test_no_images_and_images_that_are_not_square(batch):
    model = written(of_modules)
    empty = type(batch)(*(tensor[:0] for tensor in batch))
    assert attribute(GuidedBackprop(), model, empty).shape == (0, 2, 8, 8)
    narrow = attribute(GuidedBackprop(), model, batch._replace(image=batch.image[:, :, :5]))
    assert narrow.shape == (6, 2, 5, 8)
    assert narrow.any()


def test_a_dead_network_has_a_map_of_zeros(model, batch):
    nn.init.constant_(model.features[3].bias, -1e3)
    assert not attribute(GuidedBackprop(), model, batch).any()


def test_every_field_matters(model, batch):
    assert_every_field_matters(
        GuidedBackprop(), {"score": "loss"}, lambda method: attribute(method, model, batch)
    )


def test_refuses_an_unknown_score():
    with pytest.raises(ValueError, match=r"^Expected `score` as logit, probability or loss, but got margin"):
        GuidedBackprop("margin")
