import re

import pytest
import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

from lit_xai.models.cifar import CIFARResNet18, WideResNet
from tests.models.checking import assert_second_derivative, spread_statistics

IMAGE = torch.rand(2, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    return spread_statistics(CIFARResNet18().double())


@pytest.fixture(scope="module")
def wide() -> nn.Module:
    torch.manual_seed(0)
    return spread_statistics(WideResNet(num_classes=4, depth=16, width=2).double())


class Layers:
    """The layers of a network, by the names of its weights."""

    def __init__(self, model: nn.Module) -> None:
        self.weights = model.state_dict()

    def conv(self, values, name, stride=1):
        weight = self.weights[f"{name}.weight"]
        return functional.conv2d(values, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(self, values, name):
        mean, var, weight, bias = (
            self.weights[f"{name}.{part}"].view(1, -1, 1, 1)
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        return (values - mean) / (var + 1e-5).sqrt() * weight + bias

    def active(self, values, name):
        return self.norm(values, name).clamp_min(0)

    def linear(self, values, name):
        return values.mean((2, 3)) @ self.weights[f"{name}.weight"].T + self.weights[f"{name}.bias"]


def test_resnet18_has_the_known_number_of_parameters_under_torchvisions_names():
    with torch.device("meta"):
        model, original = CIFARResNet18(), resnet18(num_classes=10)
    assert count(model) == 11_173_962
    assert list(model.state_dict()) == list(original.state_dict())
    assert model.conv1.weight.shape == (64, 3, 3, 3)


def test_resnet18_brings_small_images_whole_to_the_first_stage():
    with torch.device("meta"):
        model = CIFARResNet18(num_classes=7, channels=1)
        sizes = []
        for stage in (model.layer1, model.layer4):
            stage.register_forward_hook(
                lambda _, arguments, out: sizes.append((arguments[0].shape, out.shape))
            )
        assert model(torch.empty(2, 1, 32, 32)).shape == (2, 7)
    assert sizes == [((2, 64, 32, 32), (2, 64, 32, 32)), ((2, 256, 8, 8), (2, 512, 4, 4))]


def test_resnet18_equals_its_layers_written_out(resnet):
    layers = Layers(resnet)
    values = layers.active(layers.conv(IMAGE, "conv1"), "bn1")
    for stage in range(1, 5):
        for place in range(2):
            unit, stride = f"layer{stage}.{place}", 2 if stage > 1 and place == 0 else 1
            hidden = layers.active(layers.conv(values, f"{unit}.conv1", stride), f"{unit}.bn1")
            hidden = layers.norm(layers.conv(hidden, f"{unit}.conv2"), f"{unit}.bn2")
            if stride == 2:
                values = layers.norm(layers.conv(values, f"{unit}.downsample.0", 2), f"{unit}.downsample.1")
            values = (values + hidden).clamp_min(0)
    torch.testing.assert_close(resnet(IMAGE), layers.linear(values, "fc"), rtol=1e-10, atol=1e-10)


def test_wide_resnet_equals_its_layers_written_out(wide):
    layers = Layers(wide)
    values = layers.conv(IMAGE, "stem")
    for place in range(6):
        unit, stride = f"stages.{place}", 2 if place in (2, 4) else 1
        activated = layers.active(values, f"{unit}.norm1")
        hidden = layers.active(layers.conv(activated, f"{unit}.conv1", stride), f"{unit}.norm2")
        shortcut = values if place % 2 else layers.conv(activated, f"{unit}.shortcut", stride)
        values = shortcut + layers.conv(hidden, f"{unit}.conv2")
    expected = layers.linear(layers.active(values, "norm"), "head")
    torch.testing.assert_close(wide(IMAGE), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("depth", "width", "parameters"), [(28, 10, 36_479_194), (34, 10, 46_160_474), (16, 4, 2_748_890)]
)
def test_wide_resnet_has_the_published_number_of_parameters(depth, width, parameters):
    with torch.device("meta"):
        model = WideResNet(depth=depth, width=width)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 10)
    assert count(model) == parameters
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sum(module.kernel_size == (3, 3) for module in convolutions) == depth - 3
    assert sum(module.kernel_size == (1, 1) for module in convolutions) == 3


def test_a_wide_resnet_of_width_1_needs_no_convolution_beside_its_first_stage():
    model = WideResNet(depth=10, width=1, channels=2, num_classes=5)
    assert [unit.shortcut is not None for unit in model.stages] == [False, True, True]
    assert model(torch.rand(1, 2, 12, 12)).shape == (1, 5)


def test_convolutions_start_as_published():
    torch.manual_seed(0)
    for model in (WideResNet(depth=10, width=4), CIFARResNet18().layer1):
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                weight = module.weight.detach()
                expected = (2 / (module.kernel_size[0] ** 2 * module.out_channels)) ** 0.5
                assert abs(weight.std().item() / expected - 1) < 4 / (2 * weight.numel()) ** 0.5
    wide = WideResNet(depth=10, width=1)
    assert not wide.head.bias.any()


def test_resnet18_has_a_second_derivative(resnet):
    assert_second_derivative(resnet, IMAGE[:1])


def test_wide_resnet_has_a_second_derivative(wide):
    assert_second_derivative(wide, IMAGE)


@pytest.mark.parametrize("depth", [4, 9, 12, 27, 40.5, -2])
def test_refuses_a_depth_that_is_none(depth):
    message = f"Expected `depth` as 10, 16, 22, 28, 34, ..., but got {depth}."
    with pytest.raises(ValueError, match=re.escape(message)):
        WideResNet(depth=depth)


def test_refuses_a_width_below_1():
    with pytest.raises(ValueError, match=r"Expected `width` of at least 1, but got 0\."):
        WideResNet(width=0)
