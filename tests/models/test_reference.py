import copy
import os
import pickle
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import nn

from lit_xai.cli import train_cli
from lit_xai.evaluation.checkpoints import load_classifier
from lit_xai.gate import evaluating
from lit_xai.models.reference import Reference, read_weights
from lit_xai.models.small import SmallCNN
from tests.conftest import tiny_batch, tiny_network


class Harmful:
    """Touch a file as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path):
    """Return a function that saves anything as a file of weights."""

    def save(content):
        torch.save(content, tmp_path / "weights.ckpt")
        return tmp_path / "weights.ckpt"

    return save


@pytest.fixture(scope="module")
def trained_file(tmp_path_factory):
    """One step of training, through the command."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = [
        "fit",
        f"--config={Path(__file__).parents[2] / 'configs/experiments/embedded_natural.yaml'}",
        f"--runs={runs}",
        "--model.model.width=4",
        "--data.max_train=50",
        "--trainer.max_steps=1",
        "--trainer.limit_val_batches=0",
        "--trainer.logger=false",
        "--trainer.callbacks=null",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
    ]
    with mock.patch.dict(os.environ):
        train_cli(arguments)
    (file,) = runs.glob("embedded_natural/1/checkpoints/*.ckpt")
    return file


def assert_same(weights, network):
    assert weights.keys() == network.state_dict().keys()
    for name, value in network.state_dict().items():
        assert torch.equal(weights[name], value)


def test_reads_a_saved_state_dict(saved, model):
    assert_same(read_weights(saved(model.state_dict())), model)


def test_reads_a_checkpoint_of_the_training_command(trained_file):
    found, network = read_weights(trained_file), load_classifier(trained_file).model
    assert found["head.2.weight"].shape == (10, 128)
    assert_same(found, network)
    image = torch.rand(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    reference = Reference(SmallCNN(width=4), trained_file)
    assert torch.equal(reference(image), network.eval()(image))


def test_other_parts_of_a_checkpoint_are_left_out(saved, model):
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    others = {"adversary.step": torch.ones(2), "models.first": torch.ones(1), "epoch": 3}
    assert_same(read_weights(saved({"epoch": 3, "state_dict": {**others, **weights}})), model)


def test_buffers_belong_to_the_weights(saved):
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 4)).double()
    network(tiny_batch().image)
    other = nn.Sequential(nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(128, 4)).double()
    reference = Reference(other, saved(network.state_dict()))
    image = tiny_batch(seed=3).image
    assert torch.equal(reference(image), network.eval()(image))
    assert other[0].running_mean.abs().min() > 0


@pytest.mark.parametrize("kind", [str, Path])
def test_predicts_what_the_network_did(saved, model, kind):
    other = tiny_network(seed=5)
    image = tiny_batch().image
    assert not torch.equal(other(image), model(image))
    reference = Reference(other, kind(saved(model.state_dict())))
    assert torch.equal(reference(image), model(image))
    assert reference.network is other


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
    for action in (read_weights, lambda path: Reference(model, path)):
        with pytest.raises(
            FileNotFoundError, match=rf"Expected a file of weights, but got {name}, which does"
        ):
            action(Path(name))


@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02.", b"PK\x03\x04 cut off", bytes(5000)])
def test_refuses_what_is_no_file_of_weights(tmp_path, content):
    path = tmp_path / "weights.ckpt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"Expected a file of weights, but got .*weights\.ckpt: \S") as found:
        read_weights(path)
    assert "\n" not in str(found.value)
    assert len(str(found.value)) < len(str(path)) + 170


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_refuses_code_and_does_not_run_it(tmp_path, model, inside, plain):
    path, mark = tmp_path / "weights.ckpt", tmp_path / "mark"
    content = {**model.state_dict(), "more": Harmful(mark)} if inside else Harmful(mark)
    if plain:
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match="Expected a file of weights, but got"):
        read_weights(path)
    assert not mark.exists()
    torch.load(path, weights_only=False) if not plain else pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        3,
        torch.ones(2),
        [torch.ones(2)],
        {"weight": 1.0},
        {"weight": torch.ones(2), "epoch": 3},
        {"state_dict": {}},
        {"state_dict": {"model.weight": "many"}},
        {"state_dict": {"model.weight": torch.ones(2), "model.bias": None}},
    ],
    ids=str,
)
def test_refuses_a_file_without_weights(saved, content):
    match = r"Expected a file of weights, but got .*weights\.ckpt, which holds something else\."
    with pytest.raises(ValueError, match=match):
        read_weights(saved(content))


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
