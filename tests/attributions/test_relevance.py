import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_xai.attributions.relevance import Linear, away_from_zero, fold, linear_of, redistribute, terms_of
from lit_xai.models.operations import Operation, Slot
from lit_xai.models.tracing import trace
from tests.models.test_tracing import randomised

GENERATOR = torch.Generator().manual_seed(0)
WEIGHT, BIAS = (torch.randn(size, dtype=torch.float64, generator=GENERATOR) for size in ((3, 5), (3,)))
RELEVANCE = torch.randn(2, 3, dtype=torch.float64, generator=GENERATOR)
POINT = torch.randn(2, 5, dtype=torch.float64, generator=GENERATOR)
LOW, HIGH = torch.full_like(POINT, -4.0), torch.full_like(POINT, 5.0)
DENSE = Linear(functional.linear, WEIGHT, BIAS)


def parts(values):
    return values.clamp(min=0), values.clamp(max=0)


def contributions(rule, point):
    """Return z[n, i, j], what input i brings to output j, by the formulas of the rules."""
    positive, negative = parts(WEIGHT)
    product = torch.einsum("ni,ji->nij", point, WEIGHT)
    match rule:
        case "epsilon":
            return product
        case "z_plus":
            return torch.einsum("ni,ji->nij", point, positive)
        case "alpha1_beta0":
            return product.clamp(min=0)
        case "z_box":
            low, high = torch.einsum("ni,ji->nij", LOW, positive), torch.einsum("ni,ji->nij", HIGH, negative)
            return product - low - high


@pytest.mark.parametrize("rule", ["epsilon", "z_plus", "alpha1_beta0", "z_box"])
def test_the_shares_are_those_of_the_formula(rule):
    point = POINT.abs() if rule == "z_plus" else POINT
    terms = terms_of(DENSE, point, rule, (LOW, HIGH) if rule == "z_box" else None)
    found = redistribute(DENSE, terms, RELEVANCE, 0.0)
    share = contributions(rule, point)
    total = share.sum(dim=1) + (BIAS if rule == "epsilon" else 0)
    expected = torch.einsum("nij,nj->ni", share, RELEVANCE / total)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 * expected.abs().max().item())
    assert not torch.allclose(found, POINT * torch.einsum("nj,ji->ni", RELEVANCE, WEIGHT), rtol=0.1)


def test_the_rules_differ():
    maps = [
        redistribute(DENSE, terms_of(DENSE, POINT.abs(), rule, (LOW, HIGH)), RELEVANCE, 0.0)
        for rule in ("epsilon", "alpha1_beta0", "z_box")
    ]
    for first, second in ((0, 1), (1, 2), (0, 2)):
        assert (maps[first] - maps[second]).abs().max() > 0.1


def test_for_positive_inputs_two_rules_are_one():
    two = [
        redistribute(DENSE, terms_of(DENSE, POINT.abs(), rule, None), RELEVANCE, 0.0)
        for rule in ("z_plus", "alpha1_beta0")
    ]
    assert torch.equal(*two)


def test_z_plus_is_the_positive_half_of_alpha1_beta0():
    (half,) = terms_of(DENSE, POINT, "z_plus", None)
    first, second = terms_of(DENSE, POINT, "alpha1_beta0", None)
    assert torch.equal(half.point, first.point)
    assert torch.equal(half.weight, first.weight)
    assert first.point.min() == 0 == second.point.max()
    assert first.weight.min() == 0 == second.weight.max()


@pytest.mark.parametrize(("rule", "sign"), [("epsilon", False), ("alpha1_beta0", True), ("z_plus", True)])
def test_a_mean_shares_by_contribution_or_by_magnitude(rule, sign):
    def mean(point, *_):
        return functional.avg_pool1d(point[:, None], 5)[:, 0]

    linear = Linear(mean, None, None)
    found = redistribute(linear, terms_of(linear, POINT, rule, None), RELEVANCE[:, :1], 0.0)
    share = POINT.abs() if sign else POINT
    expected = share / share.sum(dim=1, keepdim=True) * RELEVANCE[:, :1]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7 * expected.abs().max().item())


def test_epsilon_is_relative_to_the_root_mean_square_of_each_sample():
    values = torch.tensor([[3.0, -4.0, 0.0], [0.03, -0.04, 0.0]], dtype=torch.float64)
    found = away_from_zero(values, 0.1)
    size = (25 / 3) ** 0.5
    for row, scale in enumerate((1.0, 0.01)):
        step = 0.1 * size * scale
        expected = values[row] + step * torch.tensor([1.0, -1.0, 1.0]).double()
        torch.testing.assert_close(found[row], expected, rtol=0, atol=2e-9)
    assert away_from_zero(values, 0.0)[0].tolist() == pytest.approx([3, -4, 1e-9], abs=2e-9)


def test_epsilon_takes_relevance_away():
    def total(epsilon):
        linear = Linear(functional.linear, WEIGHT, None)
        return redistribute(linear, terms_of(linear, POINT, "epsilon", None), RELEVANCE, epsilon).sum()

    torch.testing.assert_close(total(0.0), RELEVANCE.sum(), rtol=0, atol=1e-7)
    outputs = POINT @ WEIGHT.T
    moved = outputs + 0.2 * outputs.square().mean(dim=1, keepdim=True).sqrt() * outputs.sign()
    torch.testing.assert_close(total(0.2), (RELEVANCE * outputs / moved).sum(), rtol=0, atol=1e-7)


def test_dead_outputs_hand_on_nothing_and_no_nan():
    dead = torch.zeros_like(POINT)
    for rule in ("epsilon", "z_plus", "alpha1_beta0"):
        linear = Linear(functional.linear, WEIGHT, None)
        found = redistribute(linear, terms_of(linear, dead, rule, None), RELEVANCE, 0.0)
        assert torch.equal(found, dead)


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dims", [0, 1, 2, 3])
def test_folding_equals_the_unfolded_pass(dims, bias, affine):
    layers = {0: nn.Linear, 1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
    norms = {0: nn.BatchNorm1d, 1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
    options = {"padding": 1, "stride": 2} if dims else {}
    layer = layers[dims](4, 6, *([3] if dims else []), bias=bias, **options)
    model = nn.Sequential(layer, norms[dims](6, eps=0.07, affine=affine)).double().eval()
    model[1].running_mean.normal_(generator=GENERATOR)
    model[1].running_var.uniform_(0.5, 2, generator=GENERATOR)
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=GENERATOR)
    image = torch.randn(2, 4, *[5] * dims, dtype=torch.float64, generator=GENERATOR)
    passed = trace(model, image)
    linear, norm = passed.operations
    folded = linear_of(linear, norm)
    found = folded.apply(image, folded.weight, folded.bias)
    torch.testing.assert_close(found, model(image), rtol=0, atol=1e-12)
    alone = linear_of(linear, None)
    torch.testing.assert_close(alone.apply(image, alone.weight, alone.bias), layer(image), rtol=0, atol=0)
    assert (layer(image) - found).abs().max() > 0.1


def test_folding_knows_the_default_of_the_smallest_variance():
    weight, mean, variance = torch.ones(1, 1), torch.tensor([0.5]), torch.tensor([1e-5])
    norm = Operation("batch_norm", functional.batch_norm, (Slot(0), mean, variance), {}, (1,))
    folded, bias = fold(weight, None, norm)
    expected = functional.batch_norm(torch.tensor([[0.5], [0.6]]), mean, variance)
    torch.testing.assert_close(torch.tensor([[0.5], [0.6]]) @ folded.T + bias, expected)


@pytest.mark.parametrize("grouped", [1, 2])
def test_a_convolutions_options_are_kept(grouped):
    model = randomised(nn.Sequential(nn.Conv2d(4, 6, 3, 2, 2, dilation=2, groups=grouped)))
    image = torch.rand(2, 4, 9, 8, dtype=torch.float64, generator=GENERATOR)
    linear = linear_of(trace(model, image).operations[0], None)
    found = linear.apply(image, linear.weight, linear.bias)
    torch.testing.assert_close(found, model(image), rtol=0, atol=0)


def test_arguments_by_name_are_found():
    image = POINT[:, :, None, None]
    weight, bias = WEIGHT[:, :, None, None], BIAS

    class Named(nn.Module):
        def forward(self, x):
            return functional.conv2d(input=x, weight=weight, bias=bias, padding=1)

    linear = linear_of(trace(Named(), image).operations[0], None)
    assert torch.equal(linear.weight, weight)
    assert torch.equal(linear.apply(image, weight, bias), functional.conv2d(image, weight, bias, padding=1))


@pytest.mark.parametrize("rule", ["epsilon", "alpha1_beta0", "z_box"])
def test_the_derivative_is_that_of_the_formula(rule):
    def value(point):
        terms = terms_of(DENSE, point, rule, (LOW, HIGH) if rule == "z_box" else None)
        return redistribute(DENSE, terms, RELEVANCE, 0.0)

    source = POINT.clone().requires_grad_()
    share = contributions(rule, source)
    total = share.sum(dim=1) + (BIAS if rule == "epsilon" else 0)
    formula = torch.einsum("nij,nj->ni", share, RELEVANCE / total)
    weight = torch.arange(10.0).double().view(2, 5)
    (expected,) = torch.autograd.grad((weight * formula).sum(), source)
    (found,) = torch.autograd.grad((weight * value(source)).sum(), source)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())
    with torch.no_grad():
        assert not value(source).requires_grad
