import pytest
import timm
import torch
from torch import nn

from lit_xai.models.library import (
    differentiable_twice,
    follow_classes,
    is_rebuilding,
    read_sources,
    rebuilding,
)
from lit_xai.models.weights import load_weights
from lit_xai.models.zoo import TimmClassifier, TorchvisionClassifier
from lit_xai.module import LitClassifier
from lit_xai.regimes.natural import Natural

KINDS = [(TimmClassifier, "test_resnet"), (TorchvisionClassifier, "squeezenet1_1")]


@pytest.fixture
def said(monkeypatch):
    """Lines that were said while weights were read."""
    lines: list[str] = []
    for place in ("lit_xai.models.weights.rank_zero_info", "lit_xai.models.library.rank_zero_info"):
        monkeypatch.setattr(place, lines.append)
    return lines


@pytest.fixture(params=KINDS, ids=["timm", "torchvision"])
def kind(request):
    return request.param


@pytest.fixture
def released(kind, tmp_path):
    """A file of a library's own names, of 1000 classes and three channels."""
    build, name = kind
    network = build(name)
    torch.save(network.network.model.state_dict(), tmp_path / "released.pth")
    return network, tmp_path / "released.pth"


def head_of(network):
    return network.ends().heads[-1]


def body_of(network):
    """All weights but those of the head."""
    own = {id(parameter) for parameter in head_of(network).parameters()}
    return {name: value for name, value in network.named_parameters() if id(value) not in own}


def test_a_file_of_other_classes_gives_all_but_the_head_which_the_seed_draws(kind, released, said):
    build, name = kind
    full, path = released
    torch.manual_seed(3)
    found = build(name, num_classes=6, weights=path)
    torch.manual_seed(3)
    fresh = build(name, num_classes=6)
    assert found.num_classes == 6
    body = body_of(full)
    assert len(body) > 20
    assert all(torch.equal(value, body[key]) for key, value in body_of(found).items())
    assert torch.equal(head_of(found).weight, head_of(fresh).weight)
    (line,) = said
    assert line.startswith(f"{path}: the weights are of 1000 classes, the network has 6: `")
    assert line.endswith("` is drawn at random.")


def test_a_network_around_a_classifier_takes_a_file_of_other_classes_too(kind, released):
    build, name = kind
    full, path = released
    around = nn.Sequential(build(name, num_classes=6))
    load_weights(around, path)
    body = body_of(full)
    assert all(torch.equal(value, body[key]) for key, value in body_of(around[0]).items())
    assert around[0].num_classes == 6


def test_a_file_of_other_channels_is_adapted(kind, released, said):
    build, name = kind
    full, path = released
    found = build(name, channels=1, weights=path)
    (first,), (before,) = found.ends().first, full.ends().first
    torch.testing.assert_close(first.weight, before.weight.sum(dim=1, keepdim=True))
    assert torch.equal(head_of(found).weight, head_of(full).weight)
    assert found.eval()(torch.rand(1, 1, 64, 64)).shape == (1, 1000)
    assert len(said) == 1
    assert "of 3 channels, the network takes 1" in said[0]


def test_a_number_left_open_is_that_of_the_file(kind, released, tmp_path, said):
    build, name = kind
    torch.save(build(name, num_classes=7).state_dict(), tmp_path / "seven.pth")
    found = build(name, weights=tmp_path / "seven.pth")
    assert found.num_classes == 7
    stored = torch.load(tmp_path / "seven.pth", weights_only=True)
    assert all(torch.equal(value, stored[key]) for key, value in found.state_dict().items())
    assert not said


@pytest.mark.parametrize(
    ("names", "classes"),
    [({"inner.fc": 3, "fc": 7}, 7), ({"module.inner.fc": 3, "module.fc": 7}, 7), ({"another_fc": 3}, 1000)],
)
def test_the_number_of_a_file_is_that_of_its_outermost_head(names, classes):
    network = TimmClassifier("test_resnet")
    inputs = head_of(network).in_features
    network.expect({f"{name}.weight": torch.zeros(rows, inputs) for name, rows in names.items()})
    assert network.num_classes == classes


def test_a_network_that_another_number_of_classes_changes_inside_is_refused(monkeypatch):
    build = timm.create_model

    def other_inside(name, *, num_classes=None, **options):
        network = build(name, num_classes=num_classes, **options)
        if num_classes == 5:
            network.more = nn.Linear(2, 2)
        return network

    monkeypatch.setattr("lit_xai.models.zoo.timm.create_model", other_inside)
    network = TimmClassifier("test_resnet")
    with pytest.raises(RuntimeError, match=r"Missing key\(s\) in state_dict: \"model\.more\.weight\""):
        follow_classes(network, 5)


def test_a_number_left_open_follows_and_keeps_what_the_file_gave(kind, released, said):
    build, name = kind
    full, path = released
    found = build(name, weights=path)
    assert not said
    follow_classes(found, 5)
    assert found.num_classes == 5
    body = body_of(full)
    assert all(torch.equal(value, body[key]) for key, value in body_of(found).items())
    assert said[0].startswith(f"{name}: the weights are of 1000 classes, the network has 5: `")
    follow_classes(found, 4)
    assert found.num_classes == 5


def test_a_number_that_was_asked_for_stays(kind):
    build, name = kind
    network = build(name, num_classes=12)
    follow_classes(network, 5)
    assert network.num_classes == 12
    other = nn.Linear(2, 3)
    follow_classes(other, 5)
    assert other.out_features == 3


def test_a_rebuilt_network_needs_no_file(kind, released):
    build, name = kind
    full, path = released
    with rebuilding() as unread:
        assert is_rebuilding()
        found = build(name, weights=path.with_name("gone.pth"))
        later = build(name, weights=path)
        fetched = build(name, pretrained=True)
    assert not is_rebuilding()
    assert unread == [found, later, fetched]
    assert not torch.equal(head_of(later).weight, head_of(full).weight)
    read_sources([later, nn.Linear(2, 2)])
    assert torch.equal(head_of(later).weight, head_of(full).weight)
    with pytest.raises(FileNotFoundError, match=r"Expected a file of weights, but got .*gone\.pth"):
        read_sources([found])


def test_weights_are_read_once(kind, released):
    build, name = kind
    _, path = released
    found = build(name, weights=path)
    with torch.no_grad():
        head_of(found).weight.fill_(3.0)
    read_sources([found])
    assert bool((head_of(found).weight == 3.0).all())


def test_networks_are_built_as_ever_where_no_state_follows(kind, released):
    build, name = kind
    full, path = released
    with rebuilding(when=False) as unread:
        found = build(name, weights=path)
    assert unread == []
    assert torch.equal(head_of(found).weight, head_of(full).weight)


def test_a_failed_rebuilding_is_over():
    with pytest.raises(KeyError), rebuilding():
        raise KeyError
    assert not is_rebuilding()


def test_refuses_two_sources(kind, tmp_path):
    build, name = kind
    with pytest.raises(ValueError, match=r"Expected `weights` or `pretrained`, but got both: .*a\.pth"):
        build(name, weights=tmp_path / "a.pth", pretrained=True)


def test_nothing_writes_over_its_input(kind):
    build, name = kind
    network = build(name)
    flags = [module.inplace for module in network.modules() if hasattr(module, "inplace")]
    assert len(flags) > 3
    assert not any(flags)


def test_a_change_of_classes_keeps_second_order_safety_and_mode(kind):
    build, name = kind
    network = build(name).eval()
    follow_classes(network, 3)
    assert not network.network.training
    assert not any(getattr(module, "inplace", False) for module in network.modules())


@pytest.mark.parametrize("way", ["load_state_dict", "inside", "load_weights"])
def test_training_keeps_weights_however_they_were_given(kind, released, said, way):
    build, name = kind
    full, path = released
    found = build(name)
    if way == "load_state_dict":
        found.load_state_dict(full.state_dict())
    elif way == "inside":
        found.network.model.load_state_dict(full.network.model.state_dict())
    else:
        load_weights(found, path)
    assert LitClassifier(found, Natural(), 10).model.num_classes == 10
    body = body_of(full)
    assert len(body) > 20
    assert all(torch.equal(value, body[key]) for key, value in body_of(found).items())
    buffers = dict(full.named_buffers())
    assert all(torch.equal(value, buffers[key]) for key, value in found.named_buffers())
    (line,) = said
    assert line.startswith(f"{name}: the weights are of 1000 classes, the network has 10: `")


def test_nothing_is_said_of_weights_that_a_state_will_replace(kind, said):
    build, name = kind
    with rebuilding():
        follow_classes(build(name), 10)
    assert not said


def test_a_change_of_classes_keeps_frozen_parameters_modes_and_kind_of_numbers(kind):
    build, name = kind
    network = build(name).double()
    body = body_of(network)
    for value in body.values():
        value.requires_grad_(False)
    first = next(key for key, module in network.named_modules() if isinstance(module, nn.ReLU))
    network.get_submodule(first).eval()
    follow_classes(network, 3)
    assert {value.dtype for value in network.state_dict().values() if value.is_floating_point()} == {
        torch.float64
    }
    learns = {key for key, value in network.named_parameters() if value.requires_grad}
    assert learns == {key for key, _ in network.named_parameters()} - body.keys()
    assert len(learns) == 2
    assert [key for key, module in network.named_modules() if not module.training] == [first]


@pytest.fixture
def features(monkeypatch):
    """A name of timm whose network ends in features unless a number of classes is asked for."""
    build = timm.create_model

    def without_head(name, *, num_classes=None, **options):
        return build(name, num_classes=num_classes or 0, **options)

    monkeypatch.setattr("lit_xai.models.zoo.timm.create_model", without_head)
    return "test_vit"


def test_a_network_that_ends_in_features_gets_a_head(features, said):
    found = TimmClassifier(features)
    assert found.num_classes == 0
    before = found.state_dict()
    follow_classes(found, 10)
    assert found.num_classes == 10
    assert head_of(found).weight.shape == (10, 64)
    own = found.state_dict()
    assert own.keys() - before.keys() == {"network.model.head.weight", "network.model.head.bias"}
    assert all(torch.equal(value, own[key]) for key, value in before.items())
    assert said == [
        f"{features}: the weights are without a head, the network has one: `model.head` is drawn at random."
    ]


def test_weights_of_features_are_taken_and_a_head_is_drawn(features, tmp_path, said):
    stored = TimmClassifier(features).network.model.state_dict()
    torch.save(stored, tmp_path / "features.pth")
    found = TimmClassifier(features, num_classes=10, weights=tmp_path / "features.pth")
    own = found.network.model.state_dict()
    assert found.num_classes == 10
    assert all(torch.equal(value, own[key]) for key, value in stored.items())
    (line,) = said
    assert "the weights are without a head, the network has one: `" in line


def test_a_network_that_ends_in_features_takes_the_head_of_a_file(features, tmp_path, said):
    full = TimmClassifier(features, num_classes=7)
    torch.save(full.state_dict(), tmp_path / "seven.pth")
    found = TimmClassifier(features, weights=tmp_path / "seven.pth")
    assert found.num_classes == 7
    assert torch.equal(head_of(found).weight, head_of(full).weight)
    assert not said


def test_any_network_is_made_ready_for_second_derivatives():
    network = nn.Sequential(nn.ReLU(inplace=True), nn.Dropout(inplace=True))
    assert differentiable_twice(network) is network
    assert [module.inplace for module in network] == [False, False]


@pytest.mark.parametrize("safe", [True, False])
def test_units_leave_their_inputs_as_they_were(kind, safe):
    build, name = kind
    network, before, changed = build(name).eval(), {}, []

    def keep(module, inputs):
        before[module] = inputs[0].clone()

    def compare(module, inputs, output):
        if not torch.equal(inputs[0], before[module]):
            changed.append(module)

    units = [module for module in network.network.model.modules() if not list(module.children())]
    for unit in units:
        if hasattr(unit, "inplace") and not safe:
            unit.inplace = True
        unit.register_forward_pre_hook(keep)
        unit.register_forward_hook(compare)
    network(torch.rand(1, 3, 64, 64))
    assert len(before) > 20
    assert bool(changed) is not safe


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "convnextv2_atto.fcmae",
        "davit_base_fl.msft_florence2",
        "eva02_tiny_patch14_224.mim_in22k",
        "hiera_tiny_224.mae",
        "naflexvit_base_patch16_siglip.v2_webli",
        "regnety_320.seer",
        "resnet50.bamboo",
        "resnet50_clip_gap.cc12m",
        "samvit_base_patch16.sa1b",
        "vit_base_patch16_siglip_224.webli",
        "vit_small_patch16_224.dino",
    ],
)
def test_every_family_that_ends_in_features_gets_a_head(name):
    with torch.device("meta"):
        network = TimmClassifier(name)
        asked = TimmClassifier(name, num_classes=5)
        assert network.num_classes == 0
        before = network.state_dict()
        follow_classes(network, 5)
    assert (network.num_classes, asked.num_classes) == (5, 5)
    assert network.state_dict().keys() == asked.state_dict().keys()
    more = network.state_dict().keys() - before.keys()
    assert before.keys() <= network.state_dict().keys()
    assert {key.rpartition(".")[2] for key in more} == {"weight", "bias"}
