"""A small network with curvature in its decisions, and images with structure."""

import pytest
import torch
from torch import nn

from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.models.small import SmallCNN
from lit_xai.types import Batch


def tiny_network(seed: int = 0, channels: int = 2, size: int = 8) -> nn.Module:
    """Return an untrained float64 network with random biases, so that no two methods agree by accident."""
    torch.manual_seed(seed)
    network = SmallCNN(num_classes=4, channels=channels, size=size, width=2)
    for name, parameter in network.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.3)
        else:
            nn.init.kaiming_normal_(parameter)
    return network.double()


def tiny_batch(samples: int = 6, channels: int = 2, size: int = 8, seed: int = 1) -> Batch:
    """Return random float64 images with positions that are neither sorted nor consecutive."""
    generator = torch.Generator().manual_seed(seed)
    image = torch.rand(samples, channels, size, size, generator=generator, dtype=torch.float64)
    label = torch.randint(4, (samples,), generator=generator)
    return Batch(image, label, torch.randperm(10 * samples, generator=generator)[:samples])


@pytest.fixture
def model() -> nn.Module:
    return tiny_network()


@pytest.fixture
def batch() -> Batch:
    return tiny_batch()


@pytest.fixture(scope="session")
def fashion() -> EmbeddedFashion:
    return EmbeddedFashion(max_train=1000)


@pytest.fixture(scope="session")
def trained(fashion: EmbeddedFashion) -> nn.Module:
    """A narrow network trained for two epochs on 1,000 embedded images, accuracy about 0.75."""
    torch.manual_seed(0)
    network = SmallCNN(width=8)
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(2):
        for image, label, _ in fashion.train_dataloader():
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(image), label).backward()
            optimizer.step()
    return network.eval()


@pytest.fixture(scope="session")
def fashion_batch(fashion: EmbeddedFashion, trained: nn.Module) -> Batch:
    """64 validation images that the trained network classifies correctly."""
    batch = Batch(*next(iter(fashion.evaluation_loader("val", batch_size=200))))
    correct = (trained(batch.image).argmax(dim=1) == batch.label).nonzero().squeeze(1)[:64]
    assert len(correct) == 64
    return Batch(*(tensor[correct] for tensor in batch))
