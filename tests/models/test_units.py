import copy

import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_xai.models.softplus import SoftplusTwin
from lit_xai.models.units import SeparateUnits
from tests.contracts import Untouched
from tests.models.test_tracing import (
    IMAGE,
    WAYS,
    library_network,
    of_modules,
    over_and_over,
    randomised,
    written,
)


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def between(unit, factor=20.0):
    """Return a network with a unit whose inputs reach past any bend."""
    model = randomised(
        nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), Call(lambda x: x * factor), unit, nn.Flatten())
    )
    return model.append(nn.LazyLinear(4).double())


UNITS = {
    "relu": (nn.ReLU(), ["relu"]),
    "relu in place": (nn.ReLU(inplace=True), ["relu"]),
    "F.relu": (Call(functional.relu), ["relu"]),
    "F.relu_": (Call(functional.relu_), ["relu"]),
    "x.relu_": (Call(lambda x: x.relu_()), ["relu"]),
    "torch.relu": (Call(torch.relu), ["relu"]),
    "relu6": (nn.ReLU6(), ["hardtanh"]),
    "relu6 in place": (nn.ReLU6(inplace=True), ["hardtanh"]),
    "F.relu6": (Call(functional.relu6), ["relu6"]),
    "hardtanh": (nn.Hardtanh(), ["hardtanh"]),
    "wide hardtanh": (nn.Hardtanh(-2.0, 7.0, inplace=True), ["hardtanh"]),
    "F.hardtanh by name": (Call(lambda x: functional.hardtanh(x, max_val=3.0, min_val=-0.5)), ["hardtanh"]),
    "leaky": (nn.LeakyReLU(), ["leaky_relu"]),
    "steep leaky": (nn.LeakyReLU(0.4, inplace=True), ["leaky_relu"]),
    "F.leaky_relu by name": (Call(lambda x: functional.leaky_relu(x, negative_slope=0.3)), ["leaky_relu"]),
    "for its effect": (Call(lambda x: (functional.relu_(x), x)[1]), ["relu"]),
}


def assert_same(model, image, tolerance=0.0):
    before = model(image.clone()).detach()
    separate = SeparateUnits(model, image[:1].clone())
    found = separate(image.clone())
    torch.testing.assert_close(found, before, rtol=0, atol=tolerance * before.abs().max().item())
    assert torch.equal(model(image.clone()), before)
    return separate


@pytest.mark.parametrize("beta", [None, 0.5])
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_what_it_was(name, beta):
    unit, names = UNITS[name]
    model = between(unit)
    model(IMAGE)
    bends = isinstance(unit, nn.ReLU) or "relu" in names
    separate = assert_same(
        model if beta is None else SoftplusTwin(model, beta), IMAGE, 0.0 if bends and beta is None else 1e-14
    )
    assert separate.names == names
    assert separate.curved() == []


POOLS = {
    "windows side by side": nn.MaxPool2d(2),
    "overlap": nn.MaxPool2d(3, 1),
    "gaps": nn.MaxPool2d(2, 3),
    "padding": nn.MaxPool2d(3, 2, 1),
    "ceil": nn.MaxPool2d(2, ceil_mode=True),
    "ceil, overlap": nn.MaxPool2d(3, 2, ceil_mode=True),
    "ceil, padding": nn.MaxPool2d(2, 2, 1, ceil_mode=True),
    "ceil, padding, overlap": nn.MaxPool2d(4, 3, 2, ceil_mode=True),
    "not square": nn.MaxPool2d((3, 2), (1, 2), (1, 0)),
    "not square, ceil": nn.MaxPool2d((2, 3), (3, 2), (1, 1), ceil_mode=True),
    "function": Call(lambda x: functional.max_pool2d(x, 3)),
    "function by name": Call(
        lambda x: functional.max_pool2d(x, kernel_size=3, stride=2, padding=1, ceil_mode=True)
    ),
    "torch.max_pool2d": Call(lambda x: torch.max_pool2d(x, [2, 2], [1, 1])),
}


@pytest.mark.parametrize("size", [(7, 6), (8, 8), (5, 9)])
@pytest.mark.parametrize("name", POOLS)
def test_max_pooling_is_what_it_was(name, size):
    image = torch.randn(3, 2, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(7)) - 3
    model = nn.Sequential(POOLS[name], nn.Flatten())
    separate = assert_same(model, image)
    assert separate.names == ["max_pool2d"]
    assert separate.curved() == []


@pytest.mark.parametrize("beta", [None, 2.0])
@pytest.mark.parametrize("way", WAYS)
def test_networks_are_what_they_were(way, beta):
    model = written(way)
    assert_same(model if beta is None else SoftplusTwin(model, beta), IMAGE, 1e-14)


@pytest.mark.parametrize("name", ["resnet18", "squeezenet1_1", "tf_efficientnet_lite0"])
def test_library_networks_are_what_they_were(name):
    image = torch.rand(1, 3, 48, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert_same(library_network(name), image, 1e-13 if name == "tf_efficientnet_lite0" else 0.0)


def test_every_call_has_a_module_of_its_own():
    separate = SeparateUnits(written(over_and_over), IMAGE)
    assert separate.names == ["relu", "relu", "relu", "relu", "relu", "relu", "hardtanh", "leaky_relu"]
    assert len({id(unit) for unit in separate.units}) == 8
    seen = []
    for unit in separate.units:
        unit.register_forward_hook(lambda module, arguments, out: seen.append((module, arguments[0], out)))
    separate(IMAGE)
    assert [module for module, _, _ in seen] == list(separate.units)
    places = [tensor.data_ptr() for _, before, after in seen for tensor in (before, after)]
    assert len(set(places)) == 16


def test_only_the_units_are_seen():
    model = written(of_modules)
    calls = []
    separate = SeparateUnits(model, IMAGE)
    assert not list(separate.parameters())
    kinds = {type(module) for module in separate.modules()}
    assert kinds == {SeparateUnits, nn.ModuleList, nn.ReLU}
    separate.apply(lambda module: module.register_forward_hook(lambda *_: calls.append(module)))
    model(IMAGE)
    assert not calls
    assert not any(module._forward_hooks for module in model.modules())
    separate(IMAGE)
    assert len(calls) == 3


def test_a_twins_units_are_softplus_of_its_sharpness():
    separate = SeparateUnits(SoftplusTwin(written(of_modules), 3.0), IMAGE)
    assert [(type(unit), unit.beta) for unit in separate.units] == [(nn.Softplus, 3.0)] * 2


def test_leaves_the_network_as_it_was():
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(126, 4)).double()
    image = IMAGE.clone()
    with Untouched(model, image):
        SeparateUnits(model, image)(image)


@pytest.mark.parametrize("name", UNITS)
def test_no_rectifier_shares_its_input(name):
    """A hook on a rectifier's input sees the gradient that goes through the rectifier alone."""
    model = between(UNITS[name][0])
    model(IMAGE)
    separate = SeparateUnits(model, IMAGE)
    for unit in separate.modules():
        if isinstance(unit, nn.ReLU):
            unit.register_forward_pre_hook(
                lambda _, arguments: arguments[0].register_hook(lambda g: g * 0) and None
            )
    image = IMAGE.clone().requires_grad_()
    (found,) = torch.autograd.grad(separate(image).sum(), image)
    slope = {"leaky": 0.01, "steep leaky": 0.4, "F.leaky_relu by name": 0.3}.get(name, 0.0)
    line = nn.Sequential(*model[:2], Call(lambda x: slope * x), *model[3:])
    (expected,) = torch.autograd.grad(line(image).sum(), image)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", [2, 3])
def test_the_gradient_is_the_networks(kernel):
    model = between(nn.Sequential(nn.ReLU(inplace=True), nn.MaxPool2d(kernel, 2, 1)))
    model(IMAGE)
    gradients = []
    for network in (copy.deepcopy(model), SeparateUnits(model, IMAGE)):
        image = IMAGE.clone().requires_grad_()
        gradients.append(torch.autograd.grad(network(image).square().sum(), image)[0])
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=0)
    assert gradients[0].any()


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.SiLU(), "silu"),
        (nn.SiLU(inplace=True), "silu"),
        (nn.LayerNorm([7, 6]), "layer_norm"),
        (nn.Softmax(1), "softmax"),
        (nn.AdaptiveMaxPool2d(2), "adaptive_max_pool2d"),
        (nn.MaxPool2d(2, dilation=2), "max_pool2d"),
        (nn.MaxPool2d(2, dilation=(1, 2)), "max_pool2d"),
        (Call(lambda x: functional.max_pool2d(x, 2, return_indices=True)[0]), "max_pool2d_with_indices"),
        (Call(lambda x: x * x.mean((2, 3), keepdim=True)), "mul"),
        (Call(lambda x: torch.div(1.0, x)), "div"),
        (
            Call(lambda x: torch.batch_norm(x, *torch.ones(4, 3).double(), False, 0.1, 1e-5, False)),
            "batch_norm",
        ),
    ],
)
def test_other_units_are_named(unit, name):
    model = between(unit, 1.0)
    model(IMAGE)
    assert SeparateUnits(model.double(), IMAGE).curved() == [name]


def test_operations_without_a_bend_are_not_named():
    def straight(x):
        x = functional.dropout((x - 0.3) * 2 / 3 + 1, training=False).contiguous().clone()
        x = (1 - x).sum(dim=3, keepdim=True) + (-x).float().double().to(torch.float64)
        return functional.pad(functional.avg_pool2d(torch.cat([x, x + x.flip(0) * 0], 1), 2), (1, 1))

    model = between(Call(straight))
    model(IMAGE)
    assert SeparateUnits(model, IMAGE).curved() == []


@pytest.mark.parametrize(
    ("first", "later", "place", "expected", "found"),
    [(1, 2, 3, "none", "relu"), (2, 1, 3, "relu", "none"), (2, 3, 5, "none", "relu")],
)
def test_a_network_whose_passes_differ_is_refused(first, later, place, expected, found):
    times = [first]

    def repeated(net, x):
        for _ in range(times[0]):
            x = of_modules(net, x)[:, :2, None, None].expand(-1, 2, 4, 4)
        return x.mean((2, 3))

    separate = SeparateUnits(written(repeated), IMAGE)
    times[0] = later
    message = (
        rf"^Expected {expected} as unit {place} of every pass, but got {found}\. "
        r"Use IntegratedGradients where passes differ or units are called on parameters\.$"
    )
    with pytest.raises(ValueError, match=message):
        separate(IMAGE)


def test_a_network_that_calls_another_unit_is_refused():
    model = between(nn.ReLU())
    model(IMAGE)
    separate = SeparateUnits(model, IMAGE)
    model[2] = nn.ReLU6()
    with pytest.raises(ValueError, match="Expected relu as unit 1 of every pass, but got hardtanh"):
        separate(IMAGE)


@pytest.mark.parametrize(
    "unit", [nn.Tanh(), nn.Sigmoid(), nn.ELU(0.7), nn.Softplus(3.0, 5.0), nn.PReLU(3, init=0.3), nn.PReLU()]
)
def test_smooth_units_and_prelu_are_modules_too(unit):
    model = between(unit.double())
    model(IMAGE)
    separate = SeparateUnits(model, IMAGE)
    assert len(separate.units) == 1
    assert separate.curved() == []
    torch.testing.assert_close(separate(IMAGE), model(IMAGE), rtol=0, atol=1e-14)
