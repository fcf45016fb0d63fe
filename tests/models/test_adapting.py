import pytest
import torch
from torch import nn

from lit_xai.models.adapting import Ends, adapted
from lit_xai.models.normalized import Normalized


def network(classes: int, channels: int) -> Normalized:
    """A network whose weights count up, so that no two are equal."""
    inside = nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten(), nn.Linear(16, classes))
    with torch.no_grad():
        for number, parameter in enumerate(inside.parameters()):
            parameter.copy_(torch.arange(parameter.numel()).view_as(parameter) + 1000 * number)
    return Normalized(inside, [0.4] * channels, [0.2] * channels)


def ends(model: Normalized, channels: int) -> Ends:
    return Ends([model.model[2]], [model.model[0]], channels)


def test_weights_that_fit_are_left_as_they_are():
    model, weights = network(5, 3), network(5, 3).state_dict()
    found, said = adapted(weights, model, ends(model, 3))
    assert not said
    assert all(found[name] is weights[name] for name in weights)


def test_a_head_of_other_classes_stays_as_the_network_has_it():
    model, weights = network(5, 3), network(7, 3).state_dict()
    model.model[2].bias.data.fill_(-3.0)
    found, said = adapted(weights, model, ends(model, 3))
    assert said == ["of 7 classes, the network has 5: `model.2` is drawn at random"]
    assert found["model.2.bias"].tolist() == [-3.0] * 5
    assert torch.equal(found["model.2.weight"], model.model[2].weight)
    assert found["model.0.weight"] is weights["model.0.weight"]


@pytest.mark.parametrize(("channels", "factor"), [(1, None), (2, 1.5), (6, 0.5)])
def test_a_first_convolution_of_three_channels_becomes_that_of_others(channels, factor):
    model, weights = network(5, channels), network(5, 3).state_dict()
    found, said = adapted(weights, model, ends(model, channels))
    before = weights["model.0.weight"]
    expected = (
        before.sum(dim=1, keepdim=True)
        if factor is None
        else factor * torch.cat([before, before], dim=1)[:, :channels]
    )
    torch.testing.assert_close(found["model.0.weight"], expected)
    assert said == [f"of 3 channels, the network takes {channels}: `model.0` is made of theirs"]
    assert found["mean"].flatten().tolist() == pytest.approx([0.4] * channels)
    model.load_state_dict(found)


def test_a_head_of_other_inputs_is_of_another_network():
    model, weights = network(5, 3), network(7, 3).state_dict()
    weights["model.2.weight"] = torch.zeros(7, 15)
    found, said = adapted(weights, model, ends(model, 3))
    assert not said
    with pytest.raises(RuntimeError, match=r"size mismatch for model\.2\.weight"):
        model.load_state_dict(found)


@pytest.mark.parametrize("channels", [2, 4])
def test_only_three_channels_are_adapted(channels):
    model, weights = network(5, 3), network(5, channels).state_dict()
    found, said = adapted(weights, model, ends(model, 3))
    assert not said
    assert found["model.0.weight"] is weights["model.0.weight"]


def test_a_convolution_that_takes_pixels_as_channels_is_adapted_by_its_groups():
    model = nn.Sequential(nn.Conv2d(4, 1, 1, bias=False))
    weights = {"0.weight": torch.arange(12.0).view(1, 12, 1, 1)}
    found, _ = adapted(weights, model, Ends([], [model[0]], 1))
    assert found["0.weight"].flatten().tolist() == [3.0, 12.0, 21.0, 30.0]


def test_a_missing_layer_is_left_to_be_refused():
    model, weights = network(5, 3), network(7, 3).state_dict()
    del weights["model.2.bias"]
    assert adapted(weights, model, ends(model, 3)) == (weights, [])


def test_a_head_that_the_weights_lack_stays_as_the_network_has_it():
    model, weights = network(5, 3), network(5, 3).state_dict()
    for name in ("model.2.weight", "model.2.bias"):
        del weights[name]
    found, said = adapted(weights, model, ends(model, 3))
    assert said == ["without a head, the network has one: `model.2` is drawn at random"]
    assert torch.equal(found["model.2.bias"], model.model[2].bias)
    model.load_state_dict(found)


def test_what_all_classes_of_a_head_share_stays_with_it():
    def built(classes, scale):
        head = nn.Linear(4, classes)
        head.scale = nn.Parameter(torch.tensor([scale]))
        return nn.Sequential(head)

    model, weights = built(5, 1.0), built(7, 2.0).state_dict()
    found, said = adapted(weights, model, Ends([model[0]], [], 3))
    assert said == ["of 7 classes, the network has 5: `0` is drawn at random"]
    assert found["0.scale"].item() == 1.0
    model.load_state_dict(found)


def test_a_layer_whose_name_begins_like_the_head_is_none():
    def built(classes, value):
        layers = {"head": nn.Linear(4, classes, bias=False), "head_inner": nn.Linear(4, 4, bias=False)}
        model = nn.ModuleDict(layers)
        for parameter in model.parameters():
            nn.init.constant_(parameter, value)
        return model

    model, weights = built(5, 1.0), built(7, 2.0).state_dict()
    found, _ = adapted(weights, model, Ends([model["head"]], [], 3))
    assert {name: value.unique().item() for name, value in found.items()} == {
        "head.weight": 1.0,
        "head_inner.weight": 2.0,
    }


def test_a_network_without_a_head_takes_none():
    model = Normalized(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity()), [0.4] * 3, [0.2] * 3)
    weights = model.state_dict()
    found, said = adapted(weights, model, Ends([model.model[1]], [model.model[0]], 3))
    assert found.keys() == weights.keys()
    assert not said
