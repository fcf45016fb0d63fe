import json
import sys
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

from lit_xai.attacks.base import Attack
from lit_xai.evaluation.checkpoints import load_classifier, load_data
from lit_xai.evaluation.components import check_components

CONFIGS = Path(__file__).parents[2] / "configs"
NETWORK = {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 2}}
FILE = Path("some.ckpt")


class OwnAttack(Attack):
    """A user's own attack, in the place of its module."""


@pytest.fixture
def own_module(monkeypatch, request):
    """Let `mine` be a module on the path."""
    monkeypatch.setitem(sys.modules, "mine", sys.modules[__name__])


def command(marker: Path) -> dict:
    return {"class_path": "subprocess.Popen", "init_args": {"args": f"touch {marker}", "shell": True}}


def checkpoint(path: Path, **settings) -> Path:
    """Write a checkpoint that is one but for its weights."""
    hyper_parameters = {
        "model": NETWORK,
        "regime": {"class_path": "lit_xai.regimes.natural.Natural"},
        "num_classes": 10,
        "_instantiator": "lightning.pytorch.cli.instantiate_module",
        **settings,
    }
    content = {"state_dict": {}, "hyper_parameters": hyper_parameters, "pytorch-lightning_version": "2.6.6"}
    torch.save(content, path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.exec",
        "subprocess.Popen",
        "logging.FileHandler",
        "antigravity.geohash",
        "jsonargparse.set_parsing_settings",
        "timm.create_model",
        "timm.models.create_model",
        "torchvision.models.list_models",
        "torchvision.models.resnet18",
        "timm.__main__.main",
        "torch.hub.load",
        "torch.jit.ScriptModule",
        "torch.os.system",
        "torch.Tensor",
        "pandas.DataFrame",
        "lit_xai.command.Parser",
        "lit_xai.evaluation.store.Store",
        "lit_xai.evaluation.components.Path",
    ],
)
@pytest.mark.parametrize("place", ["itself", "argument", "list", "dict", "text", "escaped", "inside"])
def test_what_is_no_part_of_a_classifier_is_refused(name, place):
    found = {"class_path": name}
    text = json.dumps(found)
    settings = {
        "itself": found,
        "argument": {"class_path": "torch.nn.Linear", "init_args": {"device": found}},
        "list": {"layers": [1, (found,)]},
        "dict": {"class_path": "torch.nn.Identity", "dict_kwargs": {"x": found}},
        "text": {"device": text},
        "escaped": {"device": text.replace("c", "\\u0063")},
        "inside": {"device": json.dumps({"device": text})},
    }
    message = (
        f"Expected settings that build parts of a classifier only, but got some.ckpt, which names {name}"
    )
    with pytest.raises(ValueError, match=f"^{message}" if place != "escaped" else "which names") as error:
        check_components({"model": settings[place]}, FILE)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [3, None, ["os.system"], {"class_path": "SmallCNN"}])
def test_a_class_path_is_a_text(name):
    with pytest.raises(ValueError, match="which names "):
        check_components({"model": {"class_path": name}}, FILE)


def test_modules_that_act_are_not_imported():
    for name in ("antigravity", "this"):
        sys.modules.pop(name, None)
        for settings in ({"class_path": f"{name}.d"}, {"optimizer": f"{name}.d"}):
            with pytest.raises(ValueError, match=f"which names {name}.d"):
                check_components(settings, FILE)
        assert name not in sys.modules


@pytest.mark.parametrize(
    "text", ["os.system", "builtins.exec", "torch.os.system", "lit_xai.runs.os.abort", "posix._exit"]
)
def test_functions_of_the_standard_library_are_refused(text):
    with pytest.raises(ValueError, match=f"which names {text}. Nothing of it was run"):
        check_components({"model": {"init_args": {"norm_layer": text}}}, FILE)


@pytest.mark.parametrize(
    "settings",
    [
        {
            "layer": "features.conv",
            "warm_start": "random.pt",
            "code": "code.weight",
            "name": "resnet18.a1_in1k",
        },
        {
            "layer": "head.2",
            "path": "data/x",
            "monitor": "val/accuracy",
            "empty": "",
            "word": "os",
            "number": 3,
        },
        {
            "activation": "torch.nn.functional.relu",
            "text": "a: b",
            "list": "[1, 2]",
            "bad": "{]",
            "date": "x",
        },
        {
            "long": "x" * 5000,
            "nul": "a\0b",
            "quote": '"',
            "tag": "!!python/object:os.system",
            "bytes": b"os",
            "braces": "{{a}}",
        },
        {"class_path": "SmallCNN"},
        {"class_path": "gone.Network"},
        {"class_path": "lit_xai.models.small.Gone"},
        {"_class_path": "lit_xai.data.mnist.MNIST", "_instantiator": "os.system"},
        {"class_path": "lit_xai.attacks.criteria.Spearman", "init_args": NETWORK},
        {"class_path": "mine.OwnAttack"},
    ],
)
def test_everything_else_passes(settings, own_module):
    check_components(settings, FILE)


def test_all_shipped_parts_pass():
    paths = [
        path for path in sorted(CONFIGS.rglob("*.yaml")) if path.parent.name not in ("callbacks", "loggers")
    ]
    passed = 0
    for path in paths:
        content = yaml.safe_load(path.read_text())
        content.pop("trainer", None)
        check_components(content, path)
        passed += "class_path" in path.read_text()
    assert passed > 80


def test_a_file_of_settings_is_looked_into(tmp_path):
    (tmp_path / "network.txt").write_text("init_args:\n  width: 3\n")
    check_components({"model": str(tmp_path / "network.txt")}, FILE)
    (tmp_path / "network.txt").write_text("class_path: subprocess.Popen\n")
    with pytest.raises(ValueError, match=r"which names subprocess\.Popen"):
        check_components({"model": str(tmp_path / "network.txt")}, FILE)


def test_endless_texts_end():
    for text in ("&a [*a]", "&a {class_path: subprocess.Popen, b: *a}"):
        with pytest.raises(ValueError, match="which names settings inside themselves"):
            check_components({"model": text}, FILE)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="which names settings inside themselves"):
        check_components(deep, FILE)


def test_a_network_that_takes_anything_takes_no_command(tmp_path):
    marker = tmp_path / "marker"
    model = {
        "class_path": "torch.nn.Linear",
        "init_args": {"in_features": 1, "out_features": 1, "device": command(marker)},
    }
    with pytest.raises(ValueError, match=r"which names subprocess\.Popen\. Nothing of it was run\. "):
        load_classifier(checkpoint(tmp_path / "trap.ckpt", model=model))
    assert not marker.exists()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_trap_is_one(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    monkeypatch.setattr("lit_xai.evaluation.checkpoints.check_components", lambda *_: None)
    model = {
        "class_path": "torch.nn.Linear",
        "init_args": {
            "in_features": 1,
            "out_features": 1,
            "device": {"class_path": "logging.FileHandler", "init_args": {"filename": str(marker)}},
        },
    }
    with pytest.raises(ValueError, match=r"must be torch\.device, not FileHandler"):
        load_classifier(checkpoint(tmp_path / "trap.ckpt", model=model))
    assert marker.exists()


def test_own_classes_are_known_by_what_they_inherit():
    assert not issubclass(OwnAttack, nn.Module)
    check_components({"class_path": f"{__name__}.OwnAttack"}, FILE)


@pytest.mark.parametrize("key", ["class_path", "_class_path"])
@pytest.mark.parametrize("name", ["os.system", "pandas.DataFrame"])
def test_data_of_a_checkpoint_are_checked_too(tmp_path, key, name):
    path, marker = checkpoint(tmp_path / "trap.ckpt"), tmp_path / "marker"
    content = torch.load(path, weights_only=True)
    settings = {"_class_path": "lit_xai.data.mnist.MNIST"}
    content["datamodule_hyper_parameters"] = {**settings, key: name, "data_dir": command(marker)}
    torch.save(content, path)
    with pytest.raises(ValueError, match=rf"which names {name}\. Nothing of it was run\. "):
        load_data(path)
    assert not marker.exists()


def own_network() -> nn.Module:
    return nn.Identity()


class OwnCriterion:
    """Something of a user's own that is none of the families."""


@pytest.mark.parametrize("name", ["own_network", "OwnCriterion"])
def test_a_users_own_module_is_trusted_when_it_is_imported(name, own_module):
    check_components({"criterion": {"class_path": f"mine.{name}"}}, FILE)
