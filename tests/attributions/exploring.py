"""Networks, images and counts that the tests of all explorations share."""

import torch
from torch import nn

from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.conftest import tiny_batch


def pooling_network(places: int) -> nn.Module:
    """Return a float64 network for 2 channels, 4 classes and images of any size.

    Args:
        places: Height and width of what it pools its features to.
    """
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1), nn.Tanh(), nn.Conv2d(6, 8, 3, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool2d(places), nn.Flatten(), nn.Linear(8 * places**2, 4),
    )  # fmt: skip
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.4)
    return network.double()


def wide_batch(samples):
    batch = tiny_batch(samples, size=24)
    return Batch(batch.image[:, :, :17], batch.label, batch.sample_id)


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id))


def count_images(model):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    return sizes
