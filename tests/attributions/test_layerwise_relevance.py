import gc
import weakref

import captum.attr
import pytest
import torch
from captum.attr._utils.custom_modules import Addition_Module
from captum.attr._utils.lrp_rules import Alpha1_Beta0_Rule, EpsilonRule
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests import contracts
from tests.contracts import assert_attribution_contract, assert_every_field_matters
from tests.models.test_tracing import (
    SAME,
    Evaluated,
    Written,
    densely,
    in_parts,
    library_network,
    normalised,
    of_modules,
    over_and_over,
    randomised,
    written,
)

EPSILON = LayerwiseRelevance("epsilon", "epsilon", "epsilon", 0.0)
POSITIVE = LayerwiseRelevance("alpha1_beta0", "alpha1_beta0", "alpha1_beta0")


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


def chosen_logit(model, batch):
    return model(batch.image).gather(1, batch.label[:, None]).squeeze(1).detach()


def assert_equal(found, expected, tolerance):
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * expected.abs().max().item())


def residual(way=of_modules):
    model = Written(way)
    model.norm = Evaluated(10)
    return randomised(model)


METHODS = {
    "default": LayerwiseRelevance(),
    "exact": EPSILON,
    "epsilon": LayerwiseRelevance("epsilon", "epsilon", "epsilon", 0.1),
    "positive": POSITIVE,
    "box": LayerwiseRelevance("z_box", "alpha1_beta0", "alpha1_beta0"),
}


@pytest.mark.parametrize("name", METHODS)
def test_contract(model, batch, name):
    assert_attribution_contract(METHODS[name], model, batch)


# Central differences are too coarse where an epsilon of zero divides by little.
@pytest.mark.parametrize("name", [name for name in METHODS if name != "exact"])
@pytest.mark.parametrize("way", [of_modules, densely, normalised])
def test_contract_of_residual_networks(batch, way, name, monkeypatch):
    monkeypatch.setattr(contracts, "curved", lambda model: SoftplusTwin(model, 2.0))
    assert_attribution_contract(METHODS[name], residual(way), batch)


@pytest.mark.parametrize("first", ["z_box", "z_plus"])
def test_contract_of_positive_weights(model, batch, first, monkeypatch):
    monkeypatch.setattr(contracts, "curved", lambda model: SoftplusTwin(model, 2.0))
    assert_attribution_contract(LayerwiseRelevance(first, "z_plus", "z_plus"), model, batch)


def by_captum(model, batch, rule):
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.rule = rule()
        elif isinstance(module, nn.Flatten | nn.MaxPool2d | nn.AvgPool2d | Addition_Module):
            module.rule = EpsilonRule(1e-9)
    return captum.attr.LRP(model).attribute(batch.image.clone(), batch.label).detach()


def captums_residual_network():
    class Residual(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
            self.rise, self.bend = nn.ReLU(), nn.ReLU()
            self.sum, self.pool = Addition_Module(), nn.AvgPool2d(2)
            self.flat, self.head = nn.Flatten(), nn.Linear(64, 4)

        def forward(self, x):
            x = self.rise(self.first(x))
            x = self.bend(self.sum(self.second(x), x))
            return self.head(self.flat(self.pool(x)))

    return randomised(Residual())


@pytest.mark.parametrize("residual_sum", [False, True])
def test_equals_captum_under_epsilon(model, batch, residual_sum):
    model = captums_residual_network() if residual_sum else model
    expected = by_captum(model, batch, EpsilonRule)
    assert_equal(attribute(EPSILON, model, batch), expected, 1e-5)


@pytest.mark.parametrize("rule", ["alpha1_beta0", "z_plus"])
def test_equals_captum_under_positive_contributions(model, batch, rule):
    expected = by_captum(model, batch, lambda: Alpha1_Beta0_Rule(set_bias_to_zero=True))
    assert_equal(attribute(LayerwiseRelevance(rule, rule, rule), model, batch), expected, 1e-5)


def test_equals_captum_with_a_rule_for_each_kind_of_layer(model, batch):
    model.head[0].rule, model.head[2].rule = EpsilonRule(1e-9), EpsilonRule(1e-9)
    for module in model.features:
        if isinstance(module, nn.Conv2d):
            module.rule = Alpha1_Beta0_Rule(set_bias_to_zero=True)
        elif not isinstance(module, nn.ReLU):
            module.rule = EpsilonRule(1e-9)
    expected = captum.attr.LRP(model).attribute(batch.image.clone(), batch.label).detach()
    found = attribute(LayerwiseRelevance("alpha1_beta0", "alpha1_beta0", "epsilon", 0.0), model, batch)
    assert_equal(found, expected, 1e-5)


class Dense(nn.Module):
    """Three dense layers, the second one with a way around it or without."""

    def __init__(self, skips):
        super().__init__()
        self.first, self.second, self.third = nn.Linear(6, 7), nn.Linear(7, 7), nn.Linear(7, 4)
        self.skips = skips

    def forward(self, x):
        hidden = self.first((x.flatten(1) - 0.4) / 0.5).relu()
        above = self.second(hidden)
        return self.third((above + hidden if self.skips else above).relu())


def shared(relevance, z):
    """Hand relevance on in proportion to the contributions z[j][i]."""
    handed = torch.zeros(len(z[0])).double()
    for arriving, parts in zip(relevance.tolist(), z.tolist(), strict=True):
        for i, part in enumerate(parts):
            handed[i] += part / (sum(parts) + 1e-9) * arriving
    return handed


@pytest.mark.parametrize("skips", [False, True])
def test_equals_the_formulas_for_three_dense_layers(skips):
    """Boxes for pixels, positive contributions above them, magnitudes at the sum."""
    model = randomised(Dense(skips), seed=1)
    image = torch.rand(1, 1, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (image.flatten() - 0.4) / 0.5
    low, high = -0.8, 1.2
    with torch.no_grad():
        hidden = model.first(x).relu()
        above = model.second(hidden)
        skipped = hidden if skips else torch.zeros_like(hidden)
        top = (above + skipped).relu()
        logits = torch.zeros(4).double().index_add(0, torch.tensor([2]), model(image)[0, [2]])
        upper = shared(logits, (model.third.weight * top).clamp(min=0))
        size = above.abs() + skipped.abs()
        lower = shared(upper * above.abs() / size, (model.second.weight * hidden).clamp(min=0))
        lower = lower + upper * skipped.abs() / size
        weight = model.first.weight
        z = x * weight - low * weight.clamp(min=0) - high * weight.clamp(max=0)
        expected = shared(lower, z)
    assert expected.abs().max() > 0.1
    found = LayerwiseRelevance("z_box", dense="alpha1_beta0").attribute(
        model, image, torch.tensor([2]), Noise(0, torch.tensor([0]))
    )
    assert_equal(found.flatten().detach(), expected, 1e-6)


@pytest.mark.parametrize("way", [of_modules, in_parts, densely])
def test_equals_gradient_times_input_under_epsilon_of_zero(batch, way):
    """All contributions, biases too, of a piecewise linear network are the gradient's."""
    model = written(way)
    assert_equal(attribute(EPSILON, model, batch), attribute(InputXGradient(), model, batch), 1e-5)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1"])
def test_equals_gradient_times_input_on_library_networks(name):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(2, 3, 64, 32, dtype=torch.float64, generator=generator)
    model, noise = library_network(name), Noise(0, torch.arange(2))
    label = model(image).argmax(dim=1)
    expected = InputXGradient().attribute(model, image, label, noise).detach()
    found = EPSILON.attribute(model, image, label, noise).detach()
    assert_equal(found, expected, 1e-5)
    ours = LayerwiseRelevance().attribute(model, image, label, noise).detach()
    assert torch.corrcoef(torch.stack([ours.flatten(), expected.flatten()]))[0, 1].abs() < 0.9


@pytest.mark.parametrize("way", [of_modules, in_parts, densely, normalised])
@pytest.mark.parametrize("first", ["z_box", "alpha1_beta0"])
def test_positive_contributions_sum_to_the_logit(batch, way, first):
    model = written(way)
    found = attribute(LayerwiseRelevance(first, dense="alpha1_beta0"), model, batch).flatten(1).sum(dim=1)
    assert_equal(found, chosen_logit(model, batch), 1e-6)


def test_without_biases_all_contributions_sum_to_the_logit(model, batch):
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    found = attribute(EPSILON, model, batch).flatten(1).sum(dim=1)
    assert_equal(found, chosen_logit(model, batch), 1e-6)


def test_a_bias_keeps_its_share(model, batch):
    gap = attribute(EPSILON, model, batch).flatten(1).sum(dim=1) - chosen_logit(model, batch)
    assert gap.abs().min() > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_equals_the_map_of_the_network_with_its_norms_folded_away(batch, name):
    layers = [nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Conv2d(5, 6, 3, 2, bias=False)]
    model = randomised(nn.Sequential(*layers, nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 4)))
    first, second = fuse_conv_bn_eval(model[0], model[1]), fuse_conv_bn_eval(model[3], model[4])
    folded = nn.Sequential(first, model[2], second, *model[5:])
    assert_equal(attribute(METHODS[name], model, batch), attribute(METHODS[name], folded, batch), 1e-9)


def test_a_norm_that_stands_alone_hands_relevance_on(batch):
    model = randomised(nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.BatchNorm2d(3), nn.Flatten()))
    model.append(nn.Linear(108, 4).double())
    passed = {}
    model[2].register_forward_hook(lambda _, arguments, out: passed.update(before=arguments[0], after=out))
    logit = chosen_logit(model, batch)
    share = passed["after"] * model[4].weight[batch.label].view(-1, 3, 6, 6)
    relevance = share * (logit / (share.flatten(1).sum(dim=1) + model[4].bias[batch.label])).view(-1, 1, 1, 1)
    weight, image = model[0].weight, batch.image
    total = functional.conv2d(image, weight.clamp(min=0))
    ratio = relevance / total
    expected = image * functional.conv_transpose2d(ratio, weight.clamp(min=0))
    found = attribute(LayerwiseRelevance("z_plus", epsilon=0.0), model, batch)
    assert_equal(found, expected.detach(), 1e-6)


def test_a_norm_is_not_folded_into_what_others_use_too(batch):
    def shared_with(handed):
        def way(net, x):
            x = handed(net.first(x))
            return net.dense((net.norm(x) + x).relu().mean((2, 3)))

        return way

    method = METHODS["epsilon"]
    expected = attribute(method, written(shared_with(torch.clone)), batch)
    assert_equal(attribute(method, written(shared_with(lambda x: x)), batch), expected, 1e-12)


def test_the_box_of_inverted_pixels_is_ordered(batch):
    model, inverted = written(of_modules), written(lambda net, x: of_modules(net, x * -1))
    inverted.first.weight.data.neg_()
    expected = attribute(LayerwiseRelevance(), model, batch)
    assert_equal(attribute(LayerwiseRelevance(), inverted, batch), expected, 1e-12)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", SAME)
def test_in_place_networks_have_the_map_of_their_copies(batch, way, name):
    expected = attribute(METHODS[name], written(of_modules), batch)
    assert_equal(attribute(METHODS[name], written(way), batch), expected, 1e-12)


@pytest.mark.parametrize("name", METHODS)
def test_rectifiers_with_a_ceiling(model, batch, name):
    """A ceiling that is not reached changes nothing; one that is hands relevance on."""
    low = randomised(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU6(inplace=True), nn.Flatten(), nn.Linear(144, 4))
    )
    plain = nn.Sequential(low[0], nn.ReLU(), *low[2:])
    assert low[0](batch.image).max() < 6
    assert torch.equal(attribute(METHODS[name], low, batch), attribute(METHODS[name], plain, batch))
    with torch.no_grad():
        low[0].bias += 5
    assert low[0](batch.image).max() > 6
    found = attribute(LayerwiseRelevance("alpha1_beta0", dense="alpha1_beta0"), low, batch)
    assert_equal(found.flatten(1).sum(dim=1), chosen_logit(low, batch), 1e-6)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("way", [of_modules, over_and_over])
def test_a_sharp_twin_has_almost_the_networks_map(batch, way, name):
    model = written(way)
    expected = attribute(METHODS[name], model, batch)
    gaps = [
        (attribute(METHODS[name], SoftplusTwin(model, beta), batch) - expected).norm() / expected.norm()
        for beta in (3.0, 1e7)
    ]
    assert gaps[1] < 1e-3
    assert gaps[0] > 0.02


def test_differs_from_gradient_times_input(trained, fashion_batch):
    ours = attribute(LayerwiseRelevance(), trained, fashion_batch).flatten(1)
    gradient = attribute(InputXGradient(), trained, fashion_batch).flatten(1)
    pairs = torch.stack([ours, gradient], dim=1)
    assert max(torch.corrcoef(pair)[0, 1] for pair in pairs) < 0.99


def test_pixels_in_parts(batch):
    """The box is that of the part the first layer sees."""
    model = written(of_modules)
    model.first = randomised(nn.Conv2d(1, 10, 3, padding=1))
    whole = written(of_modules)
    whole.first.weight.data.copy_(torch.cat([torch.zeros_like(model.first.weight), model.first.weight], 1))
    whole.first.bias.data.copy_(model.first.bias)
    model.way = lambda net, x: of_modules(net, x.chunk(2, dim=1)[1])
    found = attribute(LayerwiseRelevance(), model, batch)
    assert_equal(found, attribute(LayerwiseRelevance(), whole, batch), 1e-9)
    assert not found[:, 0].any()


def test_no_images(model, batch):
    empty = type(batch)(*(tensor[:0] for tensor in batch))
    for method in METHODS.values():
        assert attribute(method, model, empty).shape == (0, 2, 8, 8)


def test_images_that_are_not_square(batch):
    assert attribute(
        LayerwiseRelevance(), written(of_modules), batch._replace(image=batch.image[:, :, :5])
    ).any()


def test_a_dead_network_has_a_map_of_zeros(model, batch):
    nn.init.constant_(model.features[3].bias, -1e3)
    for method in METHODS.values():
        assert not attribute(method, model, batch).any()


def test_every_field_matters(model, batch):
    changes = {"first": "epsilon", "convolution": "epsilon", "dense": "alpha1_beta0", "epsilon": 0.2}
    assert_every_field_matters(LayerwiseRelevance(), changes, lambda method: attribute(method, model, batch))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"first": "gamma"},
            "^Expected `first` as z_plus or alpha1_beta0 or epsilon or z_box, but got gamma",
        ),
        (
            {"convolution": "z_box"},
            "^Expected `convolution` as z_plus or alpha1_beta0 or epsilon, but got z_box",
        ),
        ({"dense": "z_box"}, "^Expected `dense` as z_plus or alpha1_beta0 or epsilon, but got z_box"),
        ({"epsilon": -0.1}, r"^Expected `epsilon` of at least 0, but got -0\.1"),
        ({"epsilon": float("nan")}, "^Expected `epsilon` of at least 0, but got nan"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        LayerwiseRelevance(**options)


def attention(net, x):
    x = net.first(x).flatten(2).transpose(1, 2)
    return net.dense(functional.scaled_dot_product_attention(x, x, x).mean(1))


def layer_norm(net, x):
    return net.dense(functional.layer_norm(net.first(x).mean((2, 3)), (10,)))


def gated(net, x):
    x = net.first(x)
    return net.dense((x * x.mean((2, 3), keepdim=True).sigmoid()).mean((2, 3)))


@pytest.mark.parametrize(
    ("way", "name"),
    [(attention, "scaled_dot_product_attention"), (layer_norm, "layer_norm"), (gated, "mul")],
)
def test_refuses_operations_without_a_rule(batch, way, name):
    message = (
        f"^Expected a network of operations that relevance has rules for, but got {name}. "
        r"Use IntegratedGradients or, for attention, GradCAM\.$"
    )
    with pytest.raises(ValueError, match=message):
        attribute(LayerwiseRelevance(), written(way), batch)


def test_refuses_the_statistics_of_a_batch(batch):
    message = (
        r"^Expected a network in evaluation mode, but got batch_norm in training mode\. "
        r"Call `model\.eval\(\)`\.$"
    )
    with pytest.raises(ValueError, match=message):
        attribute(LayerwiseRelevance(), written(of_modules).train(), batch)


def test_z_plus_leaves_negative_inputs_out(batch):
    """Behind rectifiers it is alpha1_beta0; on negative inputs it is not."""
    model = written(lambda net, x: of_modules(net, x - 0.5))
    maps = {
        rule: attribute(LayerwiseRelevance(rule, rule, rule), model, batch)
        for rule in ("z_plus", "alpha1_beta0")
    }
    largest = maps["alpha1_beta0"].abs().max()
    assert (maps["z_plus"] - maps["alpha1_beta0"]).abs().max() > 0.1 * largest
    assert maps["z_plus"][batch.image < 0.5].abs().max() == 0
    behind = [LayerwiseRelevance("z_box", rule, rule) for rule in maps]
    one, other = (attribute(method, model, batch) for method in behind)
    torch.testing.assert_close(one, other, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    "way",
    [
        lambda net, x: of_modules(net, functional.avg_pool2d(x, 2)),
        lambda net, x: of_modules(net, x[:, :, :-1] + x[:, :, 1:]),
    ],
)
def test_a_box_behind_a_sum_is_refused(batch, way):
    message = (
        r"^Expected a layer that sees single pixels for the rule z_box, but got sums of them\. "
        r"Use alpha1_beta0 as `first`\.$"
    )
    with pytest.raises(ValueError, match=message):
        attribute(LayerwiseRelevance(), written(way), batch)
    assert attribute(POSITIVE, written(way), batch).any()


def test_refuses_sums_that_repeat_a_tensor(batch):
    def broadcast(net, x):
        x = net.first(x)
        return net.dense((x + x.mean((2, 3), keepdim=True)).mean((2, 3)))

    message = (
        r"^Expected sums of equal shapes, but got \(6, 10, 8, 8\) and \(6, 10, 1, 1\)\. "
        r"Use IntegratedGradients\.$"
    )
    with pytest.raises(ValueError, match=message):
        attribute(LayerwiseRelevance(), written(broadcast), batch)


def test_a_black_image_leaves_the_derivatives_of_its_batch_finite(model, batch):
    """Without biases every layer of a black image puts out zeros, whose root mean square has a kink."""
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
    image = batch.image.clone()
    image[2] = 0
    found = LayerwiseRelevance().attribute(model, image, batch.label, Noise(0, batch.sample_id))
    gradients = torch.autograd.grad(found.square().sum(), list(model.parameters()), allow_unused=True)
    given = [gradient for gradient in gradients if gradient is not None]
    assert len(given) >= 4
    assert all(gradient.isfinite().all() for gradient in given)
    assert found[2].abs().max() == 0


def test_nothing_of_the_pass_stays_alive(model, batch):
    kept = []
    model.features[3].register_forward_hook(lambda *given: kept.append(weakref.ref(given[2])))
    gc.disable()
    try:
        attribute(LayerwiseRelevance(), model, batch)
        assert kept[0]() is None
    finally:
        gc.enable()


def test_batch_norm_over_tokens_is_not_folded_into_a_dense_layer(batch):
    """As many tokens as outputs: the shapes would fit, the channels would not."""
    torch.manual_seed(0)
    tokens = randomised(
        nn.Sequential(
            nn.Flatten(2), nn.Linear(64, 2), nn.BatchNorm1d(2), nn.ReLU(), nn.Flatten(), nn.Linear(4, 4)
        )
    )
    norm = tokens[2]
    norm.running_mean, norm.running_var = (
        torch.tensor([0.3, -0.2]).double(),
        torch.tensor([0.5, 2.0]).double(),
    )
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt())[:, None]
    shift = (norm.bias - norm.running_mean * scale[:, 0])[:, None]

    class Apart(nn.Module):
        def forward(self, image):
            values = tokens[1](tokens[0](image)) * scale + shift
            return tokens[5](tokens[4](tokens[3](values)))

    rules = LayerwiseRelevance("alpha1_beta0", "alpha1_beta0", "alpha1_beta0")
    found, expected = attribute(rules, tokens, batch), attribute(rules, Apart(), batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    assert expected.abs().max() > 1e-3


def test_a_grey_image_that_meets_three_channels_keeps_its_shape():
    network = randomised(
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))
    )

    class Normalised(nn.Module):
        def forward(self, image):
            return network((image - torch.tensor([0.5, 0.4, 0.3]).view(1, 3, 1, 1).to(image)) / 0.25)

    grey = Batch(torch.rand(2, 1, 8, 8, dtype=torch.float64), torch.tensor([1, 3]), torch.arange(2))
    found = attribute(LayerwiseRelevance(dense="alpha1_beta0"), Normalised(), grey)
    assert found.shape == (2, 1, 8, 8)
    logit = Normalised()(grey.image).gather(1, grey.label[:, None]).squeeze(1).detach()
    torch.testing.assert_close(found.sum(dim=(1, 2, 3)), logit, rtol=1e-6, atol=1e-6)
