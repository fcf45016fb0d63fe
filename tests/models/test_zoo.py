import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.transforms.functional import normalize

from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier
from lit_xai.noise import Noise
from lit_xai.regimes.ig_norm import IGNorm
from tests.models.checking import assert_plain_second_derivative, spread_statistics

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
        "timm.models._hub.hf_hub_download",
        "torchvision.models._api.load_state_dict_from_url",
        "urllib.request.urlopen",
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


def test_timm_may_know_no_statistics_and_a_network_need_not_take_channels(monkeypatch):
    def own(
        pretrained=False, num_classes=5, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None
    ):
        network = nn.Sequential(nn.Conv2d(3, 2, 40), nn.Flatten(), nn.Linear(2, num_classes))
        network.pretrained_cfg = {"classifier": "2", "first_conv": "0", "mean": None}
        return network

    monkeypatch.setitem(timm.models._registry._model_entrypoints, "own_network", own)
    network = TimmClassifier("own_network", num_classes=7)
    found = [network.network.mean.flatten(), network.network.std.flatten()]
    torch.testing.assert_close(torch.stack(found), torch.tensor(IMAGENET), rtol=0, atol=0)
    assert network(images()).shape == (2, 7)
    with pytest.raises(
        ValueError, match=r"Expected a network that timm builds, but got own_network: .*in_chans"
    ):
        TimmClassifier("own_network", num_classes=7, channels=1)


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
    name = {TimmClassifier: "test_resnet", TorchvisionClassifier: "squeezenet1_1"}[kind]
    network = known(kind(name, num_classes=4))
    part = network if ours else network.network.model
    weights = {prefix + key: value for key, value in part.state_dict().items()}
    path = tmp_path / f"weights.{ending}"
    if ending == "safetensors":
        save_file(weights, path)
    else:
        torch.save({"state_dict": weights, "epoch": 3} if ending == "ckpt" else weights, path)
    found = kind(name, num_classes=4, weights=path).eval()
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
def test_refuses_the_weights_of_another_network(tmp_path, kind):
    torch.save(kind("resnet34", num_classes=3).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"Expected weights of {kind.__name__}, but got .*Unexpected key"):
        kind("resnet18", num_classes=4, weights=tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match=r"Expected a file of weights, but got .*gone\.pth, which"):
        kind("resnet18", weights=tmp_path / "gone.pth")


def test_heads_and_first_convolutions_are_found():
    def named(network):
        names = {module: name for name, module in network.network.model.named_modules()}
        ends = network.ends()
        return [names[head] for head in ends.heads], [names[layer] for layer in ends.first]

    assert named(TimmClassifier("tf_efficientnet_lite0")) == (["classifier"], ["conv_stem"])
    assert named(TimmClassifier("test_vit")) == (["head"], ["patch_embed.proj"])
    assert named(TorchvisionClassifier("squeezenet1_1")) == (["classifier.1"], ["features.0"])
    heads = ["aux1.fc2", "aux2.fc2", "fc"]
    assert named(TorchvisionClassifier("googlenet", num_classes=5, channels=1)) == (heads, ["conv1.conv"])
    assert named(TorchvisionClassifier("mobilenet_v3_small")) == (["classifier.3"], ["features.0.0"])


def test_a_head_that_timm_names_but_does_not_build_is_none():
    network = TimmClassifier("test_resnet")
    network.network.model.pretrained_cfg = {**network.network.model.pretrained_cfg, "classifier": "head"}
    assert network.num_classes == 0
    assert [type(layer) for layer in network.ends().first] == [nn.Conv2d]


def test_auxiliary_branches_do_not_learn():
    network = TorchvisionClassifier("googlenet", num_classes=5)
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert len(frozen) == 14
    assert frozen == {name for name, _ in network.named_parameters() if ".aux" in name}


def test_torchvision_takes_images_of_other_channels():
    network = TorchvisionClassifier("squeezenet1_1", num_classes=4, channels=2).eval()
    first = network.network.model.features[0]
    assert (first.in_channels, first.stride) == (2, (2, 2))
    torch.manual_seed(3)
    own = torchvision.models.squeezenet1_1().features[0].weight
    torch.manual_seed(3)
    found = TorchvisionClassifier("squeezenet1_1", channels=2).network.model.features[0].weight
    torch.testing.assert_close(found, own[:, :2] * 1.5)
    expected = network.network.model((images(2) - 0.449) / 0.226)
    torch.testing.assert_close(network(images(2)), expected, rtol=1e-5, atol=1e-6)


def test_a_first_convolution_of_other_channels_covers_the_same_places():
    taken = TorchvisionClassifier("resnet18", num_classes=4, channels=1)
    first, own = taken.network.model.conv1, torchvision.models.resnet18().conv1
    assert (first.kernel_size, first.stride, first.padding) == (own.kernel_size, own.stride, own.padding)
    assert (first.in_channels, first.out_channels, first.bias) == (1, 64, None)


def test_a_network_that_rescales_its_images_is_normalised_by_halves_for_other_channels():
    network = TorchvisionClassifier("googlenet", num_classes=3, channels=1)
    assert not network.network.model.transform_input
    assert [network.network.mean.item(), network.network.std.item()] == [0.5, 0.5]


@pytest.mark.slow
def test_older_names_of_released_files_are_known(tmp_path):
    network = TorchvisionClassifier("densenet121", num_classes=3)
    older = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    weights = {
        older.sub(r"\1.\2.", name): value for name, value in network.network.model.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in weights
    torch.save(weights, tmp_path / "densenet.pth")
    found = TorchvisionClassifier("densenet121", num_classes=3, weights=tmp_path / "densenet.pth")
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in network.state_dict().items())


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Files that stand for those of the libraries' servers, and what was asked for."""
    asked = []
    timm_network = known(timm.create_model("test_resnet"))
    save_file(timm_network.state_dict(), tmp_path / "model.safetensors")
    torchvision_network = known(torchvision.models.squeezenet1_1())

    def from_hub(repo_id, filename, **options):
        asked.append(repo_id)
        return str(tmp_path / "model.safetensors")

    def from_address(url, *arguments, **options):
        asked.append((url, options))
        return torchvision_network.state_dict()

    monkeypatch.setattr("timm.models._hub.hf_hub_download", from_hub)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", from_address)
    return {"timm": timm_network, "torchvision": torchvision_network, "asked": asked}


def test_released_weights_are_fetched_when_asked_for(served, monkeypatch):
    monkeypatch.setattr("timm.models._builder._CHECK_HASH", False)
    found = TimmClassifier("test_resnet", pretrained=True)
    assert timm.models._builder._CHECK_HASH is True
    assert served["asked"] == ["timm/test_resnet.r160_in1k"]
    expected = served["timm"].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.network.model.state_dict().items())
    found = TorchvisionClassifier("squeezenet1_1", pretrained=True)
    expected = served["torchvision"].state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in found.network.model.state_dict().items())
    url, options = served["asked"][1]
    assert url.endswith("squeezenet1_1-b8a52dc0.pth")
    assert options["check_hash"] is True
    assert options["weights_only"] is True


def test_fetched_weights_are_adapted(served):
    found = TimmClassifier("test_resnet", num_classes=6, channels=1, pretrained=True).network.model
    before = served["timm"]
    assert torch.equal(found.layer4[0].conv1.weight, before.layer4[0].conv1.weight)
    assert found.fc.out_features == 6
    name = found.pretrained_cfg["first_conv"]
    weights = [network.get_submodule(name).weight for network in (found, before)]
    torch.testing.assert_close(weights[0], weights[1].sum(dim=1, keepdim=True))
    found = TorchvisionClassifier("squeezenet1_1", num_classes=6, pretrained=True).network.model
    assert torch.equal(found.features[3].squeeze.weight, served["torchvision"].features[3].squeeze.weight)
    assert found.classifier[1].out_channels == 6


def test_nothing_is_fetched_unless_asked_for(served):
    TimmClassifier("test_resnet")
    TorchvisionClassifier("squeezenet1_1", num_classes=3)
    assert served["asked"] == []


@pytest.mark.parametrize(
    ("kind", "name", "place"),
    [
        (TimmClassifier, "test_resnet", "timm.models._hub.hf_hub_download"),
        (TorchvisionClassifier, "squeezenet1_1", "torchvision.models._api.load_state_dict_from_url"),
    ],
)
def test_a_failed_download_is_one_line(kind, name, place, monkeypatch):
    def unreachable(*arguments, **options):
        raise RuntimeError("no route\nto host")

    monkeypatch.setattr(place, unreachable)
    with pytest.raises(OSError, match=rf"weights of {name}, but got: no route to host Check the") as found:
        kind(name, pretrained=True)
    assert "\n" not in str(found.value)


def test_a_network_without_released_weights_is_not_left_with_drawn_ones():
    with pytest.raises(
        OSError,
        match=r"Expected to fetch timm's weights of efficientnet_b0_gn, but got: .*efficientnet_b0_gn",
    ):
        TimmClassifier("efficientnet_b0_gn", num_classes=2, pretrained=True)


def small_transformer(name, num_classes=1000, **options):
    """Attention of torchvision's transformers, on images of 40 x 40."""
    return torchvision.models.VisionTransformer(
        image_size=40,
        patch_size=20,
        num_layers=2,
        num_heads=2,
        hidden_dim=8,
        mlp_dim=8,
        num_classes=num_classes,
    )


@pytest.fixture(params=["timm", "torchvision"])
def transformer(request, monkeypatch):
    if request.param == "timm":
        return known(TimmClassifier("test_vit", num_classes=3)), torch.rand(1, 3, 160, 160)
    monkeypatch.setattr(torchvision.models, "get_model", small_transformer)
    return known(TorchvisionClassifier("vit_b_16", num_classes=3)), images()


def test_attention_has_a_second_derivative_in_a_training_pass(transformer):
    network, image = (part.double() for part in transformer)
    network.train()
    weight = next(
        value for name, value in network.named_parameters() if "attn.qkv.w" in name or "in_proj_w" in name
    )
    assert_plain_second_derivative(network, image, weight)


def test_a_transformer_learns_from_the_norm_of_its_explanations(transformer):
    network, image = transformer
    regime = IGNorm(eps=0.1, step_size=0.05, steps=1, path_steps=2, inner_path_steps=1, weight=100.0)
    label = torch.zeros(len(image), dtype=torch.long)
    gradients = []
    for weight in (1e-9, 100.0):
        loss = replace(regime, weight=weight).loss(network, image, label, Noise(0, torch.arange(len(image))))
        gradients.append(
            torch.cat([g.flatten() for g in torch.autograd.grad(loss.total, network.parameters())])
        )
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[1] - gradients[0]).norm() > 0.01 * gradients[0].norm()


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
        (lambda: TorchvisionClassifier("resnet18", channels=0), "`channels` of at least 1, but got 0"),
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
