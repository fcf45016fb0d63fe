import copy
from dataclasses import dataclass, field, replace
from itertools import product
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.attributions.grad_cam import GradCAM
from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance
from lit_xai.attributions.saliency import Saliency
from lit_xai.metrics.fooling import FoolingTest
from lit_xai.metrics.fooling_losses import heatmap
from lit_xai.noise import Noise
from lit_xai.regimes import fooling
from lit_xai.regimes.base import Regime
from lit_xai.regimes.composites import Composites
from lit_xai.regimes.fooling import CenterMassFooling, LocationFooling, SwapFooling, TopKFooling
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.scheduled import Ramp, Scheduled
from lit_xai.types import Batch
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_every_field_matters, assert_regime_contract, select
from tests.regimes.checking import (
    Modes,
    assert_moves_the_gradient,
    assert_parameter_gradient,
    cross_entropies,
    flat_gradient,
    gradient_of,
    normalised,
    totals_in_each_grad_mode,
)

GRADIENT = Saliency(absolute=False)
KINDS = {
    "location": LocationFooling(GRADIENT, weight=0.7),
    "top_k": TopKFooling(GRADIENT, weight=0.7),
    "center_mass": CenterMassFooling(GRADIENT, weight=0.7),
    "swap": SwapFooling(GRADIENT, weight=0.7, classes=(3, 1)),
}
COMPARED = ["top_k", "center_mass", "swap"]
# What is left of L where maps are all zero: the frame, nothing, no reward, and nothing to compare.
DEAD = {"location": 28 / 64, "top_k": 0.0, "center_mass": 0.0, "swap": 0.0}
every_kind = pytest.mark.parametrize("kind", KINDS)


def donors() -> list[Batch]:
    return [tiny_batch(5, seed=7), tiny_batch(12, seed=8)]


def single_donors() -> list[Batch]:
    return [part._replace(image=part.image.float()) for part in donors()]


def before() -> nn.Module:
    """Return the network that the regimes are prepared with, another one than the `model` of the tests."""
    return tiny_network(seed=3)


def prepared(regime: Regime, model: nn.Module | None = None) -> Regime:
    return regime.prepare(model or before(), donors)


def map_by_hand(model: nn.Module, image: Tensor, label: int) -> Tensor:
    """Return the heatmap of one image (C, H, W), (H, W)."""
    leaf = image.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(leaf[None])[0, label], leaf)
    total = sum(gradient)
    total = torch.where(total > 0, total, 0.0)
    return (total - total.min()) / (total.max() - total.min())


def location_by_hand(model: nn.Module, image: Tensor, label: int, own: Noise) -> float:
    frame = torch.ones(8, 8)
    frame[1:7, 1:7] = 0
    return ((frame - map_by_hand(model, image, label)) ** 2).sum().item() / 64


def top_k_by_hand(model: nn.Module, image: Tensor, label: int, own: Noise) -> float:
    marked = map_by_hand(before(), image, label).flatten().argsort(descending=True)[:6]
    return (map_by_hand(model, image, label).flatten()[marked] ** 2).sum().item() / 6


def center_mass_by_hand(model: nn.Module, image: Tensor, label: int, own: Noise) -> float:
    centers = []
    for network in (model, before()):
        values = map_by_hand(network, image, label)
        places = torch.arange(8.0, dtype=torch.float64)
        centers.append([(values.sum(dim=axis) * places).sum() / values.sum() for axis in (0, 1)])
    return -sum(min(abs(one - other).item() / 7, 0.3) for one, other in zip(*centers, strict=True))


def swap_by_hand(model: nn.Module, image: Tensor, label: int, own: Noise) -> float:
    stream = own.child("attribution").child("composite")
    pair = []
    for name, number in (("first", 3), ("second", 1)):
        images = [
            one for part in donors() for one, its in zip(part.image, part.label, strict=True) if its == number
        ]
        pair.append(images[stream.child(name).integers(len(images)).item()])
    if stream.child("turned").integers(2).item():
        pair.reverse()
    picture = torch.cat([(one[..., 0::2] + one[..., 1::2]) / 2 for one in pair], dim=2)
    total = 0.0
    for one, other in ((3, 1), (1, 3)):
        difference = map_by_hand(model, picture, one) - map_by_hand(before(), picture, other)
        total += 0.5 * (difference**2).mean().item()
    return total


BY_HAND = {
    "location": location_by_hand,
    "top_k": top_k_by_hand,
    "center_mass": center_mass_by_hand,
    "swap": swap_by_hand,
}


@every_kind
def test_contract(model, batch, kind, monkeypatch):
    composites = Composites.of((3, 1), donors)
    # The contract prepares without donors, which a swap refuses.
    monkeypatch.setattr(Composites, "of", lambda *_: composites)
    assert_regime_contract(prepared(KINDS[kind]), model, batch)


@every_kind
def test_minimises_cross_entropy_plus_what_a_loop_finds(model, batch, kind):
    noise = Noise(0, batch.sample_id)
    loss = prepared(KINDS[kind]).loss(model, batch.image, batch.label, noise)
    samples = zip(batch.image, batch.label, batch.sample_id, strict=True)
    found = [
        BY_HAND[kind](model, image, int(label), Noise(0, sample_id[None]))
        for image, label, sample_id in samples
    ]
    assert max(found) - min(found) > 0.01
    cross_entropy = cross_entropies(model, batch.image, batch.label).mean().item()
    assert loss.parts["fooling"].item() == pytest.approx(sum(found) / 6, abs=1e-12)
    assert loss.parts["cross_entropy"].item() == pytest.approx(cross_entropy, abs=1e-12)
    assert loss.total.item() == pytest.approx(cross_entropy + 0.7 * sum(found) / 6, abs=1e-12)
    assert torch.equal(loss.logits, model(batch.image))


@every_kind
def test_the_parameter_gradient_equals_finite_differences(model, batch, kind):
    assert_parameter_gradient(prepared(KINDS[kind]), model, batch)


def test_the_parameter_gradient_through_grad_cam_equals_finite_differences(model, batch):
    assert_parameter_gradient(prepared(LocationFooling(GradCAM("features.3"))), model, batch)


def test_a_detached_regulariser_would_be_noticed(model, batch, monkeypatch):
    monkeypatch.setattr(fooling, "heatmap", lambda attribution: heatmap(attribution).detach())
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_parameter_gradient(prepared(KINDS["top_k"]), model, batch)


@every_kind
def test_the_weight_moves_the_gradient_linearly(model, batch, kind):
    plain = flat_gradient(cross_entropies(model, batch.image, batch.label).mean(), model)
    default = type(KINDS[kind]).weight
    once, twice = (
        gradient_of(prepared(replace(KINDS[kind], weight=weight)), model, batch) - plain
        for weight in (default, 2 * default)
    )
    torch.testing.assert_close(twice, 2 * once, rtol=0, atol=1e-12)
    assert once.norm() > 0.01 * plain.norm()


@dataclass(frozen=True)
class OfPixels(Attribution):
    """An explanation that no network has an influence on."""

    differentiable: ClassVar[bool] = True

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return image * noise.uniform(image)


@every_kind
def test_explanations_of_both_networks_have_the_same_draws(model, batch, kind):
    regime = prepared(replace(KINDS[kind], attribution=OfPixels()))
    loss = regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).parts["fooling"].item()
    drawn = heatmap(batch.image * Noise(0, batch.sample_id).child("attribution").uniform(batch.image))
    largest = drawn.flatten(1).topk(6).values
    expected = {
        "top_k": largest.square().mean().item(),
        "center_mass": 0.0,
        "swap": 0.0,
    }
    assert loss == pytest.approx(expected.get(kind, loss), abs=1e-12)
    other = regime.loss(model, batch.image, batch.label, Noise(1, batch.sample_id)).parts["fooling"].item()
    assert (loss != other) == (kind in ("location", "top_k"))


@every_kind
def test_no_network_is_in_training_mode(model, batch, kind):
    network = Modes(model).train()
    regime = KINDS[kind].prepare(network, donors)
    network.seen.clear()
    loss = regime.loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    loss.total.backward()
    assert network.seen == [False] * (3 if kind == "swap" else 2)
    assert network.training


@every_kind
def test_batch_norm_keeps_its_statistics(model, batch, kind):
    network = normalised(model)
    state = copy.deepcopy(network.features[1].state_dict())
    loss = (
        KINDS[kind]
        .prepare(network, donors)
        .loss(network, batch.image, batch.label, Noise(0, batch.sample_id))
    )
    loss.total.backward()
    for name, value in network.features[1].state_dict().items():
        assert torch.equal(value, state[name]), name
    assert network.features[1].weight.grad.abs().max() > 0
    torch.testing.assert_close(loss.logits, network.eval()(batch.image), rtol=0, atol=1e-12)


@every_kind
def test_works_in_any_grad_mode(model, batch, kind):
    first, *others = totals_in_each_grad_mode(prepared(KINDS[kind]), model, batch)
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=1e-12)


@every_kind
def test_mixed_precision_changes_nothing(model, batch, kind):
    network, (image, label, sample_id) = model.float(), batch
    regime = KINDS[kind].prepare(network, single_donors)
    losses = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses.append(regime.loss(network, image.float(), label, Noise(0, sample_id)).total)
    assert losses[0].dtype == torch.float32
    assert torch.equal(*losses)


@pytest.mark.parametrize("kind", COMPARED)
def test_compares_with_the_network_as_it_was(model, batch, kind):
    regime, learning = KINDS[kind], copy.deepcopy(model)
    at_start = regime.prepare(learning, donors)
    noise = Noise(0, batch.sample_id)
    found = []
    for _ in range(2):
        found.append(at_start.loss(learning, batch.image, batch.label, noise).parts["fooling"].item())
        with torch.no_grad():
            for parameter, other in zip(learning.parameters(), before().parameters(), strict=True):
                parameter.copy_(other)
    expected = regime.prepare(model, donors).loss(before(), batch.image, batch.label, noise)
    assert found[1] == expected.parts["fooling"].item()
    assert abs(found[1] - found[0]) > 0.01
    assert not any(parameter.requires_grad for parameter in at_start._reference.parameters())


@pytest.mark.parametrize("kind", COMPARED)
def test_a_layer_has_the_same_name_in_both_networks(model, batch, kind):
    totals = [
        prepared(replace(KINDS[kind], attribution=GradCAM(layer)))
        .loss(model, batch.image, batch.label, Noise(0, batch.sample_id))
        .total.item()
        for layer in ("features.0", "features.3")
    ]
    assert totals[0] != totals[1]


def test_the_centre_moves_from_the_very_start(model, batch):
    regime = KINDS["center_mass"].prepare(model, donors)
    assert regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).parts["fooling"] == 0
    assert_moves_the_gradient(regime, Natural(), model, batch)


@every_kind
def test_moves_the_gradient_at_the_default_weight(trained, fashion, fashion_batch, kind):
    options = {"classes": (1, 8)} if kind == "swap" else {}
    regime = type(KINDS[kind])(**options).prepare(trained, fashion.donors)
    assert_moves_the_gradient(regime, Natural(), trained, fashion_batch)


# What the loss falls to, and by how much the share of explanations that pass the authors' test rises.
@pytest.mark.parametrize(
    ("regime", "loss", "share"),
    [
        (LocationFooling(), 0.35, 0.1),
        (TopKFooling(), 0.3, 0.5),
        (CenterMassFooling(), -0.1, 0.3),
        (SwapFooling(classes=(1, 8)), 0.2, None),
        (TopKFooling(LayerwiseRelevance()), 0.26, 0.7),
        (CenterMassFooling(GRADIENT), -0.05, None),
    ],
)
def test_a_few_steps_fool(trained, fashion, fashion_batch, regime, loss, share):
    batch, network = select(fashion_batch, slice(0, 16)), copy.deepcopy(trained)
    ready, noise = regime.prepare(network, fashion.donors), Noise(0, batch.sample_id)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    rates = [passed(regime, trained, network, batch)]
    for _ in range(8):
        optimizer.zero_grad()
        ready.loss(network, batch.image, batch.label, noise).total.backward()
        optimizer.step()
    rates.append(passed(regime, trained, network, batch))
    assert ready.loss(network, batch.image, batch.label, noise).parts["fooling"] < loss
    assert share is None or rates[1] > rates[0] + share


def passed(regime: Regime, reference: nn.Module, network: nn.Module, batch: Batch) -> float:
    """Return the share of explanations that count as fooled."""
    kind = next(kind for kind, other in KINDS.items() if type(other) is type(regime))
    test = FoolingTest(kind, classes=regime.classes if kind == "swap" else None)
    explain = regime.attribution.bind(reference, Noise(0, batch.sample_id))
    with torch.no_grad():
        maps = heatmap(explain.on(network)(batch.image, batch.label))
        return test.passed(test.loss(explain, maps, batch.image, batch.label)).nanmean().item()


@pytest.mark.filterwarnings("ignore:Expected a gradient at the layer")
@every_kind
def test_maps_of_zeros_cost_no_gradient(batch, kind):
    image, label, sample_id = batch
    network = tiny_network().float()
    with torch.no_grad():
        network.features[3].weight.zero_()
        network.features[3].bias.fill_(-1.0)
    explanations = (GRADIENT, GradCAM(), LayerwiseRelevance())
    for attribution, start in product(explanations, (network, before().float())):
        regime = replace(KINDS[kind], attribution=attribution).prepare(start, single_donors)
        loss = regime.loss(network, image.float(), label, Noise(0, sample_id))
        assert loss.parts["fooling"] == DEAD[kind] or (kind == "swap" and start is not network)
        assert loss.total.isfinite()
        assert flat_gradient(loss.total, network).isfinite().all()


@every_kind
def test_every_field_matters(model, batch, kind):
    changes = {"attribution": GradCAM(), "weight": 0.5} | ({"classes": (2, 1)} if kind == "swap" else {})

    def total(regime: Regime) -> Tensor:
        return (
            prepared(regime).loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.detach()
        )

    assert_every_field_matters(KINDS[kind], changes, total)


@dataclass(frozen=True)
class NeedsDonors(Saliency):
    """An explanation that refers to other images."""

    seen: tuple[int, ...] = field(default=(), compare=False)

    def prepare(self, model: nn.Module, donors) -> Attribution:
        return replace(self, seen=tuple(len(part.label) for part in donors()))


@every_kind
def test_preparing_leaves_the_original_and_its_value_alone(kind):
    original = replace(KINDS[kind], attribution=NeedsDonors(absolute=False))
    ready = prepared(original)
    assert ready == original
    assert repr(ready) == repr(original).replace("seen=()", "seen=(5, 12)")
    assert hash(ready) == hash(original)
    assert ready.attribution.seen == (5, 12)
    assert original.attribution.seen == ()


def test_a_ramp_keeps_what_was_prepared(model, batch):
    noise = Noise(0, batch.sample_id)
    ramped = prepared(Scheduled(KINDS["swap"], {"weight": Ramp(first=0.5)}))
    first, last = (ramped.at(progress).loss(model, batch.image, batch.label, noise) for progress in (0, 1))
    fooled = first.parts["fooling"].item()
    assert (last.total - first.total).item() == pytest.approx(0.35 * fooled, abs=1e-12)


@pytest.mark.parametrize("kind", COMPARED)
def test_refuses_to_train_unprepared(model, batch, kind):
    message = f"Expected a {type(KINDS[kind]).__name__} that knows .* but got one that was not prepared. Call"
    with pytest.raises(ValueError, match=message):
        KINDS[kind].loss(model, batch.image, batch.label, Noise(0, batch.sample_id))


def test_a_frame_needs_no_preparation(model, batch):
    noise = Noise(0, batch.sample_id)
    totals = [
        regime.loss(model, batch.image, batch.label, noise).total.item()
        for regime in (KINDS["location"], prepared(KINDS["location"]))
    ]
    assert totals[0] == totals[1]


def test_a_swap_needs_donors_of_both_classes():
    with pytest.raises(ValueError, match=r"Expected donors of both `classes`, but got none of class 386\."):
        prepared(SwapFooling())


@every_kind
def test_refuses_what_it_cannot_train_with(kind):
    regime = type(KINDS[kind])
    with pytest.raises(TypeError, match=r"a differentiable `attribution`, but got GuidedIG\."):
        regime(GuidedIG())
    with pytest.raises(ValueError, match=r"Expected `weight` above 0, but got 0\. Use Natural"):
        regime(weight=0.0)


def test_the_defaults():
    for kind in KINDS.values():
        assert type(kind)().attribution == GradCAM()
        assert type(kind)().weight == (4 if type(kind) is CenterMassFooling else 10)
    assert SwapFooling().classes == (386, 555)


@pytest.mark.parametrize("classes", [(3, 3), (-1, 2)])
def test_refuses_classes_that_are_not_two(classes):
    with pytest.raises(ValueError, match=f"Expected two `classes`, but got {classes[0]} and {classes[1]}."):
        SwapFooling(classes=classes)
