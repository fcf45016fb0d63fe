import pytest
import scipy.stats
import torch
from torch import nn
from torch.nn import functional

from lit_xai.models.small import SmallCNN
from tests.conftest import tiny_network


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
