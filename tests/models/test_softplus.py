import copy
import math

import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_xai.models.softplus import SoftplusTwin
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import Untouched, assert_directional

BETA = 3.0


def softplus(x: torch.Tensor, beta: float = BETA) -> torch.Tensor:
    """Return log(1 + exp(beta x)) / beta, by torch's stable sum of exponentials."""
    return torch.logaddexp(beta * x, torch.zeros_like(x)) / beta


def softplus6(x: torch.Tensor) -> torch.Tensor:
    return softplus(x) - softplus(x - 6)


def leaky(slope: float):
    return lambda x: slope * x + (1 - slope) * softplus(x)


class Between(nn.Module):
    """Two linear layers with something between them, wide enough to reach the bend at 6."""

    def __init__(self, between) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(6, 40).double(), nn.Linear(40, 3).double()
        self.between = between

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.second(self.between(6 * self.first(image)))


class Repeated(nn.Module):
    """Use one rectifier twice."""

    def __init__(self, rectifier: nn.Module) -> None:
        super().__init__()
        self.rectifier = rectifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.rectifier(self.rectifier(x) - 0.5)


def for_its_effect(name: str, function: bool = False):
    """Return a call whose result is thrown away, as in a network that rectifies in place."""

    def between(x: torch.Tensor) -> torch.Tensor:
        x = x + 0
        if function:
            getattr(functional, name)(x, 0.2)
        else:
            getattr(x, name)()
        return x

    return between


IMAGE = torch.randn(16, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
CASES = {
    "nn.ReLU": (nn.ReLU(), softplus),
    "nn.ReLU in place": (nn.ReLU(inplace=True), softplus),
    "nn.ReLU used twice": (Repeated(nn.ReLU()), lambda x: softplus(softplus(x) - 0.5)),
    "nn.ReLU in place used twice": (Repeated(nn.ReLU(inplace=True)), lambda x: softplus(softplus(x) - 0.5)),
    "F.relu": (functional.relu, softplus),
    "F.relu in place": (lambda x: functional.relu(x, inplace=True), softplus),
    "F.relu_": (functional.relu_, softplus),
    "torch.relu": (torch.relu, softplus),
    "torch.relu_": (torch.relu_, softplus),
    "x.relu()": (lambda x: x.relu(), softplus),
    "x.relu_()": (lambda x: x.relu_(), softplus),
    "x.relu_() for its effect": (for_its_effect("relu_"), softplus),
    "nn.ReLU6": (nn.ReLU6(), softplus6),
    "nn.ReLU6 in place": (nn.ReLU6(inplace=True), softplus6),
    "F.relu6": (functional.relu6, softplus6),
    "F.relu6 in place": (lambda x: functional.relu6(x, inplace=True), softplus6),
    "F.hardtanh": (functional.hardtanh, lambda x: -1 + softplus(x + 1) - softplus(x - 1)),
    "F.hardtanh_": (
        lambda x: functional.hardtanh_(x, -2, 3),
        lambda x: -2 + softplus(x + 2) - softplus(x - 3),
    ),
    "nn.Hardtanh": (nn.Hardtanh(-0.5, 2), lambda x: -0.5 + softplus(x + 0.5) - softplus(x - 2)),
    "nn.LeakyReLU": (nn.LeakyReLU(0.2), leaky(0.2)),
    "nn.LeakyReLU in place": (nn.LeakyReLU(0.3, inplace=True), leaky(0.3)),
    "F.leaky_relu": (functional.leaky_relu, leaky(0.01)),
    "F.leaky_relu_": (lambda x: functional.leaky_relu_(x, 0.2), leaky(0.2)),
    "F.leaky_relu_ for its effect": (for_its_effect("leaky_relu_", function=True), leaky(0.2)),
}


@pytest.mark.parametrize("case", CASES)
def test_equals_the_network_written_with_softplus(case):
    between, expected = CASES[case]
    model, smooth = Between(between), Between(expected)
    torch.testing.assert_close(SoftplusTwin(model, BETA)(IMAGE), smooth(IMAGE), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_both_derivatives_equal_those_of_the_network_written_with_softplus(case):
    between, expected = CASES[case]
    found, wanted = derivatives(SoftplusTwin(Between(between), BETA)), derivatives(Between(expected))
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)
        assert other.abs().max() > 1e-3


def derivatives(model: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a logit's gradient and its Hessian times the image."""
    point = IMAGE.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(point)[:, 0].sum(), point, create_graph=True)
    return gradient.detach(), torch.autograd.grad((gradient * IMAGE).sum(), point)[0]


@pytest.mark.parametrize("case", CASES)
def test_the_network_itself_rectifies_as_before(case):
    model = Between(CASES[case][0])
    before = model(IMAGE)
    twin = SoftplusTwin(model, BETA)(IMAGE)
    assert torch.equal(model(IMAGE), before)
    assert (twin - before).abs().max() > 1e-3


def test_an_error_inside_leaves_no_trace():
    model = Between(functional.relu)
    before = model(IMAGE)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        SoftplusTwin(model)(IMAGE[:, :5])
    assert torch.equal(model(IMAGE), before)


@pytest.mark.parametrize("activation", [nn.GELU(), nn.SiLU(), nn.Tanh(), nn.ELU(), nn.Softplus()])
def test_a_curved_network_runs_unchanged(activation):
    model = Between(activation)
    assert torch.equal(SoftplusTwin(model, BETA)(IMAGE), model(IMAGE))


def test_the_weights_are_shared():
    model = Between(nn.ReLU())
    twin, before = SoftplusTwin(model, BETA), SoftplusTwin(model, BETA)(IMAGE)
    assert [id(parameter) for parameter in twin.parameters()] == [
        id(parameter) for parameter in model.parameters()
    ]
    with torch.no_grad():
        model.second.bias += 2
    torch.testing.assert_close(twin(IMAGE), before + 2, rtol=0, atol=1e-12)


def test_the_network_is_neither_copied_nor_changed():
    model, batch = tiny_network(), tiny_batch()
    modules = [(name, type(module)) for name, module in model.named_modules()]
    with Untouched(model, batch.image):
        SoftplusTwin(model, BETA)(batch.image)
    assert [(name, type(module)) for name, module in model.named_modules()] == modules


def test_a_large_beta_approaches_the_rectifier():
    model, batch = tiny_network(), tiny_batch()
    logits = model(batch.image)
    distance = [
        (SoftplusTwin(model, beta)(batch.image) - logits).abs().max().item() for beta in (1, 10, 100, 1e6)
    ]
    assert distance[0] > 3 * distance[1] > 9 * distance[2]
    assert distance[3] < 1e-5


def test_the_sharpness_is_that_of_the_formula():
    for beta in (0.5, 1.0, 10.0):
        found = SoftplusTwin(nn.ReLU(), beta)(torch.tensor([0.0, 0.3], dtype=torch.float64))
        expected = [math.log(2) / beta, math.log1p(math.exp(0.3 * beta)) / beta]
        assert found.tolist() == pytest.approx(expected, rel=1e-12)


def slope(model: nn.Module, image: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """Return a logit's derivative along a direction, differentiable in the image."""
    point = image if image.requires_grad else image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(point)[:, 1].sum(), point, create_graph=True)
    return (gradient * direction).sum()


def test_the_second_derivative_equals_finite_differences():
    model, image = tiny_network(), tiny_batch().image
    generator = torch.Generator().manual_seed(3)
    direction, towards = torch.randn(2, *image.shape, generator=generator, dtype=torch.float64) / 10
    twin = SoftplusTwin(model, BETA)
    point = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(slope(twin, point, direction), point)
    assert_directional(lambda step: slope(twin, image + step * towards, direction), gradient, towards)


def test_without_the_twin_a_rectifier_network_has_no_curvature():
    model, image = tiny_network(), tiny_batch().image[:1]

    def hessian(network: nn.Module) -> torch.Tensor:
        return torch.autograd.functional.hessian(lambda point: network(point)[0, 1], image)

    assert torch.equal(hessian(model), torch.zeros(*image.shape, *image.shape, dtype=torch.float64))
    assert hessian(SoftplusTwin(model, BETA)).abs().max() > 1e-3


def test_the_twin_of_a_copy_is_the_copy_of_the_twin():
    model, batch = tiny_network(), tiny_batch()
    twin = SoftplusTwin(model, BETA)
    assert torch.equal(copy.deepcopy(twin)(batch.image), twin(batch.image))


@pytest.mark.parametrize(("beta", "shown"), [(0, "0"), (-1.5, r"-1\.5"), (float("nan"), "nan")])
def test_refuses_a_sharpness_that_is_not_above_zero(beta, shown):
    with pytest.raises(ValueError, match=f"Expected `beta` above 0, but got {shown}"):
        SoftplusTwin(nn.ReLU(), beta)
