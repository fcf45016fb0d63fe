from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import normalize

from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier
from tests.models.checking import spread_statistics

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALVES = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def images(channels: int = 3) -> torch.Tensor:
    return torch.rand(2, channels, 40, 40, generator=torch.Generator().manual_seed(0))


def known(network: nn.Module, seed: int = 0) -> nn.Module:
    """Return a network with weights of which no two are equal, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 10)
    return spread_statistics(network)


class Auxiliary(nn.Module):
    """A network with two outputs."""

    def forward(self, image):
        return SimpleNamespace(logits=image.mean(dim=(2, 3)), aux_logits=image.amax(dim=(2, 3)))


@pytest.fixture(autouse=True)
def _offline(monkeypatch):
    """Fail where a library would fetch weights."""

    def fetched(*arguments, **options):
        raise AssertionError("fetched")

    for place in (
        "torch.hub.load_state_dict_from_url",
        "huggingface_hub.hf_hub_download",
        "socket.create_connection",
    ):
        monkeypatch.setattr(place, fetched)


@pytest.fixture
def bare(monkeypatch):
    """Networks that are not built; the options that they would be built with."""
    asked = {}

    def build(name, **options):
        asked[name] = options
        return nn.Flatten()

    monkeypatch.setattr(torchvision.models, "get_model", build)
    return asked


@pytest.mark.parametrize(
    ("build", "statistics"),
    [
        (lambda: TimmClassifier("resnet18", num_classes=7), IMAGENET),
        (lambda: TimmClassifier("resnet18.a1_in1k", num_classes=7), IMAGENET),
        (lambda: TimmClassifier("tf_efficientnet_lite0", num_classes=7), HALVES),
        (lambda: TorchvisionClassifier("resnet18", num_classes=7), IMAGENET),
        (lambda: TorchvisionClassifier("squeezenet1_1", num_classes=7), IMAGENET),
    ],
    ids=["timm", "timm_tag", "timm_halves", "torchvision", "torchvision_plain"],
)
def test_logits_are_those_of_the_library_for_normalised_pixels(build, statistics):
    network = known(build())
    inside = network.network.model
    seen = []
    handle = inside.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    found = network(images())
    handle.remove()
    assert found.shape == (2, 7)
    torch.testing.assert_close(seen[0], normalize(images(), *statistics), rtol=0, atol=1e-6)
    assert torch.equal(found, inside(seen[0]))


def test_the_network_is_that_of_its_name():
    assert type(TimmClassifier("resnet26d", num_classes=2).network.model).__module__ == "timm.models.resnet"
    ours = TimmClassifier("resnet26d", num_classes=2).network.model.state_dict()
    assert ours.keys() == timm.create_model("resnet26d").state_dict().keys()
    ours = TorchvisionClassifier("resnet34", num_classes=2).network.model.state_dict()
    assert ours.keys() == torchvision.models.resnet34().state_dict().keys()


@pytest.mark.parametrize("kind", [TimmClassifier, TorchvisionClassifier])
def test_without_a_number_of_classes_there_are_as_many_as_in_the_weights(kind):
    assert kind("resnet18").network.model.fc.out_features == 1000
    assert kind("resnet18", num_classes=3).network.model.fc.out_features == 3


def test_timm_takes_images_of_other_channels():
    network = known(TimmClassifier("resnet18", num_classes=4, channels=1))
    assert network.network.model.conv1.in_channels == 1
    expected = network.network.model((images(1) - 0.449) / 0.226)
    torch.testing.assert_close(network(images(1)), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match=r"Expected images of 1 channels, but got 3\."):
        network(images())


def test_torchvision_has_the_statistics_of_the_weights(bare):
    network = TorchvisionClassifier("efficientnet_v2_l").network
    assert [network.mean.flatten().tolist(), network.std.flatten().tolist()] == [[0.5] * 3, [0.5] * 3]
    assert bare == {"efficientnet_v2_l": {"weights": None}}


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_networks_that_rescale_their_images_do_so_as_with_the_released_weights(bare, name):
    TorchvisionClassifier(name, num_classes=5)
    expected = {"weights": None, "transform_input": True, "init_weights": True, "num_classes": 5}
    assert bare == {name: expected}


def test_auxiliary_outputs_are_left_out(bare):
    network = TorchvisionClassifier("googlenet")
    network.network.model = Auxiliary()
    mean, std = (torch.tensor(values) for values in IMAGENET)
    torch.testing.assert_close(network(images()), (images().mean(dim=(2, 3)) - mean) / std)


@pytest.mark.parametrize("kind", [TimmClassifier, TorchvisionClassifier])
@pytest.mark.parametrize(
    ("prefix", "ours", "ending"),
    [
        ("", False, "pth"),
        ("", True, "pth"),
        ("module.", False, "pth"),
        ("model.", True, "ckpt"),
        ("", False, "safetensors"),
        ("", True, "safetensors"),
    ],
)
def test_weights_come_from_a_file(tmp_path, kind, prefix, ours, ending):
    network = known(kind("resnet18", num_classes=4))
    part = network if ours else network.network.model
    weights = {prefix + name: value for name, value in part.state_dict().items()}
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if ending == "ckpt" else weights, path)
    found = kind("resnet18", num_classes=4, weights=path).eval()
    assert torch.equal(found(images()), network(images()))


@pytest.mark.parametrize("kind", [TimmClassifier, TorchvisionClassifier])
def test_without_a_file_the_weights_are_drawn(kind):
    weights = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        weights.append(kind("resnet18", num_classes=4).network.model.conv1.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("kind", [TimmClassifier, TorchvisionClassifier])
def test_refuses_the_weights_of_other_classes(tmp_path, kind):
    torch.save(kind("resnet18", num_classes=3).state_dict(), tmp_path / "three.pth")
    with pytest.raises(ValueError, match=rf"Expected weights of {kind.__name__}, but got .*size mismatch"):
        kind("resnet18", num_classes=4, weights=tmp_path / "three.pth")
    with pytest.raises(FileNotFoundError, match=r"Expected a file of weights, but got .*gone\.pth, which"):
        kind("resnet18", weights=tmp_path / "gone.pth")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: TimmClassifier("resnet81"),
            r"Expected the `name` of a classifier in timm, but got resnet81\. Did you mean resnet18 or ",
        ),
        (lambda: TimmClassifier("qqqqqq"), r"a classifier in timm, but got qqqqqq\.$"),
        (lambda: TimmClassifier("hf-hub:timm/resnet18.a1_in1k"), "in timm, but got hf-hub:timm/resnet18"),
        (lambda: TimmClassifier("local-dir:."), r"in timm, but got local-dir:\."),
        (
            lambda: TimmClassifier("resnet18.none"),
            r"Expected a network that timm builds, but got resnet18\.none: Invalid pretrained tag",
        ),
        (
            lambda: TimmClassifier("resnet18", num_classes=0),
            "Expected `num_classes` of at least 1, but got 0",
        ),
        (lambda: TimmClassifier("resnet18", channels=0), "Expected `channels` of at least 1, but got 0"),
        (
            lambda: TorchvisionClassifier("resnet81"),
            r"a classifier in torchvision, but got resnet81\. Did you mean resnet18 or ",
        ),
        (lambda: TorchvisionClassifier("deeplabv3_resnet50"), "in torchvision, but got deeplabv3_resnet50"),
        (lambda: TorchvisionClassifier("resnet18", num_classes=0), "`num_classes` of at least 1, but got 0"),
    ],
)
def test_refuses_what_the_library_has_not(build, message):
    with pytest.raises(ValueError, match=message) as found:
        build()
    assert "\n" not in str(found.value)
