import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from lit_xai.gate import evaluating
from lit_xai.models.reference import Reference
from lit_xai.models.small import SmallCNN
from tests.conftest import tiny_batch, tiny_network


def test_buffers_belong_to_the_weights(saved):
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 4)).double()
    network(tiny_batch().image)
    other = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 4)).double()
    reference = Reference(other, saved(network.state_dict()))
    image = tiny_batch(seed=3).image
    assert torch.equal(reference(image), network.eval()(image))
    assert reference.network[0].running_mean.abs().min() > 0
    assert other[0].running_mean.abs().max() == 0


@pytest.mark.parametrize("kind", [str, Path])
def test_predicts_what_the_network_did(saved, model, kind):
    other = tiny_network(seed=5)
    image = tiny_batch().image
    assert not torch.equal(other(image), model(image))
    reference = Reference(other, kind(saved(model.state_dict())))
    assert torch.equal(reference(image), model(image))
    assert not torch.equal(other(image), model(image))
    assert all(parameter.requires_grad for parameter in other.parameters())


def test_without_a_checkpoint_the_network_keeps_its_weights(model):
    image, before = tiny_batch().image, copy.deepcopy(model)
    assert torch.equal(Reference(model)(image), before(image))


@pytest.mark.parametrize("outside", [False, True])
@pytest.mark.parametrize("mode", [True, False])
def test_stays_in_evaluation_mode_and_frozen(outside, mode):
    network = nn.Sequential(nn.Dropout(0.5), tiny_network()).train()
    reference = Reference(network)
    whole = nn.Sequential(reference, nn.Dropout()) if outside else reference
    assert whole.train(mode) is whole
    assert not any(module.training for module in reference.modules())
    assert not any(parameter.requires_grad for parameter in reference.parameters())
    assert len(list(reference.parameters())) == 8
    image = tiny_batch().image
    assert torch.equal(reference(image), reference(image))
    with evaluating(whole):
        assert not any(module.training for module in reference.modules())
    assert not any(module.training for module in reference.modules())
    assert not any(parameter.requires_grad for parameter in reference.parameters())


def test_a_gradient_reaches_the_image_and_no_weight(model):
    image = tiny_batch().image.requires_grad_()
    reference = Reference(model)
    reference(image).sum().backward()
    assert image.grad.flatten(1).abs().amax(dim=1).min() > 0
    assert all(parameter.grad is None for parameter in reference.parameters())


@pytest.mark.parametrize("name", ["gone.ckpt", "."])
def test_refuses_a_file_that_does_not_exist(tmp_path, monkeypatch, model, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"Expected a file of weights, but got {name}, which does"):
        Reference(model, Path(name))


@pytest.mark.parametrize(
    ("other", "reason"),
    [
        (SmallCNN(num_classes=4, channels=2, size=8, width=3).double(), "size mismatch"),
        (SmallCNN(num_classes=5, channels=2, size=8, width=2).double(), "size mismatch"),
        (nn.Linear(2, 2), "Missing key"),
    ],
)
def test_refuses_the_weights_of_another_network(saved, other, reason):
    path = saved(other.state_dict())
    with pytest.raises(ValueError, match=rf"Expected weights of SmallCNN, but got .*: .*{reason}") as found:
        Reference(tiny_network(), path)
    assert "\n" not in str(found.value)
