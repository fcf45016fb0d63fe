import ast
import math

import pytest
import timm
import torch

from lit_xai.models.normalized import Normalized
from lit_xai.models.preprocessing import Preprocessing
from lit_xai.models.small import SmallCNN
from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier
from lit_xai.portable import portable


def test_a_network_of_timm_has_its_names_and_its_format():
    model = TimmClassifier("tf_efficientnet_lite0", num_classes=4)
    found = portable(model, {}, None)
    assert found.library == "timm"
    assert found.weights.keys() == timm.create_model("tf_efficientnet_lite0").state_dict().keys()
    assert found.config["architecture"] == "tf_efficientnet_lite0"
    assert found.config["num_classes"] == 4
    settings = found.config["pretrained_cfg"]
    assert (settings["mean"], settings["input_size"], settings["crop_pct"]) == (
        [0.5] * 3,
        [3, 224, 224],
        0.875,
    )
    # They belong to the released weights.
    assert not {"tag", "license", "url", "hf_hub_id"} & settings.keys()
    assert found.description["init_args"] == {
        "name": "tf_efficientnet_lite0",
        "num_classes": 4,
        "channels": 3,
    }


def test_the_normalisation_is_that_of_the_network():
    model = TimmClassifier("test_resnet", num_classes=4)
    model.network.mean.fill_(0.25)
    model.network.std.fill_(0.125)
    found = portable(model, {}, None)
    settings = found.config["pretrained_cfg"]
    assert found.normalisation == {"mean": [0.25] * 3, "std": [0.125] * 3}
    assert {name: settings[name] for name in ("mean", "std")} == found.normalisation
    assert "normalize(pixels, [0.25, 0.25, 0.25], [0.125, 0.125, 0.125])" in found.usage


def test_the_preprocessing_is_that_of_the_data():
    model = TimmClassifier("test_resnet", num_classes=4, channels=1)
    settings = portable(model, {}, Preprocessing(96, 128, "bilinear", squash=True)).config["pretrained_cfg"]
    assert settings["input_size"] == [1, 96, 96]
    assert (settings["crop_pct"], settings["crop_mode"]) == (0.75, "squash")
    assert settings["interpolation"] == "bilinear"
    settings = portable(model, {}, Preprocessing(96, 128, "bicubic")).config["pretrained_cfg"]
    assert (settings["crop_mode"], settings["interpolation"]) == ("center", "bicubic")
    assert len(settings["mean"]) == 1


@pytest.mark.parametrize("channels", [1, 3])
def test_decimals_of_the_normalisation_are_exact(channels):
    model = TorchvisionClassifier("squeezenet1_1", num_classes=4, channels=channels)
    found = portable(model, {}, None).normalisation
    assert torch.equal(torch.tensor(found["std"]), model.network.std.flatten())
    assert found["mean"] == ([0.449] if channels == 1 else [0.485, 0.456, 0.406])


@pytest.mark.parametrize(
    ("name", "channels", "expected"),
    [
        (
            "squeezenet1_1",
            3,
            'weights=None, num_classes=4)\nnetwork.load_state_dict(load_file("robust/model.',
        ),
        (
            "squeezenet1_1",
            1,
            '\nnetwork.set_submodule("features.0", torch.nn.Conv2d(1, 64, kernel_size=(3, 3), ',
        ),
        ("googlenet", 3, "weights=None, transform_input=True, init_weights=True, num_classes=4)"),
    ],
)
def test_the_lines_for_torchvision_build_the_network(name, channels, expected):
    found = portable(TorchvisionClassifier(name, num_classes=4, channels=channels), {}, None)
    assert expected in found.lines("robust")
    assert found.config["channels"] == channels
    assert {name: found.config[name] for name in ("mean", "std")} == found.normalisation
    assert len(found.normalisation["mean"]) == channels


class Doubled(TimmClassifier):
    """A user's network on top of one of timm's."""

    def forward(self, image):
        return 2 * super().forward(image)


def test_a_subclass_is_no_network_of_its_library():
    settings = {
        "class_path": f"{__name__}.Doubled",
        "init_args": {"name": "test_resnet", "num_classes": 4, "weights": "a.pth", "pretrained": False},
    }
    found = portable(Doubled("test_resnet", num_classes=4, channels=1), settings, None)
    assert (found.library, found.channels) == ("lit_xai", 1)
    assert "network.model.conv1.0.weight" in found.weights
    assert found.description["init_args"] == {"name": "test_resnet", "num_classes": 4}


@pytest.mark.parametrize(
    "model",
    [TorchvisionClassifier("squeezenet1_1", num_classes=4), Normalized(SmallCNN(width=4), [0.3], [0.2])],
    ids=["torchvision", "lit_xai"],
)
def test_the_preprocessing_of_other_libraries_is_told_too(model):
    found = portable(model, {"class_path": "own.Net"}, Preprocessing(96, 128, "bicubic"))
    expected = {"size": 96, "resize": 128, "interpolation": "bicubic", "squash": False}
    assert found.config["preprocessing"] == found.preprocessing == expected
    assert found.channels == (3 if found.library == "torchvision" else 1)


def test_timm_resizes_to_the_same_side():
    model = TimmClassifier("test_resnet", num_classes=4)
    share = portable(model, {}, Preprocessing(17, 29)).config["pretrained_cfg"]["crop_pct"]
    assert math.floor(17 / share) == 29


@pytest.mark.parametrize("folder", ['a "b"', "back\\slash", "{braces}", "gr\u00fcn \U0001f600"])
def test_the_lines_stand_for_any_folder(folder):
    for model in (TimmClassifier("test_resnet"), TorchvisionClassifier("squeezenet1_1"), SmallCNN(width=4)):
        parsed = ast.walk(ast.parse(portable(model, {}, None).lines(folder)))
        texts = [node.value for node in parsed if isinstance(node, ast.Constant)]
        assert any(folder in text for text in texts if isinstance(text, str))


def test_any_other_network_keeps_its_names_and_loses_its_sources():
    model = Normalized(SmallCNN(width=4), [0.3], [0.2])
    inside = {
        "class_path": "lit_xai.models.zoo.TimmClassifier",
        "init_args": {"name": "resnet18", "weights": "a.pth", "pretrained": False},
    }
    own = {"class_path": "own.Net", "init_args": {"weights": "kept"}}
    settings = {
        "class_path": "lit_xai.models.normalized.Normalized",
        "init_args": {"model": inside, "more": [own]},
    }
    found = portable(model, settings, None)
    assert found.library == "lit_xai"
    assert found.weights.keys() == model.state_dict().keys()
    expected = {"class_path": inside["class_path"], "init_args": {"name": "resnet18"}}
    assert found.description["init_args"] == {"model": expected, "more": [own]}
    assert inside["init_args"]["weights"] == "a.pth"
    assert "from_model" in found.usage
    # Each library's networks are as in training when they are built.
    assert ".load().eval()\n" in found.usage
