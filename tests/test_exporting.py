import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
import timm
import torch
import torchvision
from safetensors.torch import load_file
from torch import nn

from lit_xai import exporting
from lit_xai.cli import train_cli
from lit_xai.evaluation.checkpoints import load_classifier
from lit_xai.evaluation.subjects import from_checkpoint, from_model
from lit_xai.exporting import export
from lit_xai.models.preprocessing import Preprocessing
from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier
from lit_xai.module import LitClassifier
from lit_xai.portable import portable

CONFIG = Path(__file__).parents[1] / "configs/experiments/embedded_natural.yaml"
OPTIONS = [
    "--data.max_train=20",
    "--trainer.max_epochs=1",
    "--trainer.limit_val_batches=0",
    "--trainer.logger=false",
    "--trainer.callbacks=null",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]


def trained(runs: Path, *options: str) -> Path:
    """Train for a step by the command; return the checkpoint at the end."""
    arguments = ["fit", f"--config={CONFIG}", f"--runs={runs}", *options, *OPTIONS]
    with mock.patch.dict(os.environ):
        train_cli(arguments)
    return runs / "embedded_natural" / "1" / "resume.ckpt"


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Classifiers of both libraries, trained from files of 1000 classes and 3 channels that are gone."""
    found = {}
    for build, name in ((TimmClassifier, "test_resnet"), (TorchvisionClassifier, "squeezenet1_1")):
        folder = tmp_path_factory.mktemp(build.library)
        torch.save(build(name).network.model.state_dict(), folder / "released.pth")
        found[build.library] = trained(
            folder,
            f"--model.model=lit_xai.models.zoo.{build.__name__}",
            f"--model.model.name={name}",
            "--model.model.channels=1",
            f"--model.model.weights={folder / 'released.pth'}",
        )
        (folder / "released.pth").unlink()
    folder = tmp_path_factory.mktemp("own")
    found["lit_xai"] = trained(folder, "--model.model.width=4")
    return found


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    def fetched(*arguments, **options):
        raise AssertionError("fetched")

    for place in ("timm.models._hub.hf_hub_download", "socket.create_connection", "urllib.request.urlopen"):
        monkeypatch.setattr(place, fetched)


def pixels(size: int = 28) -> torch.Tensor:
    return torch.rand(2, 1, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:trainer.max_epochs. 2 was given")
@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_checkpoint_needs_no_file_that_its_network_began_with(checkpoints, library, capsys):
    path = checkpoints[library]
    network = from_checkpoint("mine", path).load()
    assert network.num_classes == 10
    stored = torch.load(path, weights_only=True)["state_dict"]
    assert all(torch.equal(value, stored[f"model.{name}"]) for name, value in network.state_dict().items())
    again = LitClassifier.load_from_checkpoint(path, map_location="cpu", weights_only=True)
    assert torch.equal(again.model.eval()(pixels(64)), network.eval()(pixels(64)))
    with mock.patch.dict(os.environ):
        train_cli(["fit", f"--resume={path.parent}", "--trainer.max_epochs=2"])
    assert "error" not in capsys.readouterr().err
    assert torch.load(path, weights_only=True)["global_step"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:model.*the checkpoint.s .* is used")
def test_a_regime_that_compares_with_the_start_reads_the_file_again(tmp_path, capsys):
    torch.save(TimmClassifier("test_resnet").network.model.state_dict(), tmp_path / "released.pth")
    path = trained(
        tmp_path,
        "--model.model=lit_xai.models.zoo.TimmClassifier",
        "--model.model.name=test_resnet",
        "--model.model.channels=1",
        f"--model.model.weights={tmp_path / 'released.pth'}",
        "--model.regime=lit_xai.regimes.fooling.TopKFooling",
    )
    with mock.patch.dict(os.environ), pytest.raises(SystemExit):
        train_cli(["fit", f"--config={CONFIG}", f"--runs={tmp_path}", f"--ckpt_path={path}", *OPTIONS])
    # The file of another does not decide what is read.
    assert "since TopKFooling compares with the network that training began with" in capsys.readouterr().err
    (tmp_path / "released.pth").unlink()
    with mock.patch.dict(os.environ), pytest.raises(SystemExit):
        train_cli(["fit", f"--resume={path.parent}"])
    assert "released.pth, which does not exist" in capsys.readouterr().err
    assert load_classifier(path).model.num_classes == 10


@pytest.mark.parametrize("library", ["timm", "torchvision", "lit_xai"])
def test_an_exported_network_gives_the_same_logits(checkpoints, library, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = load_classifier(checkpoints[library]).model.eval()(pixels(28 if library == "lit_xai" else 64))
    result = export(checkpoints[library], Path("robust"))
    names = {"pixels": pixels(28 if library == "lit_xai" else 64)}
    # The lines that the page shows.
    (shown,) = Path("robust/README.md").read_text().split("```python\n")[1:]
    exec(shown.partition("```")[0], names)
    assert torch.equal(names["logits"], expected)
    assert expected.std() > 1e-4
    network = from_model("mine", Path("robust/network.yaml")).load().eval()
    assert torch.equal(network(names["pixels"]), expected)
    assert result.library == library
    assert sorted(path.name for path in Path().iterdir()) == ["robust"]


def test_the_names_are_those_of_the_library(checkpoints, tmp_path):
    export(checkpoints["timm"], tmp_path / "timm")
    own = timm.create_model("test_resnet", num_classes=10, in_chans=1).state_dict()
    weights = load_file(tmp_path / "timm" / "model.safetensors")
    assert {name: value.shape for name, value in weights.items()} == {
        name: value.shape for name, value in own.items()
    }
    export(checkpoints["torchvision"], tmp_path / "torchvision")
    weights = load_file(tmp_path / "torchvision" / "model.safetensors")
    assert weights.keys() == torchvision.models.squeezenet1_1().state_dict().keys()


def test_the_card_says_where_a_network_comes_from(checkpoints, tmp_path):
    path = checkpoints["timm"]
    export(path, tmp_path / "robust")
    card = json.loads((tmp_path / "robust" / "card.json").read_text())
    assert card["files"]["model.safetensors"]["sha256"] == digest(tmp_path / "robust" / "model.safetensors")
    assert card["checkpoint"]["sha256"] == digest(path)
    assert card["checkpoint"]["seed"] == 0
    assert card["started_from"] == {"weights": str(path.parents[2] / "released.pth")}
    assert card["regime"]["class_path"] == "lit_xai.regimes.natural.Natural"
    assert card["data"]["_class_path"] == "lit_xai.data.embedded_fashion.EmbeddedFashion"
    assert card["normalisation"] == {"mean": [0.5], "std": [0.5]}
    assert (card["num_classes"], card["library"]) == (10, "timm")
    page = (tmp_path / "robust" / "README.md").read_text()
    assert card["files"]["model.safetensors"]["sha256"] in page
    assert "released.pth" in page


def test_the_card_says_how_a_network_was_trained_and_keeps_no_secret(checkpoints, tmp_path):
    content = torch.load(checkpoints["lit_xai"], weights_only=True)
    content["hyper_parameters"]["warm_start"] = "start.ckpt"
    # In the middle of an epoch it is that which is not finished.
    content["epoch"] = 5
    content["datamodule_hyper_parameters"] |= {"access_token": "ab12", "root": "images"}
    torch.save(content, tmp_path / "changed.ckpt")
    export(tmp_path / "changed.ckpt", tmp_path / "robust")
    text = (tmp_path / "robust" / "card.json").read_text()
    card = json.loads(text)
    assert "ab12" not in text
    assert (card["data"]["access_token"], card["data"]["root"]) == ("(secret, left out)", "images")
    assert "_instantiator" not in card["data"]
    assert card["started_from"] == {"warm_start": "start.ckpt"}
    assert card["preprocessing"] is None
    model = load_classifier(checkpoints["lit_xai"]).model
    assert card["parameters"] == sum(parameter.numel() for parameter in model.parameters()) > 1000
    trained_for = {name: card["checkpoint"][name] for name in ("file", "epoch", "steps", "precision")}
    assert trained_for == {"file": "changed.ckpt", "epoch": 1, "steps": 1, "precision": "32-true"}
    page = (tmp_path / "robust" / "README.md").read_text()
    assert 'Training: 1 steps, finished epochs: 1, started from `{"warm_start": "start.ckpt"}`\n' in page


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_nothing_is_left_of_a_network_that_its_library_builds_otherwise(checkpoints, tmp_path):
    content = torch.load(checkpoints["timm"], weights_only=True)
    content["state_dict"]["model.network.mean"] += 0.1
    torch.save(content, tmp_path / "other.ckpt")
    with pytest.raises(
        ValueError, match=r"library builds as it is, but got .*, which differs in network\.mean"
    ):
        export(tmp_path / "other.ckpt", tmp_path / "robust")
    assert [path.name for path in tmp_path.iterdir()] == ["other.ckpt"]
    shutil.rmtree(tmp_path)


def test_a_network_that_computes_something_else_is_refused(checkpoints, tmp_path, monkeypatch):
    def other(name, path):
        subject = from_model(name, path)
        network = subject.load()
        network.register_forward_hook(lambda module, images, logits: logits.nextafter(logits + 1))
        return replace(subject, load=lambda: network)

    monkeypatch.setattr("lit_xai.exporting.from_model", other)
    with pytest.raises(ValueError, match=r"library builds as it is, but got .*, which differs in its logits"):
        export(checkpoints["lit_xai"], tmp_path / "robust")
    assert not list(tmp_path.iterdir())


def test_a_network_that_keeps_more_is_refused(checkpoints, tmp_path, monkeypatch):
    def other(name, path):
        subject = from_model(name, path)
        network = subject.load()
        network.register_buffer("more", torch.zeros(1))
        return replace(subject, load=lambda: network)

    monkeypatch.setattr("lit_xai.exporting.from_model", other)
    with pytest.raises(ValueError, match=r"but got .*, which differs in more\."):
        export(checkpoints["lit_xai"], tmp_path / "robust")


def test_logits_are_compared_in_evaluation_mode_for_images_of_the_size_of_the_data(
    checkpoints, tmp_path, monkeypatch
):
    asked = []

    def recorded(network, image):
        asked.append((tuple(image.shape), network.training))
        return original(network, image)

    original = exporting._logits
    data = SimpleNamespace(preprocessing=Preprocessing(36, 40))
    monkeypatch.setattr("lit_xai.exporting.load_data", lambda path: data)
    monkeypatch.setattr("lit_xai.exporting._logits", recorded)
    export(checkpoints["timm"], tmp_path / "robust")
    assert asked == [((1, 1, 36, 36), False)] * 2


def of_one_size():
    """Return a network that takes images of 160 pixels only, as its released weights say."""
    model = TimmClassifier("test_vit", num_classes=2)
    model.network.model.patch_embed.strict_img_size = True
    return model


@pytest.mark.parametrize(
    "build",
    [
        of_one_size,
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 2)),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2)),
    ],
    ids=["released_size", "one_channel", "three_channels"],
)
def test_images_that_the_network_takes_are_found(build, monkeypatch):
    monkeypatch.setattr("lit_xai.exporting.rank_zero_info", pytest.fail)
    model, other = build().eval(), build().eval()
    result = portable(model, {"class_path": "own.Net"}, None)
    assert exporting._give_same_logits(model, model, result)
    assert not exporting._give_same_logits(model, other, result)


def test_logits_that_cannot_be_compared_are_not_passed_over_in_silence(checkpoints, tmp_path, monkeypatch):
    said: list[str] = []
    monkeypatch.setattr("lit_xai.exporting.rank_zero_info", said.append)
    monkeypatch.setattr("lit_xai.exporting._SIZES", (1,))
    export(checkpoints["lit_xai"], tmp_path / "robust")
    assert said == ["The logits were not compared: the network takes none of the images that were tried."]


def test_the_preprocessing_of_the_data_is_told(checkpoints, tmp_path, monkeypatch):
    data = SimpleNamespace(preprocessing=Preprocessing(32, 40, "bicubic"))
    monkeypatch.setattr("lit_xai.exporting.load_data", lambda path: data)
    export(checkpoints["torchvision"], tmp_path / "robust")
    expected = {"size": 32, "resize": 40, "interpolation": "bicubic", "squash": False}
    for file in ("card.json", "config.json"):
        assert json.loads((tmp_path / "robust" / file).read_text())["preprocessing"] == expected
    assert (
        f"- Preprocessing of pictures: `{json.dumps(expected)}`\n"
        in (tmp_path / "robust" / "README.md").read_text()
    )


@pytest.mark.parametrize("error", [ValueError, FileNotFoundError])
def test_data_that_are_not_here_hinder_no_export(checkpoints, tmp_path, monkeypatch, error):
    def lost(path):
        raise error

    monkeypatch.setattr("lit_xai.exporting.load_data", lost)
    assert export(checkpoints["lit_xai"], tmp_path / "robust").preprocessing == {}
    assert (tmp_path / "robust" / "card.json").is_file()


def test_the_empty_directory_that_one_is_in_is_filled(checkpoints, tmp_path, monkeypatch):
    folder = tmp_path / 'a "name"'
    folder.mkdir()
    monkeypatch.chdir(folder)
    export(checkpoints["lit_xai"], Path())
    # The same directory as before, and nothing else in it.
    assert sorted(path.name for path in Path().iterdir()) == [
        "README.md",
        "card.json",
        "config.json",
        "model.safetensors",
        "network.yaml",
    ]
    page = Path("README.md").read_text()
    assert page.startswith('# a "name"\n')
    assert 'Path("a \\"name\\"/network.yaml")' in page


def test_a_directory_is_not_written_over(checkpoints, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    for output in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(FileExistsError) as found:
            export(checkpoints["lit_xai"], output)
        assert str(found.value) == f"Expected a new directory for `--output`, but got {output}, which exists."
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    export(checkpoints["lit_xai"], tmp_path / "empty")
    assert (tmp_path / "empty" / "card.json").is_file()


def test_refuses_what_is_no_checkpoint(checkpoints, tmp_path):
    output = tmp_path / "robust"
    torch.save({"weight": torch.ones(2)}, tmp_path / "plain.pt")
    with pytest.raises(ValueError, match="Expected a checkpoint of the training command, but got"):
        export(tmp_path / "plain.pt", output)
    content = torch.load(checkpoints["lit_xai"], weights_only=True)
    content["state_dict"] = {
        name.replace("model.", "model._orig_mod.", 1): value for name, value in content["state_dict"].items()
    }
    torch.save(content, tmp_path / "compiled.ckpt")
    with pytest.raises(ValueError, match="Expected a checkpoint of a network that is not compiled, but got"):
        export(tmp_path / "compiled.ckpt", output)
    assert not output.exists()
