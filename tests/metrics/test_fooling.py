import copy
import math
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.evaluation.grid import Grid
from lit_xai.metrics.fooling import FoolingSuccessRate, FoolingTest, UntouchedFoolingRate
from lit_xai.models.reference import Reference
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import Untouched, assert_metric_contract
from tests.metrics.test_fooling_losses import (
    written_displacement,
    written_gain,
    written_heatmap,
    written_location,
    written_top_k,
)

GRADIENT = Saliency(absolute=False)
CLASSES = (3, 0)
KINDS = ["location", "top_k", "center_mass", "swap"]
# Narrow enough that the tiny networks pass on some samples and fail on others.
INTERVALS = {"location": (0.35, 0.42), "top_k": (0.1, 0.5), "center_mass": (0.1, 1.0), "swap": (0.0, 2.0)}
ALL = pytest.mark.parametrize("kind", KINDS)
BOTH = pytest.mark.parametrize("metric", [FoolingSuccessRate, UntouchedFoolingRate])


def balanced(seed: int) -> nn.Module:
    """Return a network that predicts each of its classes for some images."""
    network = tiny_network(seed)
    with torch.no_grad():
        network.head[-1].bias -= network(tiny_batch(samples=30).image).mean(dim=0)
    return network


@pytest.fixture
def model():
    return balanced(0)


@pytest.fixture
def reference():
    return balanced(1)


@pytest.fixture
def batch():
    return tiny_batch(samples=30)


@pytest.fixture
def result(model, batch):
    found = run_attack(model, GRADIENT, RandomSign(eps=0.3), batch, seed=0)
    assert set(found.target.tolist()) == {0, 1, 2, 3}
    return found


def options(kind):
    """Return the options under which a kind of fooling tells samples apart."""
    return {"kind": kind, "interval": INTERVALS[kind], "classes": CLASSES if kind == "swap" else None}


def scored(metric, result):
    return metric.scores(nn.Identity(), result, Noise(0, result.sample_id))


def gradient(network, image, target):
    leaf = image[None].clone().requires_grad_()
    (found,) = torch.autograd.grad(network(leaf)[0, target], leaf)
    return found[0].numpy()


def written_loss(kind, maps, reference, image, target):
    """Return the loss of one sample's attribution (C, H, W) under the signed gradient."""
    own = written_heatmap(gradient(reference, image, target))
    if kind == "swap":
        if target not in CLASSES:
            return math.nan
        other = gradient(reference, image, sum(CLASSES) - target)
        return written_gain(written_heatmap(maps), own, written_heatmap(other))
    return {
        "location": lambda values, _: written_location(values),
        "top_k": written_top_k,
        "center_mass": written_displacement,
    }[kind](written_heatmap(maps), own)


def written_rate(kind, reference, result, maps=None, interval=None):
    low, high = interval or INTERVALS[kind]
    maps = result.attribution.numpy() if maps is None else maps
    losses = [
        written_loss(kind, values, reference, image, target)
        for values, image, target in zip(maps, result.image, result.target.tolist(), strict=True)
    ]
    return [math.nan if math.isnan(loss) else float(low <= loss <= high) for loss in losses]


def assert_scores(found, expected):
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(expected, rel=0, abs=0, nan_ok=True)


@ALL
def test_fooled_samples_equal_the_loop(model, reference, result, kind):
    expected = written_rate(kind, reference, result)
    assert {0.0, 1.0} <= set(expected)
    metric = FoolingSuccessRate(reference, **options(kind))
    assert_scores(assert_metric_contract(metric, model, result), expected)


@ALL
def test_untouched_samples_equal_the_loop(model, reference, result, kind):
    targets = result.target.tolist()
    maps = [gradient(reference, image, target) for image, target in zip(result.image, targets, strict=True)]
    expected = written_rate(kind, reference, result, maps)
    metric = UntouchedFoolingRate(reference, **options(kind))
    assert_scores(assert_metric_contract(metric, model, result), expected)
    # A centre does not move against itself, and ranks cannot agree better than with themselves.
    defined = {score for score in expected if not math.isnan(score)}
    assert defined == ({0.0} if kind in ("center_mass", "swap") else {0.0, 1.0})


@ALL
def test_the_losses_equal_the_loop(reference, result, kind):
    test = FoolingTest(kind, classes=CLASSES if kind == "swap" else None)
    explain = GRADIENT.bind(reference, Noise(0, result.sample_id))
    maps = torch.stack([torch.from_numpy(written_heatmap(values)) for values in result.attribution.numpy()])
    with torch.no_grad():
        found = test.loss(explain, maps, result.image, result.target)
    assert found.dtype == torch.float64
    expected = [
        written_loss(kind, values, reference, image, target)
        for values, image, target in zip(
            result.attribution.numpy(), result.image, result.target.tolist(), strict=True
        )
    ]
    assert found.tolist() == pytest.approx(expected, rel=0, abs=1e-12, nan_ok=True)


@ALL
def test_a_network_that_was_not_taught_is_fooled_as_often_as_its_reference(model, result, kind):
    first = scored(FoolingSuccessRate(model, **options(kind)), result)
    second = scored(UntouchedFoolingRate(model, **options(kind)), result)
    assert_scores(first, second.tolist())
    assert (~first.isnan()).sum() > 10


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [("location", 0, 0.2), ("top_k", 0, 0.3), ("center_mass", 0.1, 1), ("swap", 0.5, 2)],
)
@pytest.mark.parametrize("own", [False, True])
def test_both_ends_of_the_papers_interval_or_ones_own_count(kind, low, high, own):
    low, high = (0.15, 0.15) if own else (low, high)
    classes = CLASSES if kind == "swap" else None
    test = FoolingTest(kind, (0.15, 0.15) if own else None, classes)
    losses = [low, high, (low + high) / 2, low - 1e-9, high + 1e-9, math.inf, -math.inf, math.nan]
    found = test.passed(torch.tensor(losses, dtype=torch.float64))
    assert_scores(found, [1, 1, 1, 0, 0, 0, 0, math.nan])


@ALL
@BOTH
def test_by_default_the_papers_interval_and_the_signed_gradient(reference, result, kind, metric):
    classes = {"classes": CLASSES} if kind == "swap" else {}
    paper = {"location": (0, 0.2), "top_k": (0, 0.3), "center_mass": (0.1, 1), "swap": (0.5, 2)}
    found = scored(metric(reference, kind, **classes), result)
    expected = scored(metric(reference, kind, paper[kind], attribution=GRADIENT, **classes), result)
    assert_scores(found, expected.tolist())
    assert metric(reference).test == FoolingTest("location")
    assert metric(reference).explanation == GRADIENT
    assert metric.higher_is_better is False


@ALL
def test_what_the_attack_did_does_not_matter(reference, result, kind):
    metric = FoolingSuccessRate(reference, **options(kind))
    attacked = {
        "image_adv": 1 - result.image_adv,
        "attribution_adv": result.attribution_adv.flip(2),
        "logits_adv": -result.logits_adv,
        "label": (result.label + 1) % 4,
    }
    assert_scores(scored(metric, replace(result, **attacked)), scored(metric, result).tolist())
    turned = replace(result, attribution=result.attribution.flip(0))
    assert not torch.equal(scored(metric, turned).nan_to_num(2), scored(metric, result).nan_to_num(2))


@ALL
def test_only_the_reference_decides_the_untouched_rate(reference, result, kind):
    metric = UntouchedFoolingRate(reference, **options(kind))
    turned = replace(result, attribution=result.attribution.flip(0), image_adv=1 - result.image_adv)
    assert_scores(scored(metric, turned), scored(metric, result).tolist())


@BOTH
@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("location", {"interval": (0.0, 0.38)}),
        ("location", {"kind": "top_k"}),
        ("top_k", {"kind": "center_mass"}),
        ("top_k", {"attribution": InputXGradient()}),
        ("swap", {"classes": (1, 3)}),
    ],
)
def test_every_option_changes_the_score(reference, result, metric, kind, change):
    before, after = (
        scored(metric(reference, **{**options(kind), **changes}), result).nan_to_num(2)
        for changes in ({}, change)
    )
    assert not torch.equal(before, after)


@BOTH
def test_another_reference_changes_the_score(model, reference, result, metric):
    before, after = (scored(metric(network, **options("top_k")), result) for network in (model, reference))
    assert not torch.equal(before, after)


def test_the_order_of_the_exchanged_classes_does_not_matter(reference, result):
    first, second = (
        scored(FoolingSuccessRate(reference, "swap", INTERVALS["swap"], classes=classes), result)
        for classes in (CLASSES, CLASSES[::-1])
    )
    assert_scores(first, second.tolist())


@pytest.mark.parametrize("kind", ["center_mass", "swap", "location", "top_k"])
def test_maps_of_zeros_are_left_out_where_they_have_no_loss(model, reference, result, kind):
    attribution = result.attribution.clone()
    empty = [3, 7, 20]
    attribution[empty] = -1.0
    before = scored(FoolingSuccessRate(reference, **options(kind)), result)
    metric = FoolingSuccessRate(reference, **options(kind))
    metric.update(model, replace(result, attribution=attribution), Noise(0, result.sample_id))
    kept = torch.ones(30, dtype=torch.bool)
    kept[empty] = False
    expected, undefined = before[kept], 3
    if kind in ("location", "top_k"):
        # A black map is 28 / 64 away from the frame, and zero where the reference's map is highest.
        expected, undefined = torch.cat([expected, torch.zeros(3).double()]), 0
    undefined += int(before[kept].isnan().sum())
    summary = metric.summary()
    assert (summary.count, summary.undefined) == (30 - undefined, undefined)
    assert summary.value == pytest.approx(expected.nanmean().item(), abs=1e-12)


@BOTH
def test_samples_of_other_classes_are_left_out_of_a_swap(model, reference, result, metric):
    counted = metric(reference, **options("swap"))
    counted.update(model, result, Noise(0, result.sample_id))
    other = sum(target not in CLASSES for target in result.target.tolist())
    assert 0 < other < 28
    assert (counted.summary().count, counted.summary().undefined) == (30 - other, other)


@dataclass(frozen=True)
class Drawn(Attribution):
    """Explain by noise of one channel, the same for every network."""

    differentiable: ClassVar[bool] = False

    def attribute(self, model, image, target, noise):
        assert not model.training
        assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
        return noise.normal(image[:, :1])


@ALL
@BOTH
@pytest.mark.parametrize("attribution", [SmoothGrad(samples=3, sigma=0.5), Drawn()])
def test_draws_belong_to_the_sample(model, reference, result, kind, metric, attribution):
    # The contract scores parts of the batch by themselves.
    own = replace(result, attribution=result.attribution[:, :1])
    assert_metric_contract(metric(reference, **options(kind), attribution=attribution), model, own)


@ALL
@BOTH
def test_the_reference_is_left_as_it_was(reference, result, kind, metric):
    tensors = [getattr(result, name) for name in AttackResult.__slots__]
    with Untouched(reference, *tensors):
        scores = scored(metric(reference, **options(kind)), result)
    assert not scores.requires_grad


class Copied(nn.Sequential):
    """A network that counts its copies."""

    copies = 0

    def __deepcopy__(self, memo):
        self.copies += 1
        return Copied(*(copy.deepcopy(part, memo) for part in self))


@ALL
@BOTH
@pytest.mark.parametrize("inference", [False, True])
def test_images_in_float64_are_explained_in_float64(model, reference, batch, kind, metric, inference):
    network = Copied(reference.float())
    twin = copy.deepcopy(reference).double()
    result = run_attack(model, GRADIENT, Unattacked(), batch, seed=0)
    assert result.image.dtype == result.attribution.dtype == torch.float64
    targets = result.target.tolist()
    maps = [gradient(twin, image, target) for image, target in zip(result.image, targets, strict=True)]
    expected = written_rate(kind, twin, result, maps if metric is UntouchedFoolingRate else None)
    rate = metric(network, **options(kind))
    with Untouched(network, result.image), torch.inference_mode(inference):
        for _ in range(3):
            assert_scores(scored(rate, result).clone(), expected)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert network.copies == 1
    # The images of another network may be in single precision again.
    single = run_attack(
        model.float(), GRADIENT, Unattacked(), batch._replace(image=batch.image.float()), seed=0
    )
    assert_scores(scored(rate, single), scored(metric(reference, **options(kind)), single).tolist())
    assert network.copies == 1


@BOTH
def test_the_reference_is_evaluated_without_dropout(reference, result, metric):
    network = nn.Sequential(nn.Dropout(0.5), reference).train()
    found = scored(metric(network, **options("top_k")), result)
    assert_scores(found, scored(metric(reference, **options("top_k")), result).tolist())


@ALL
@BOTH
def test_inference_mode_changes_no_number(reference, result, kind, metric):
    expected = scored(metric(reference, **options(kind)), result)
    with torch.inference_mode():
        inside = AttackResult(**{name: getattr(result, name).clone() for name in AttackResult.__slots__})
        found = scored(metric(reference, **options(kind)), inside)
    assert_scores(found.clone(), expected.tolist())


def test_a_grid_tells_what_was_taught_from_what_was_not(model, reference, batch):
    label = model.eval()(batch.image).argmax(dim=1)
    metrics = {
        "fooled": FoolingSuccessRate(Reference(reference), **options("top_k")),
        "itself": FoolingSuccessRate(Reference(balanced(0)), **options("top_k")),
        "untouched": UntouchedFoolingRate(Reference(balanced(0)), **options("top_k")),
    }
    grid = Grid({"gradient": GRADIENT}, {"unattacked": Unattacked()}, metrics)
    with torch.inference_mode():
        grid.update(model, batch._replace(label=label))
    rows = {row.metric: row.value for row in grid.rows()}
    result = run_attack(model, GRADIENT, Unattacked(), batch, seed=0)
    assert rows["fooled"] == pytest.approx(sum(written_rate("top_k", reference, result)) / 30, abs=1e-12)
    assert rows["itself"] == rows["untouched"] != rows["fooled"]


@BOTH
@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"kind": "size"}, "Expected `kind` as location or top_k or center_mass or swap, but got size"),
        ({"interval": (0.3, 0.2)}, r"Expected `interval` from low to high, but got \(0\.3, 0\.2\)"),
        ({"interval": (math.nan, 1.0)}, r"Expected `interval` from low to high, but got \(nan, 1\.0\)"),
        ({"kind": "swap"}, "Expected `classes` for swap alone, but got None for swap"),
        ({"classes": (0, 1)}, r"Expected `classes` for swap alone, but got \(0, 1\) for location"),
        ({"kind": "swap", "classes": (3, 3)}, r"Expected two `classes`, but got \(3, 3\)"),
    ],
)
def test_refuses_options_out_of_range(reference, metric, change, match):
    with pytest.raises(ValueError, match=rf"{match}\."):
        metric(reference, **change)


def test_reference_and_network_are_explained_under_the_same_draws(model, batch):
    noisy = SmoothGrad(samples=4)
    labels = model(batch.image).argmax(dim=1)
    options = {"reference": model, "kind": "top_k", "attribution": noisy}
    metrics = {"fooled": FoolingSuccessRate(**options), "untouched": UntouchedFoolingRate(**options)}
    grid = Grid({"noisy": noisy}, {"unattacked": Unattacked()}, metrics)
    grid.update(model, Batch(batch.image, labels, batch.sample_id))
    records = grid.records()
    values = [records[records.metric == name]["value"].tolist() for name in metrics]
    assert values[0] == values[1]
    assert len(values[0]) == len(labels)
