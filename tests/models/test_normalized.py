import pytest
import torch
from torch import nn

from lit_xai.gate import on_network
from lit_xai.models.normalized import Normalized
from tests.conftest import tiny_batch, tiny_network
from tests.models.checking import assert_second_derivative

MEAN, STD = (0.4, 0.6), (0.25, 0.1)


@pytest.fixture
def normalized(model) -> Normalized:
    return Normalized(model, MEAN, STD).double()


def test_the_network_sees_each_channel_normalised(batch):
    seen = []
    model = nn.Sequential(nn.Flatten())
    model.register_forward_hook(lambda _, arguments, __: seen.append(arguments[0]))
    Normalized(model, [0.25, 0.5], [0.5, 0.125]).double()(batch.image)
    expected = torch.stack([2 * batch.image[:, 0] - 0.5, 8 * batch.image[:, 1] - 4], dim=1)
    torch.testing.assert_close(seen[0], expected, rtol=0, atol=1e-14)


def test_gradients_are_in_pixels(normalized, model, batch):
    image = batch.image.requires_grad_()
    (found,) = torch.autograd.grad(normalized(image)[:, 0].sum(), image)
    mean, std = (normalized.get_buffer(name).view(1, 2, 1, 1) for name in ("mean", "std"))
    inner = ((image - mean) / std).detach().requires_grad_()
    (expected,) = torch.autograd.grad(model(inner)[:, 0].sum(), inner)
    torch.testing.assert_close(found, expected / std, rtol=1e-12, atol=0)


def test_mean_and_deviation_are_kept_with_the_weights(normalized):
    other = Normalized(tiny_network(seed=5), (0.0, 0.0), (1.0, 1.0)).double()
    other.load_state_dict(normalized.state_dict())
    image = tiny_batch().image
    assert torch.equal(other(image), normalized(image))
    assert set(normalized.state_dict()) - {"mean", "std"} == {
        f"model.{name}" for name in normalized.model.state_dict()
    }
    assert not {"mean", "std"} & dict(normalized.named_parameters()).keys()


def test_images_go_where_the_network_is(normalized, batch):
    assert on_network(normalized.float(), batch).image.dtype == torch.float32


def test_has_a_second_derivative(normalized, batch):
    assert_second_derivative(normalized, batch.image)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5,), (0.5, 0.5), r"Expected `mean` and `std` of as many channels, but got 1 and 2\."),
        ((), (), r"Expected `mean` and `std` of as many channels, but got 0 and 0\."),
        ((0.5, 0.5), (0.5, 0.0), r"Expected `std` above 0, but got \[0\.5, 0\.0\]\."),
        ((0.5,), (float("nan"),), r"Expected `std` above 0, but got \[nan\]\."),
    ],
)
def test_refuses_what_is_no_normalisation(model, mean, std, message):
    with pytest.raises(ValueError, match=message):
        Normalized(model, mean, std)


@pytest.mark.parametrize(("channels", "statistics"), [(1, 2), (2, 1), (3, 2)])
def test_refuses_images_of_other_channels(channels, statistics):
    network = Normalized(nn.Flatten(), [0.5] * statistics, [0.5] * statistics)
    message = rf"Expected images of {statistics} channels, but got {channels}\."
    with pytest.raises(ValueError, match=message):
        network(torch.rand(2, channels, 4, 4))
