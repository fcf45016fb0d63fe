import copy
import warnings

import captum.attr
import pytest
import torch
from torch import nn

from lit_xai.attributions.deep_lift import DeepLift, DeepLiftShap
from lit_xai.attributions.references import draw_references
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.contracts import Untouched, assert_attribution_contract, assert_every_field_matters, select
from tests.models.test_tracing import (
    SAME,
    Evaluated,
    Written,
    in_parts,
    library_network,
    normalised,
    of_modules,
    over_and_over,
    randomised,
    written,
)


def attribute(method, model, batch):
    return method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


def change(model, batch, baseline=0.0):
    start = torch.full_like(batch.image, baseline)
    difference = model(batch.image.clone()) - model(start)
    return difference.gather(1, batch.label[:, None]).squeeze(1).detach()


def by_captum(model, batch, baseline=0.0):
    method = captum.attr.DeepLift(model)
    with pytest.warns(UserWarning, match="Setting forward, backward hooks"):
        return method.attribute(batch.image.clone(), baseline, batch.label).detach()


def gap(found, model, batch, baseline=0.0):
    expected = change(model, batch, baseline)
    return ((found.flatten(1).sum(dim=1) - expected).abs().max() / expected.abs().max()).item()


def built(*between):
    """Return a network of float64 layers whose dense layer knows its size."""
    model = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *between, nn.Flatten(), nn.LazyLinear(4)).double()
    model(torch.zeros(1, 2, 8, 8).double())
    return randomised(model)


MEAN_POOLING = (nn.ReLU(), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())
APART = (nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 3), nn.MaxPool2d(2), nn.Conv2d(4, 4, 3, padding=1), nn.ReLU())


def donors(batch):
    return lambda: [select(batch, slice(0, 4)), select(batch, slice(4, None))]


def prepared(model, batch, **options):
    """Return a method whose references are half of the other images in reverse."""
    others = batch._replace(image=batch.image.flip(0, 2).square())
    return DeepLiftShap(**options).prepare(model, donors(others))


def test_contract(model, batch):
    assert_attribution_contract(DeepLift(), model, batch)


def test_contract_of_the_mean(model, batch):
    assert_attribution_contract(prepared(model, batch, references=3), model, batch)


@pytest.mark.parametrize("way", [over_and_over, normalised])
def test_contract_of_other_networks(batch, way):
    model = Written(way)
    model.norm = Evaluated(10)
    assert_attribution_contract(DeepLift(baseline=0.3), randomised(model), batch)


@pytest.mark.parametrize("baseline", [0.0, 0.4])
@pytest.mark.parametrize("layers", [MEAN_POOLING, APART])
def test_equals_captum_where_captum_is_right(batch, layers, baseline):
    model = built(*layers)
    expected = by_captum(copy.deepcopy(model), batch, baseline)
    assert gap(expected, model, batch, baseline) < 1e-9
    found = attribute(DeepLift(baseline), model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


def test_is_complete_where_captum_is_not(model, batch):
    """captum loses the change of a max-pooling whose hooks share a tensor with a rectifier's."""
    assert gap(by_captum(copy.deepcopy(model), batch), model, batch) > 1e-4
    assert gap(attribute(DeepLift(), model, batch), model, batch) < 1e-9


def flat_patches():
    """Return a network of differences of neighbours, and images with and without patches of equal pixels."""
    torch.manual_seed(0)
    conv = nn.Conv2d(1, 1, (1, 2), bias=False)
    conv.weight.data = torch.tensor([[[[1.0, -1.0]]]])
    model = nn.Sequential(conv, nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 2, bias=False)).double()
    image = torch.rand(3, 1, 2, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    image[1:, ..., :4] = torch.tensor([0.6, 0.2]).double().view(2, 1, 1, 1)
    return model, Batch(image, torch.tensor([0, 1, 1]), torch.arange(3))


def test_flat_patches_do_not_mix_images():
    """Where the input of a max-pooling is that of the baseline, captum takes the first image's gradient."""
    model, batch = flat_patches()
    alone = torch.cat([attribute(DeepLift(), model, select(batch, slice(row, row + 1))) for row in range(3)])
    mixed = by_captum(copy.deepcopy(model), batch)
    assert (mixed - alone)[1].abs().max() > 0.05
    torch.testing.assert_close(attribute(DeepLift(), model, batch), alone, rtol=0, atol=1e-12)
    torch.testing.assert_close(by_captum(model, select(batch, slice(0, 1))), alone[:1], rtol=0, atol=1e-12)
    # The multipliers of a pooling of equal values are its gradients: those of the first of them.
    pixels = batch.image.clone().requires_grad_()
    logits = model(pixels).gather(1, batch.label[:, None])
    gradient = torch.autograd.grad(logits.sum(), pixels)[0]
    expected = (batch.image * gradient)[1:, ..., :4]
    torch.testing.assert_close(alone[1:, ..., :3], expected[..., :3], rtol=0, atol=1e-12)


def test_patches_that_cancel_keep_the_map_complete():
    """The second pooling sees 1.0 and 1.4, of the baseline 1.0 and 1.0: its gradients differ at the first."""
    conv, dense = nn.Conv2d(1, 1, (1, 2), stride=(1, 2), bias=False), nn.Linear(1, 1, bias=False)
    conv.weight.data, dense.weight.data = torch.ones(1, 1, 1, 2), torch.ones(1, 1)
    model = nn.Sequential(nn.MaxPool2d((2, 1)), conv, nn.MaxPool2d((1, 2)), nn.Flatten(), dense).double()
    image = torch.tensor([[0.7, 0.3, 0.9, 0.5], [0.1, 0.2, 0.6, 0.0]]).double().view(1, 1, 2, 4)
    batch = Batch(image, torch.tensor([0]), torch.tensor([0]))
    found = attribute(DeepLift(0.5), model, batch)
    expected = torch.tensor([[0.0, 0.0, 0.4, 0.0], [0.0, 0.0, 0.0, 0.0]]).double()
    torch.testing.assert_close(found[0, 0], expected, rtol=0, atol=1e-6)


def test_captum_handles_rectifiers_in_place_itself(batch):
    model = built(nn.ReLU(inplace=True), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True))
    expected = by_captum(copy.deepcopy(model), batch)
    found = attribute(DeepLift(), model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_captum_refuses_a_rectifier_that_is_called_twice(batch):
    unit = nn.ReLU()
    model = built(unit, nn.Conv2d(4, 4, 3), unit)
    with pytest.raises(RuntimeError, match="used more than once"):
        by_captum(copy.deepcopy(model), batch)
    assert gap(attribute(DeepLift(), model, batch), model, batch) < 1e-9


class Functional(nn.Module):
    def forward(self, x):
        return x.relu()


@pytest.mark.parametrize("unit", [Functional(), nn.ReLU6()])
def test_captum_takes_the_plain_gradient_of_functional_rectifiers_and_relu6(batch, unit):
    model = built(unit)
    pixels = batch.image.clone().requires_grad_()
    logits = model(pixels).gather(1, batch.label[:, None])
    plain = batch.image * torch.autograd.grad(logits.sum(), pixels)[0]
    torch.testing.assert_close(by_captum(copy.deepcopy(model), batch), plain, rtol=0, atol=1e-12)
    assert gap(plain, model, batch) > 1e-4
    assert gap(attribute(DeepLift(), model, batch), model, batch) < 1e-9


@pytest.mark.parametrize(
    "name", ["max-pooling after a rectifier", "rectifier after max-pooling", "rectifier after a rectifier"]
)
def test_captum_is_not_complete_for_two_units_in_a_row(batch, name):
    model = built(*COMPLETE[name])
    assert gap(by_captum(copy.deepcopy(model), batch, 0.4), model, batch, 0.4) > 1e-2
    assert gap(attribute(DeepLift(0.4), model, batch), model, batch, 0.4) < 1e-9


def test_captum_is_not_complete_for_overlapping_windows(batch):
    model = built(nn.MaxPool2d(3, 2), nn.Conv2d(4, 3, 3))
    assert gap(by_captum(copy.deepcopy(model), batch), model, batch) > 1e-2
    assert gap(attribute(DeepLift(), model, batch), model, batch) < 1e-9


class Added(nn.Module):
    """A rectifier whose input is used again."""

    def forward(self, x):
        return x.relu() + 0.5 * x


COMPLETE = {
    "rectifier after max-pooling": (nn.MaxPool2d(2), nn.ReLU()),
    "rectifier after a rectifier": (nn.ReLU(), nn.ReLU()),
    "input used again": (Added(),),
    "max-pooling after a rectifier": (nn.ReLU(inplace=True), nn.MaxPool2d(2)),
    "overlap": (nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 3, 3), nn.ReLU()),
    "not square, ceil": (nn.MaxPool2d((2, 3), (3, 2), (1, 1), ceil_mode=True), nn.ReLU6()),
    "hardtanh": (nn.Hardtanh(-0.2, 0.3, inplace=True), nn.MaxPool2d(2)),
    "leaky": (nn.LeakyReLU(0.3, inplace=True), nn.AvgPool2d(2), nn.MaxPool2d(2)),
    "norm": (nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.ReLU()),
}


@pytest.mark.parametrize("beta", [None, 3.0])
@pytest.mark.parametrize("baseline", [0.0, 0.7])
@pytest.mark.parametrize("name", COMPLETE)
def test_the_map_sums_to_the_change_of_the_logit(batch, name, baseline, beta):
    model = built(*COMPLETE[name])
    model = model if beta is None else SoftplusTwin(model, beta)
    assert gap(attribute(DeepLift(baseline), model, batch), model, batch, baseline) < 1e-9


@pytest.mark.parametrize("way", [*SAME, in_parts, normalised, over_and_over])
def test_the_map_sums_to_the_change_of_written_networks(batch, way):
    model = written(way)
    assert gap(attribute(DeepLift(), model, batch), model, batch) < 1e-9


@pytest.mark.parametrize("way", SAME)
def test_in_place_networks_have_the_map_of_their_copies(batch, way):
    expected = attribute(DeepLift(), written(of_modules), batch)
    found = attribute(DeepLift(), written(way), batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_the_map_sums_to_the_change_of_a_library_network(name):
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model, label = library_network(name), torch.tensor([3, 5])
    found = DeepLift().attribute(model, image, label, Noise(0, label))
    difference = (model(image) - model(torch.zeros_like(image))).gather(1, label[:, None])[:, 0]
    torch.testing.assert_close(
        found.flatten(1).sum(dim=1), difference.detach(), rtol=0, atol=1e-9 * difference.abs().max().item()
    )


@pytest.mark.parametrize(
    ("unit", "bend"),
    [
        (nn.ReLU(), lambda z: z.clamp(min=0)),
        (nn.LeakyReLU(0.2), lambda z: torch.where(z > 0, z, 0.2 * z)),
        (nn.ReLU6(inplace=True), lambda z: z.clamp(0, 6)),
        (nn.Hardtanh(-0.3, 0.2), lambda z: z.clamp(-0.3, 0.2)),
    ],
)
def test_equals_the_rescale_rule_written_out(batch, unit, bend):
    first, second = nn.Linear(128, 9), nn.Linear(9, 4)
    model = randomised(nn.Sequential(nn.Flatten(), first, unit, second))
    found = attribute(DeepLift(0.3), model, batch)
    for row in range(6):
        x, start = batch.image[row].flatten(), torch.full((128,), 0.3, dtype=torch.float64)
        z, z_start = first(x), first(start)
        multiplier = (bend(z) - bend(z_start)) / (z - z_start)
        upstream = second.weight[batch.label[row]] * multiplier
        expected = (x - start) * (upstream @ first.weight)
        torch.testing.assert_close(found[row].flatten(), expected.detach(), rtol=0, atol=1e-12)


def test_rectifiers_with_a_ceiling_are_two_rectifiers(batch):
    """Each rises by its own multiplier: that of one unit that is clipped."""
    first, second = nn.Linear(128, 9), nn.Linear(9, 4)
    model = randomised(nn.Sequential(nn.Flatten(), first, nn.ReLU6(), second))
    with torch.no_grad():
        first.weight.mul_(8)
    z, z_start = first(batch.image.flatten(1)), first(torch.zeros(1, 128).double())
    assert z.max() > 6
    multiplier = (z.clamp(0, 6) - z_start.clamp(0, 6)) / (z - z_start)
    upstream = second.weight[batch.label] * multiplier
    expected = batch.image * (upstream @ first.weight).view_as(batch.image)
    torch.testing.assert_close(attribute(DeepLift(), model, batch), expected.detach(), rtol=0, atol=1e-11)


@pytest.mark.parametrize("max_batch", [2, 5, 512])
def test_black_backgrounds_do_not_mix_images(model, batch, max_batch):
    """Where image and baseline agree, a multiplier must not be the first image's."""
    image = batch.image.clone()
    image[:, :, :4] = 0
    image[::2, :, :, :3] = 0
    image[1] = 0
    dark = batch._replace(image=image)
    for network in (model, built(*COMPLETE["overlap"])):
        found = attribute(DeepLift(max_batch=max_batch), network, dark)
        assert found.isfinite().all()
        assert not found[1].any()
        for row in range(6):
            alone = attribute(DeepLift(), network, select(dark, slice(row, row + 1)))
            torch.testing.assert_close(found[[row]], alone, rtol=0, atol=1e-12)


def test_the_mean_is_over_the_references(model, batch):
    method = prepared(model, batch, references=4, seed=2)
    references = draw_references(model, donors(batch._replace(image=batch.image.flip(0, 2).square())), 4, 2)
    found = attribute(method, model, batch)
    maps = torch.zeros_like(found)
    for reference in references:
        for row in range(6):
            pair = torch.stack([batch.image[row], reference])
            shifted = nn.Sequential(Shift(reference), model)
            moved = batch._replace(
                image=pair[:1] - reference, label=batch.label[[row]], sample_id=torch.tensor([0])
            )
            maps[row] += attribute(DeepLift(), shifted, moved)[0] / 4
    torch.testing.assert_close(found, maps, rtol=0, atol=1e-12)


class Shift(nn.Module):
    """Add an image, so that it is the baseline."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def forward(self, x):
        return x + self.image


def test_one_reference_is_one_baseline(model, batch):
    grey = batch._replace(image=torch.full_like(batch.image, 0.4))
    method = DeepLiftShap(references=6).prepare(model, donors(grey))
    torch.testing.assert_close(
        attribute(method, model, batch), attribute(DeepLift(0.4), model, batch), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("max_batch", [2, 3, 4, 7, 512])
def test_no_more_images_in_flight_than_allowed(model, batch, max_batch, mean):
    options = {"max_batch": max_batch}
    method = prepared(model, batch, references=5, **options) if mean else DeepLift(**options)
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    found = attribute(method, model, batch)
    assert sizes[0] == 1
    pairs = 6 * (5 if mean else 1)
    assert max(sizes) == min(max_batch // 2, pairs) * 2
    assert sum(sizes[1:]) == 2 * pairs
    whole = prepared(model, batch, references=5) if mean else DeepLift()
    torch.testing.assert_close(found, attribute(whole, model, batch), rtol=0, atol=1e-12)


def test_captums_warnings_do_not_leak(model, batch):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        attribute(DeepLift(), model, batch)
        attribute(prepared(model, batch, references=2), model, batch)


def test_nothing_is_left_behind(model, batch):
    with Untouched(model, *batch):
        attribute(DeepLift(), model, batch)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
        assert not hasattr(module, "input")


def test_the_image_may_require_a_gradient(model, batch):
    image = batch.image.clone().requires_grad_()
    found = DeepLift().attribute(model, image, batch.label, Noise(0, batch.sample_id))
    assert not found.requires_grad
    assert torch.equal(found, attribute(DeepLift(), model, batch))
    assert image.grad is None


def test_no_images_and_images_that_are_not_square(model, batch):
    empty = type(batch)(*(tensor[:0] for tensor in batch))
    for method in (DeepLift(), prepared(model, batch)):
        assert attribute(method, model, empty).shape == (0, 2, 8, 8)
    narrow = batch._replace(image=batch.image[:, :, :5])
    assert gap(attribute(DeepLift(), written(of_modules), narrow), written(of_modules), narrow) < 1e-9


def test_a_dead_network_has_a_map_of_zeros(model, batch):
    nn.init.constant_(model.features[3].bias, -1e3)
    assert not attribute(DeepLift(), model, batch).any()


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        (nn.GELU(), "gelu"),
        (nn.SiLU(), "silu"),
        (nn.LayerNorm([8, 8]), "layer_norm"),
        (nn.AdaptiveMaxPool2d(3), "adaptive_max_pool2d"),
        (nn.MaxPool2d(2, dilation=2), "max_pool2d"),
    ],
)
def test_refuses_units_without_a_rule(batch, unit, name):
    message = (
        f"^Expected a network of units with a rule for DeepLIFT, but got {name}. "
        r"Use IntegratedGradients\.$"
    )
    model = built(nn.ReLU(), unit)
    for method in (DeepLift(), prepared(model, batch)):
        with pytest.raises(ValueError, match=message):
            attribute(method, model, batch)


def test_a_network_whose_passes_differ_is_refused(batch):
    def by_size(net, x):
        x = net.first(x)
        return net.dense((x.relu() if len(x) > 1 else x).mean((2, 3)))

    with pytest.raises(ValueError, match=r"^Expected none as unit 1 of every pass, but got relu\."):
        attribute(DeepLift(), written(by_size), batch)


def test_refuses_to_run_unprepared_or_on_other_shapes(model, batch):
    message = r"^Expected DeepLiftShap with references, but got one that was not prepared\. Call `prepare`"
    with pytest.raises(ValueError, match=message):
        attribute(DeepLiftShap(), model, batch)
    narrow = batch._replace(image=batch.image[:, :, :4])
    with pytest.raises(ValueError, match=r"^Expected references of the images' shape \(2, 4, 8\), but got"):
        attribute(prepared(model, batch), model, narrow)
    with pytest.raises(ValueError, match=r"^Expected donors to draw references from, but got none\."):
        DeepLiftShap().prepare(model, list)


def test_preparing_returns_a_copy(model, batch):
    method = DeepLiftShap(references=2)
    assert method.prepare(model, donors(batch)) == method
    with pytest.raises(ValueError, match="not prepared"):
        attribute(method, model, batch)
    assert DeepLift().prepare(model, donors(batch)) == DeepLift()


def test_every_field_matters(model, batch):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def effect(method):
        method = method.prepare(model, donors(batch._replace(image=batch.image.flip(0))))
        sizes.clear()
        return torch.cat([attribute(method, model, batch).flatten(), torch.tensor([max(sizes)])])

    assert_every_field_matters(DeepLift(), {"baseline": 0.5, "max_batch": 4}, effect)
    changes = {"references": 3, "max_batch": 4, "seed": 1}
    assert_every_field_matters(DeepLiftShap(references=2), changes, effect)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        (
            DeepLift,
            {"baseline": 128.0},
            r"^Expected `baseline` in \[0, 1\], but got 128\. Write a grey of 128 as 0\.5\.$",
        ),
        (DeepLift, {"baseline": -0.1}, r"^Expected `baseline` in \[0, 1\], but got -0\.1\."),
        (
            DeepLift,
            {"max_batch": 1},
            "^Expected `max_batch` of at least 2, an image and its baseline, but got 1",
        ),
        (
            DeepLiftShap,
            {"max_batch": 1},
            "^Expected `max_batch` of at least 2, an image and its baseline, but",
        ),
        (DeepLiftShap, {"references": 0}, "^Expected `references` of at least 1, but got 0"),
    ],
)
def test_refuses(method, options, message):
    with pytest.raises(ValueError, match=message):
        method(**options)
