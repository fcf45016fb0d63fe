import pytest
import torch
from torch import nn

from lit_xai.models.fitting import check_finite, check_fits, check_weights
from lit_xai.models.small import SmallCNN
from tests.conftest import tiny_network

IMAGE = torch.rand(2, 8, 8, generator=torch.Generator().manual_seed(0))


class Masked(nn.Module):
    """A network with a parameter, a buffer and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("count", torch.tensor(0))


def test_a_network_that_fits_is_left_as_it_was():
    network = tiny_network().train()
    before = torch.get_rng_state()
    check_fits(network, IMAGE, 4, "mine", exactly=True)
    check_fits(network, IMAGE, 3, "mine")
    check_weights(network, "in mine")
    assert network.training
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.equal(torch.get_rng_state(), before)


def test_statistics_and_draws_are_left_as_they_were():
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten(), nn.Linear(128, 4)).train()
    statistics, draws = network[0].running_mean.clone(), torch.get_rng_state()
    check_fits(network, IMAGE, 4, "mine")
    assert torch.equal(network[0].running_mean, statistics)
    assert torch.equal(torch.get_rng_state(), draws)


@pytest.mark.parametrize(
    ("network", "classes", "message"),
    [
        (SmallCNN(channels=3, size=8, width=2), 10, r"take images \(2, 8, 8\), but got mine: .*channels"),
        (SmallCNN(channels=2, size=16, width=2), 10, r"take images \(2, 8, 8\), but got mine: "),
        (tiny_network(), 5, r"at least 5 classes, but got mine, whose logits are \(4,\)"),
        (nn.Identity(), 1, r"at least 1 classes, but got mine, whose logits are \(2, 8, 8\)"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(network, classes, message):
    with pytest.raises(ValueError, match=message):
        check_fits(network, IMAGE, classes, "mine")


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_parameter_that_is_no_number_is_refused_by_name(value):
    network = tiny_network()
    name, parameter = list(network.named_parameters())[-1]
    parameter.data[1] = value
    with pytest.raises(ValueError, match=r"^Expected ") as found:
        check_weights(network, "in a.pt", "Train again.")
    assert str(found.value) == f"Expected finite weights in a.pt, but got {value} in `{name}`. Train again."


def test_a_buffer_may_be_infinite_but_not_nan():
    network = Masked()
    check_weights(network, "here")
    network.mask[0] = torch.nan
    with pytest.raises(ValueError, match=r"Expected finite weights here, but got nan in `mask`\.$"):
        check_weights(network, "here")


def test_what_is_no_tensor_is_left_alone():
    check_finite({"extra": {"state": 1}, "weight": torch.ones(2)}, {"weight"}, "here", "")


def test_images_that_are_not_normalised_are_refused():
    with pytest.raises(ValueError, match=r"pixels in \[0, 1\], but got values in \[.*, 2"):
        check_fits(tiny_network(), IMAGE * 255, 4, "mine")


def test_a_network_with_too_few_logits_is_told_what_to_set():
    with pytest.raises(ValueError, match=r"logits are \(4,\)\. Set its `num_classes` to 5\.$"):
        check_fits(tiny_network(), IMAGE, 5, "mine")


def test_a_network_with_too_many_logits_is_told_what_to_set():
    with pytest.raises(
        ValueError, match=r"networks of 3 classes, but got mine, .* \(4,\)\. Set its `num_classes` to 3\."
    ):
        check_fits(tiny_network(), IMAGE, 3, "mine", exactly=True)
