import hashlib
import os
import pickle
import random
from pathlib import Path
from unittest import mock

import lightning.pytorch as pl
import pytest
import torch

from lit_xai.cli import train_cli
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.checkpoints import checksum, load_classifier, load_data
from lit_xai.models.small import SmallCNN
from lit_xai.module import LitClassifier
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD


@pytest.fixture(scope="module")
def trained_file(tmp_path_factory):
    """One step of training, through the command."""
    runs = tmp_path_factory.mktemp("runs")
    config = Path(__file__).parents[2] / "configs" / "experiments" / "embedded_natural.yaml"
    arguments = [
        "fit",
        f"--config={config}",
        f"--runs={runs}",
        "--model.noise_seed=7",
        "--model.adversary.steps=3",
        "--data.max_train=50",
        "--data.batch_size=25",
        "--data.donor_split=val",
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


@pytest.fixture
def changed(trained_file, tmp_path):
    """Return the trained checkpoint with a part of it edited."""

    def save(edit):
        content = torch.load(trained_file, weights_only=True)
        edit(content)
        torch.save(content, tmp_path / "changed.ckpt")
        return tmp_path / "changed.ckpt"

    return save


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_a_classifier_comes_back(trained_file):
    found = load_classifier(trained_file)
    content = torch.load(trained_file, weights_only=True)
    assert isinstance(found, LitClassifier)
    assert isinstance(found.model, SmallCNN)
    assert found.regime == Natural()
    assert found.adversary == PGD(eps=0.1, step_size=0.01, steps=3)
    assert found.noise_seed == 7
    assert found.model.features[0].out_channels == 16
    state = found.state_dict()
    assert state.keys() == content["state_dict"].keys()
    assert all(torch.equal(state[name], value) for name, value in content["state_dict"].items())
    assert {value.device.type for value in state.values()} == {"cpu"}


def test_weights_are_the_trained_ones_not_fresh_ones(trained_file):
    image = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(1)
    first = load_classifier(trained_file)(image)
    torch.manual_seed(2)
    assert torch.equal(load_classifier(trained_file)(image), first)


def test_data_come_back(trained_file):
    found = load_data(trained_file)
    assert isinstance(found, EmbeddedFashion)
    assert (found.batch_size, found.eval_batch_size, found.donor_split) == (25, 256, "val")
    assert found.limits == {"train": 50, "val": None, "test": None}
    assert len(found.images("train")) == 50


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("load", [load_classifier, load_data])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        random.Random(0).randbytes(4096),
        b"PK\x03\x04" + random.Random(1).randbytes(4096),
        b"hello, world\n",
        b"seed_everything: 0\nmodel:\n",
        b"# Model card\n",
        b"R",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
        b"c\xff\n",
    ],
    ids=["empty", "random", "zip", "text", "yaml", "markdown", "opcode", "png", "gif", "not_utf8"],
)
def test_refuses_a_file_that_cannot_be_read(tmp_path, load, content):
    path = tmp_path / "broken.ckpt"
    path.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"Expected a checkpoint of plain tensors, but got .*broken\.ckpt: ."
    ):
        load(path)


@pytest.mark.parametrize("load", [load_classifier, load_data])
def test_refuses_a_file_that_was_cut_off(trained_file, tmp_path, load):
    path = tmp_path / "cut.ckpt"
    path.write_bytes(trained_file.read_bytes()[:10_000])
    with pytest.raises(ValueError, match=r"Expected a checkpoint of plain tensors, but got .*cut\.ckpt: ."):
        load(path)


class Trap:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("load", [load_classifier, load_data])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, load, wrapped, save):
    marker, path = tmp_path / "marker", tmp_path / "trap.ckpt"
    trap = Trap(marker)
    save({"state_dict": {}, "hyper_parameters": {"model": trap}} if wrapped else trap, path)
    with pytest.raises(ValueError, match=r"Expected a checkpoint of plain tensors, but got .*trap\.ckpt: ."):
        load(path)
    assert not marker.exists()
    torch.load(path, weights_only=False) if save is torch.save else pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("load", [load_classifier, load_data])
@pytest.mark.parametrize(
    "content",
    [{"weight": torch.ones(2)}, {"state_dict": {}}, {"hyper_parameters": {}}, [1, 2], torch.ones(3)],
    ids=["weights", "state_only", "settings_only", "list", "tensor"],
)
def test_refuses_a_file_of_something_else(tmp_path, load, content):
    path = tmp_path / "other.ckpt"
    torch.save(content, path)
    match = (
        r"Expected a checkpoint of the training command, but got .*other\.ckpt, which holds something else"
    )
    with pytest.raises(ValueError, match=match):
        load(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.update(hyper_parameters={}),
        lambda content: content.update(state_dict={}),
        lambda content: content["state_dict"].pop("model.head.0.bias"),
        lambda content: content["hyper_parameters"]["model"]["init_args"].update(width=8),
        lambda content: content["hyper_parameters"].pop("model"),
        lambda content: content["hyper_parameters"].update(model=3),
        lambda content: content["hyper_parameters"]["model"].update(class_path="gone.Network"),
        lambda content: content["hyper_parameters"]["model"].update(class_path="lit_xai.models.small.Gone"),
        lambda content: content["hyper_parameters"]["model"]["init_args"].update(depth=3),
        lambda content: content["hyper_parameters"]["regime"].update(class_path="torch.nn.ReLU"),
    ],
    ids=[
        "no_settings",
        "no_weights",
        "a_weight_missing",
        "other_width",
        "no_model",
        "model_is_a_number",
        "module_gone",
        "class_gone",
        "unknown_option",
        "regime_is_no_regime",
    ],
)
def test_refuses_a_classifier_that_cannot_be_rebuilt(changed, edit):
    path = changed(edit)
    match = r"Expected a checkpoint of the training command, but got .*changed\.ckpt: ."
    with pytest.raises(ValueError, match=match):
        load_classifier(path)


def test_refuses_another_lightning_module(tmp_path):
    class Other(pl.LightningModule):
        def __init__(self, width):
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(width, 1)

    trainer = pl.Trainer(
        logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu"
    )
    trainer.strategy.connect(Other(width=3))
    trainer.save_checkpoint(tmp_path / "other.ckpt")
    with pytest.raises(ValueError, match=r"the training command, but got .*other\.ckpt: ."):
        load_classifier(tmp_path / "other.ckpt")


@pytest.mark.parametrize("name", ["os.system", "builtins.print"])
def test_no_other_function_rebuilds_a_classifier(changed, name):
    path = changed(lambda content: content["hyper_parameters"].update(_instantiator=name))
    with pytest.raises(ValueError, match="not in the allowlist"):
        load_classifier(path)


@pytest.mark.parametrize(
    "edit",
    [
        lambda content: content.pop("datamodule_hyper_parameters"),
        lambda content: content["datamodule_hyper_parameters"].pop("_class_path"),
        lambda content: content.update(datamodule_hyper_parameters=None),
    ],
    ids=["no_data", "no_class", "none"],
)
def test_refuses_a_checkpoint_that_does_not_name_its_data(changed, edit):
    match = r"Expected a checkpoint that names its data, but got .*changed\.ckpt\. Give `--data`\."
    with pytest.raises(ValueError, match=match):
        load_data(changed(edit))


@pytest.mark.parametrize("name", ["gone.Data", "lit_xai.data.embedded_fashion.Gone", "torch.nn.ReLU"])
def test_refuses_unknown_data(changed, name):
    path = changed(lambda content: content["datamodule_hyper_parameters"].update(_class_path=name))
    with pytest.raises(ValueError, match=rf"Expected known data in .*changed\.ckpt, but got {name}: ."):
        load_data(path)


def test_refuses_unknown_options_of_data(changed):
    path = changed(lambda content: content["datamodule_hyper_parameters"].update(nonsense=1))
    with pytest.raises(ValueError, match=r"Expected known data in .*EmbeddedFashion: (?s:.)*nonsense"):
        load_data(path)


def test_checksum_is_the_sha256(tmp_path):
    content = random.Random(0).randbytes(300_000)
    (tmp_path / "file").write_bytes(content)
    assert checksum(tmp_path / "file") == hashlib.sha256(content).hexdigest()
