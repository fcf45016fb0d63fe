import os
import pickle
from argparse import Namespace
from pathlib import Path
from unittest import mock

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lit_xai.cli import train_cli
from lit_xai.evaluation.checkpoints import load_classifier
from lit_xai.models.normalized import Normalized
from lit_xai.models.reference import Reference
from lit_xai.models.small import SmallCNN
from lit_xai.models.weights import load_weights, read_plain, read_weights
from tests.conftest import tiny_network

OPTIONS = [
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


class Harmful:
    """Touch a file as soon as it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture(scope="module")
def trained_file(tmp_path_factory):
    """One step of training, through the command."""
    runs = tmp_path_factory.mktemp("runs")
    arguments = [
        "fit",
        f"--config={Path(__file__).parents[2] / 'configs/experiments/embedded_natural.yaml'}",
        f"--runs={runs}",
        *OPTIONS,
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


@pytest.mark.parametrize("holder", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "net.", "backbone.", "network."])
def test_reads_checkpoints_of_other_training_scripts(saved, model, said, holder, prefix):
    weights = {prefix + name: value for name, value in model.state_dict().items()}
    arguments = Namespace(lr=0.1, model="resnet18")
    path = saved({"epoch": 3, "arch": "resnet18", "args": arguments, holder: weights})
    assert read_weights(path).keys() == weights.keys()
    other = tiny_network(seed=1)
    load_weights(other, path)
    assert_same(model.state_dict(), other)
    line = f"{path}: the weights were read without the `{prefix}` before all of their names."
    assert said == ([line] if prefix else [])


def test_the_arguments_of_a_script_run_nothing(saved, model, tmp_path):
    arguments = Namespace(hook=Harmful(tmp_path / "mark"))
    with pytest.raises(ValueError, match="Expected a file of weights, but got"):
        read_weights(saved({"args": arguments, "state_dict": model.state_dict()}))
    assert not (tmp_path / "mark").exists()


def test_a_network_that_wraps_a_model_keeps_its_names(saved):
    network = nn.ModuleDict({"model": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    assert_same(read_weights(saved(network.state_dict())), network)


def test_reads_plain_values_as_they_are(saved):
    assert read_plain(saved({"epoch": 3, "names": ["a"]}), "a card") == {"epoch": 3, "names": ["a"]}


def test_says_what_the_file_should_be(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"Expected a card, but got .*gone, which does not exist\."):
        read_plain(tmp_path / "gone", "a card")


@pytest.mark.parametrize("ending", ["ckpt", "safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x02.", b"PK\x03\x04 cut off", bytes(5000)])
def test_refuses_what_is_no_file_of_weights(tmp_path, content, ending):
    path = tmp_path / f"weights.{ending}"
    path.write_bytes(content)
    match = rf"Expected a file of weights, but got .*weights\.{ending}: \S"
    with pytest.raises(ValueError, match=match) as found:
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
        {1: torch.ones(2)},
        {"state_dict": {1: torch.ones(2)}},
        {"state_dict": {"model.weight": "many"}},
        {"state_dict": {"model.weight": torch.ones(2), "model.bias": None}},
        {"state_dict": {"weight": torch.ones(2), "bias": None}},
        {"model": {}},
        {"model": {"weight": torch.ones(2), "bias": 1.0}},
    ],
    ids=str,
)
def test_refuses_a_file_without_weights(saved, content):
    match = r"Expected a file of weights, but got .*weights\.ckpt, which holds something else\."
    with pytest.raises(ValueError, match=match):
        read_weights(saved(content))


def test_loads_weights_into_a_network(saved, model):
    other = tiny_network(seed=1)
    load_weights(other, saved(model.state_dict()))
    assert_same(model.state_dict(), other)


def test_refuses_weights_of_another_network(saved, model):
    with pytest.raises(ValueError, match=r"Expected weights of SmallCNN, but got .*: Error\(s\) in loading"):
        load_weights(SmallCNN(), saved(model.state_dict()))


def test_a_checkpoint_of_a_warm_start_is_read_without_the_file_it_started_from(tmp_path, trained_file):
    start = tmp_path / "start.ckpt"
    start.write_bytes(trained_file.read_bytes())
    config = Path(__file__).parents[2] / "configs/experiments/embedded_natural.yaml"
    with mock.patch.dict(os.environ):
        train_cli(
            ["fit", f"--config={config}", f"--runs={tmp_path}", f"--model.warm_start={start}", *OPTIONS]
        )
    start.unlink()
    (file,) = tmp_path.glob("embedded_natural/1/checkpoints/*.ckpt")
    found = load_classifier(file)
    assert Path(found.warm_start) == start
    # One step of Adam from the file; without the warm start, this seed's first step ends in the file itself.
    before = read_weights(trained_file)
    moved = max((value - before[name]).abs().max() for name, value in found.model.state_dict().items())
    assert 1e-4 < moved < 1.1e-3


@pytest.fixture
def said(monkeypatch):
    """Lines that were said while weights were read."""
    lines: list[str] = []
    monkeypatch.setattr("lit_xai.models.weights.rank_zero_info", lines.append)
    return lines


def test_reads_safetensors(tmp_path, model):
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    assert_same(read_weights(tmp_path / "weights.safetensors"), model)
    other = tiny_network(seed=1)
    load_weights(other, tmp_path / "weights.safetensors")
    assert_same(model.state_dict(), other)


def test_safetensors_without_weights_are_refused(tmp_path):
    save_file({}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"but got .*weights\.safetensors, which holds something else"):
        read_weights(tmp_path / "weights.safetensors")


def test_the_ending_alone_decides_what_a_file_is_taken_for(tmp_path, model):
    torch.save(model.state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"Expected a file of weights, but got .*weights\.safetensors: \S"):
        read_weights(tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "model.",
        "_orig_mod.",
        "net.",
        "backbone.",
        "network.",
        "module._orig_mod.",
        "_orig_mod.module.model.",
    ],
)
def test_the_prefixes_of_wrappers_are_taken_off_and_it_is_said(saved, model, said, prefix):
    path = saved({prefix + name: value for name, value in model.state_dict().items()})
    other = tiny_network(seed=1)
    load_weights(other, path)
    assert_same(model.state_dict(), other)
    assert said == [f"{path}: the weights were read without the `{prefix}` before all of their names."]
    # What is stored is read as it is; only a network says what its names are.
    assert all(name.startswith(prefix) for name in read_weights(path))


def test_a_checkpoint_of_a_compiled_network_is_read(saved, model, said):
    weights = {f"model._orig_mod.{name}": value for name, value in model.state_dict().items()}
    other = tiny_network(seed=1)
    load_weights(other, saved({"state_dict": weights}))
    assert_same(model.state_dict(), other)
    assert len(said) == 1
    assert "`_orig_mod.`" in said[0]


@pytest.mark.parametrize("wrap", [lambda network: nn.ModuleDict({"model": network}), nn.DataParallel])
def test_a_prefix_that_the_network_has_is_kept(saved, model, said, wrap):
    other = wrap(tiny_network(seed=1))
    load_weights(other, saved(wrap(model).state_dict()))
    assert_same(wrap(model).state_dict(), other)
    assert not said


def test_only_the_prefix_that_the_network_lacks_is_taken_off(saved, model, said):
    wrapped = nn.ModuleDict({"model": model})
    weights = {f"module.{name}": value for name, value in wrapped.state_dict().items()}
    other = nn.ModuleDict({"model": tiny_network(seed=1)})
    load_weights(other, saved(weights))
    assert_same(wrapped.state_dict(), other)
    assert "without the `module.` before" in said[0]


def test_a_prefix_is_taken_off_the_beginning_only(saved):
    network, other = (nn.ModuleDict({"last": nn.ModuleDict({"model": nn.Linear(2, 2)})}) for _ in range(2))
    load_weights(other, saved({f"model.{name}": value for name, value in network.state_dict().items()}))
    assert_same(network.state_dict(), other)


def test_a_prefix_of_some_names_is_no_prefix(saved, model):
    weights = dict(model.state_dict())
    first = next(iter(weights))
    weights[f"module.{first}"] = weights.pop(first)
    with pytest.raises(ValueError, match=rf"Expected weights of SmallCNN.*Missing key.*{first}"):
        load_weights(tiny_network(seed=1), saved(weights))


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_weights_of_the_network_inside_are_its_own(saved, model, said, prefix):
    other = Normalized(Reference(tiny_network(seed=1)), (0.4, 0.6), (0.25, 0.1))
    load_weights(other, saved({prefix + name: value for name, value in model.state_dict().items()}))
    assert_same(model.state_dict(), other.model.network)
    torch.testing.assert_close(other.mean.flatten(), torch.tensor([0.4, 0.6]), rtol=0, atol=0)
    assert len(said) == bool(prefix)


def test_the_weights_of_the_whole_stand_before_those_of_its_part(saved, model):
    whole = Normalized(model, (0.1, 0.2), (0.3, 0.5))
    other = Normalized(tiny_network(seed=1), (0.4, 0.6), (0.25, 0.1))
    load_weights(other, saved(whole.state_dict()))
    assert_same(whole.state_dict(), other)


def test_weights_of_a_part_under_the_name_that_the_whole_has_for_it_are_the_parts(saved, model, said):
    other = Normalized(tiny_network(seed=1), (0.4, 0.6), (0.25, 0.1))
    load_weights(other, saved({f"model.{name}": value for name, value in model.state_dict().items()}))
    assert_same(model.state_dict(), other.model)
    torch.testing.assert_close(other.mean.flatten(), torch.tensor([0.4, 0.6]), rtol=0, atol=0)
    assert "without the `model.` before" in said[0]


@pytest.mark.parametrize("own", ["denselayer1.norm1", "denselayer1.norm.1"])
@pytest.mark.parametrize("stored", ["denselayer1.norm1", "denselayer1.norm.1"])
def test_older_names_are_those_of_now_for_a_network_that_has_these(saved, own, stored):
    network = nn.Module()
    if own.endswith("norm1"):
        network.denselayer1 = nn.ModuleDict({"norm1": nn.Linear(2, 2)})
    else:
        network.denselayer1 = nn.ModuleDict({"norm": nn.ModuleDict({"1": nn.Linear(2, 2)})})
    path = saved({f"{stored}.weight": torch.full((2, 2), 7.0), f"{stored}.bias": torch.full((2,), 7.0)})
    if own.endswith("norm.1") and stored.endswith("norm1"):
        with pytest.raises(ValueError, match=r"Missing key.*denselayer1\.norm\.1\.weight"):
            load_weights(network, path)
        return
    load_weights(network, path)
    assert bool((network.get_submodule(own).weight == 7.0).all())


def test_half_of_a_network_is_not_taken_for_the_whole(saved):
    halves = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"Expected weights of Sequential, but got .*Missing key"):
        load_weights(halves, saved(halves[0].state_dict()))


def test_the_bytes_of_a_file_need_not_be_read_twice(saved):
    path = saved({"epoch": 3})
    data = path.read_bytes()
    path.write_bytes(b"changed")
    assert read_plain(path, "a card", data) == {"epoch": 3}
