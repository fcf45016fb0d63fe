import re

import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional

from lit_xai.models.small import PlainResNet, SmallCNN, standardised
from tests.conftest import tiny_network
from tests.models.checking import assert_second_derivative


@pytest.fixture(scope="module")
def published() -> SmallCNN:
    torch.manual_seed(0)
    return SmallCNN()


def test_has_the_published_number_of_parameters(published):
    assert sum(parameter.numel() for parameter in published.parameters()) == 3_274_634
    assert [tuple(module.weight.shape) for module in published.modules() if hasattr(module, "weight")] == [
        (32, 1, 5, 5),
        (64, 32, 5, 5),
        (1024, 7 * 7 * 64),
        (10, 1024),
    ]


def test_weights_start_as_a_normal_distribution_cut_at_two_deviations(published):
    expected = scipy.stats.truncnorm(-2, 2, scale=0.1)
    for module in published.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            weight = module.weight.detach().double().flatten()[:100_000]
            error = expected.std() / len(weight) ** 0.5
            assert weight.abs().max() <= 0.2
            assert abs(weight.mean()) < 4 * error
            assert abs(weight.std().item() - expected.std()) < 4 * error
            assert scipy.stats.kstest(weight.numpy(), expected.cdf).pvalue > 1e-3


def test_biases_start_at_a_tenth(published):
    biases = [parameter for name, parameter in published.named_parameters() if name.endswith("bias")]
    assert [len(bias) for bias in biases] == [32, 64, 1024, 10]
    for bias in biases:
        assert torch.equal(bias.detach(), torch.full_like(bias, 0.1))


def test_equals_the_published_layers_written_out():
    model = tiny_network(channels=3, size=12)
    image = torch.rand(2, 3, 12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    first, first_bias, second, second_bias, third, third_bias, fourth, fourth_bias = model.parameters()
    features = functional.max_pool2d(functional.conv2d(image, first, first_bias, padding=2).clamp_min(0), 2)
    features = functional.max_pool2d(
        functional.conv2d(features, second, second_bias, padding=2).clamp_min(0), 2
    )
    hidden = (features.reshape(2, -1) @ third.T + third_bias).clamp_min(0)
    torch.testing.assert_close(model(image), hidden @ fourth.T + fourth_bias, rtol=0, atol=1e-12)


def test_every_option_has_its_effect():
    model = SmallCNN(num_classes=3, channels=2, size=16, width=5)
    assert [tuple(parameter.shape) for parameter in model.parameters()][::2] == [
        (5, 2, 5, 5),
        (10, 5, 5, 5),
        (160, 160),
        (3, 160),
    ]
    assert model(torch.zeros(4, 2, 16, 16)).shape == (4, 3)


@pytest.mark.parametrize("size", [30, 2, 0, -4])
def test_refuses_a_size_that_does_not_halve_twice(size):
    with pytest.raises(
        ValueError, match=rf"Expected `size` as a multiple of 4, but got {size}\. Pad the images"
    ):
        SmallCNN(size=size)


@pytest.fixture(scope="module")
def plain() -> PlainResNet:
    torch.manual_seed(0)
    return PlainResNet()


def plain_logits(model: PlainResNet, image: torch.Tensor, units: int) -> torch.Tensor:
    """Return the published network's logits; strided convolutions are subsampled ones."""
    stem, *convolutions, head, bias = model.parameters()
    levels = 255 * image.flatten(1)
    deviation = levels.std(dim=1, correction=0).clamp_min(levels.shape[1] ** -0.5)
    values = ((levels - levels.mean(dim=1, keepdim=True)) / deviation[:, None]).view_as(image)

    def leaky(values):
        return torch.where(values > 0, values, 0.1 * values)

    values = functional.conv2d(values, stem, padding=1)
    for place in range(3 * units):
        first, second = convolutions[2 * place : 2 * place + 2]
        activated = leaky(values)
        shortcut = activated if place == 0 else values
        hidden = functional.conv2d(activated, first, padding=1)
        if place in (units, 2 * units):
            # Positions 2 i, 2 i + 1, 2 i + 2 around the odd ones: nothing is added above or to the left.
            hidden = hidden[:, :, 1::2, 1::2]
            corners = [shortcut[:, :, row::2, column::2] for row in (0, 1) for column in (0, 1)]
            mean = torch.stack(corners).mean(dim=0)
            zeros = torch.zeros_like(mean[:, : mean.shape[1] // 2])
            shortcut = torch.cat([zeros, mean, zeros], dim=1)
        values = shortcut + functional.conv2d(leaky(hidden), second, padding=1)
    return leaky(values).mean((2, 3)) @ head.T + bias


def test_the_plain_resnet_has_the_published_number_of_parameters(plain):
    assert sum(parameter.numel() for parameter in plain.parameters()) == 173_723
    flower = PlainResNet(num_classes=17, units=1)
    assert sum(parameter.numel() for parameter in flower.parameters()) == 75_265


@pytest.mark.parametrize("units", [1, 2])
def test_the_plain_resnet_equals_the_published_layers_written_out(units):
    torch.manual_seed(units)
    model = PlainResNet(num_classes=5, channels=2, units=units, width=4).double()
    nn.init.normal_(model.head.bias)
    image = torch.rand(3, 2, 12, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image[2] = image[2] / 1000 + 0.5
    torch.testing.assert_close(model(image), plain_logits(model, image, units), rtol=0, atol=1e-12)


def test_an_image_is_standardised_by_all_its_pixels():
    image = torch.tensor([[[0.1, 0.3], [0.2, 0.4]], [[0.5, 0.7], [0.6, 0.8]]], dtype=torch.float64)
    deviation = 0.0525**0.5
    expected = (image - 0.45) / deviation
    torch.testing.assert_close(standardised(image[None])[0], expected, rtol=0, atol=1e-12)


def test_faint_contrast_is_divided_by_the_published_floor():
    image = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64)
    image[0, 0, 0, 0] += 0.2 / 255
    found = standardised(image).flatten()
    torch.testing.assert_close(
        found, torch.tensor([0.3, -0.1, -0.1, -0.1], dtype=torch.float64), rtol=0, atol=1e-9
    )


def test_an_image_of_one_colour_has_finite_derivatives(plain):
    image = torch.full((1, 3, 8, 8), 0.25).requires_grad_()
    (gradient,) = torch.autograd.grad(plain(image)[0, 0], image, create_graph=True)
    assert gradient.any()
    second = torch.autograd.grad(
        gradient.square().sum(), [image, *plain.parameters()], materialize_grads=True
    )
    assert all(part.isfinite().all() for part in (gradient, *second))


def test_the_plain_resnet_starts_as_published(plain):
    for module in plain.modules():
        if isinstance(module, nn.Conv2d):
            weight, expected = module.weight.detach(), (2 / (9 * module.out_channels)) ** 0.5
            assert abs(weight.std().item() / expected - 1) < 4 / (2 * weight.numel()) ** 0.5
            assert scipy.stats.kstest(weight.double().numpy().ravel() / expected, "norm").pvalue > 1e-3
    weight, bound = plain.head.weight.detach().double().numpy().ravel(), (3 / 64) ** 0.5
    assert scipy.stats.kstest(weight, scipy.stats.uniform(-bound, 2 * bound).cdf).pvalue > 1e-3
    assert not plain.head.bias.any()


def test_the_plain_resnet_has_a_second_derivative():
    torch.manual_seed(0)
    model = PlainResNet(num_classes=4, channels=2, units=1, width=3).double()
    assert_second_derivative(model, torch.rand(2, 2, 8, 8).double())


@pytest.mark.parametrize("units", [0, -1])
def test_the_plain_resnet_refuses_to_be_without_units(units):
    with pytest.raises(ValueError, match=rf"Expected `units` of at least 1, but got {units}\."):
        PlainResNet(units=units)


@pytest.mark.parametrize("size", [(30, 32), (32, 33)])
def test_the_plain_resnet_refuses_a_size_that_does_not_halve_twice(plain, size):
    message = f"Expected height and width as multiples of 4, but got {size}. Pad the images."
    with pytest.raises(ValueError, match=re.escape(message)):
        plain(torch.rand(1, 3, *size))
