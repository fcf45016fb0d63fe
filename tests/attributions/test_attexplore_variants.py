from dataclasses import fields, replace

import pytest
import scipy.ndimage
import scipy.stats
import torch
from torch import nn
from torch.nn import functional

from lit_xai.attributions.attexplore_variants import (
    AttEXploreDI,
    AttEXploreMI,
    AttEXploreNAA,
    AttEXplorePGD,
    AttEXplorePlain,
    AttEXploreSINI,
    AttEXploreTI,
)
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.attributions.exploring import attribute, count_images, pooling_network, wide_batch
from tests.contracts import assert_attribution_contract, assert_every_field_matters

VARIANTS = [
    AttEXplorePlain,
    AttEXplorePGD,
    AttEXploreMI,
    AttEXploreDI,
    AttEXploreTI,
    AttEXploreSINI,
    AttEXploreNAA,
]
SUMMED = VARIANTS[:5]


def few(variant, **options):
    if variant is AttEXploreNAA:
        options = {"samples": 3} | options
    return variant(**({"steps": 4} | options))


def unit(gradient):
    return gradient / gradient.abs().mean()


class Loop:
    """Table 6 as the table says, for one image."""

    def __init__(self, method, model, image, label, noise):
        self.method, self.model, self.label, self.noise = method, model, label, noise
        self.image = self.point = self.before = image
        self.down = 1 if method.direction == "descend" else -1
        self.alpha = method.eps / method.steps
        self.momentum = torch.zeros_like(image)
        self.sum = torch.zeros_like(image)

    def probability(self, logits):
        entry = logits
        for _ in range(("logit", "probability", "double_softmax").index(self.method.objective)):
            entry = torch.softmax(entry, dim=1)
        return entry[0, self.label.item()]

    def slope(self, point, network=None):
        leaf = point.clone().requires_grad_()
        return torch.autograd.grad(self.probability((network or self.model)(leaf)), leaf)[0]

    def running(self, gradient):
        self.sum = self.sum + gradient if self.method.accumulate else gradient
        return self.sum

    def resized(self, step):
        """DI with rate 0.9: shrink to r x r, r in {int(.9 S), ..., S - 1}, and pad with zeros to S x S.

        With rate 1.15: enlarge to r in {S, ..., int(1.15 S) - 1}, pad to int(1.15 S), and shrink to S x S.
        """
        draw, like = self.noise.child(step), torch.zeros(1, dtype=torch.float64)
        if draw.child("applied").uniform(like) >= self.method.diversity_probability:
            return self.model
        sides, corners, canvases = [], [], []
        for size, name in zip(self.image.shape[2:], ("top", "left"), strict=True):
            low, high = sorted([int(self.method.diversity_scale * size), size])
            sides.append(low + int(draw.child("side").uniform(like).item() * (high - low)))
            corners.append(int(draw.child(name).uniform(like).item() * (high - sides[-1])))
            canvases.append(high)

        def network(image):
            canvas = torch.zeros(*image.shape[:2], *canvases, dtype=image.dtype)
            small = functional.interpolate(image, sides, mode="bilinear", align_corners=False)
            canvas[:, :, corners[0] : corners[0] + sides[0], corners[1] : corners[1] + sides[1]] = small
            back = functional.interpolate(canvas, image.shape[2:], mode="bilinear", align_corners=False)
            return self.model(back)

        return network

    def plain(self, step):
        return self.running(self.slope(self.point))

    def pgd(self, step):
        if step == 0:
            jump = self.noise.child("start").uniform(self.image, -self.method.eps, self.method.eps)
            self.point = (self.image + jump).clamp(0, 1)
        return self.running(self.slope(self.point))

    def mi(self, step):
        self.momentum = self.method.momentum * self.momentum + unit(self.running(self.slope(self.point)))
        return self.momentum

    def di(self, step):
        found = self.running(self.slope(self.point, self.resized(step)))
        self.momentum = self.method.momentum * self.momentum + unit(found)
        return self.momentum

    def ti(self, step):
        size, reach = self.method.kernel_size, self.method.kernel_reach
        line = scipy.stats.norm.pdf(torch.linspace(-reach, reach, size, dtype=torch.float64).numpy())
        kernel = (line[:, None] * line / line.sum() ** 2)[None, None]
        found = self.running(self.slope(self.point, self.resized(step))).numpy()
        blurred = torch.from_numpy(scipy.ndimage.convolve(found, kernel, mode="constant"))
        self.momentum = self.method.momentum * self.momentum + unit(blurred)
        return self.momentum

    def sini(self, step):
        stride = -self.down * self.method.look_ahead * self.alpha * self.method.momentum
        total = torch.zeros_like(self.image)
        for i in range(self.method.scales):
            shift = stride * self.momentum
            total += self.slope(self.point, lambda leaf, i=i, shift=shift: self.model((leaf + shift) / 2**i))
        self.momentum = self.method.momentum * self.momentum + unit(total / self.method.scales)
        return self.momentum

    def features(self, image):
        kept = []
        layer = self.model[2] if self.method.layer == "2" else self.model[3]
        hook = layer.register_forward_hook(lambda _, __, output: kept.append(output))
        logits = self.model(image)
        hook.remove()
        return logits, kept[0]

    def naa(self, step):
        if step == 0:
            total, samples = 0, self.method.samples
            for draw in range(samples):
                noisy = self.image + self.method.sigma * self.noise.child(draw).normal(self.image)
                logits, feature = self.features((noisy * (1 - draw / samples)).requires_grad_())
                total = total + torch.autograd.grad(self.probability(logits), feature)[0]
            self.weight = -total / total.norm()
        leaf = self.point.clone().requires_grad_()
        black = self.features(torch.zeros_like(leaf))[1]
        feature = self.features(leaf)[1]
        loss = ((feature - black) * self.weight).sum() / feature.shape[1]
        slope = torch.autograd.grad(loss, leaf)[0]
        # Up this loss is down the class.
        self.momentum = self.method.momentum * self.momentum - unit(slope)
        return self.momentum

    def map(self):
        follow = getattr(self, type(self.method).__name__.removeprefix("AttEXplore").lower())
        attribution = torch.zeros_like(self.image)
        for step in range(self.method.steps):
            g = follow(step)
            eps = self.method.eps
            change = (self.point - self.down * self.alpha * g.sign() - self.image).clamp(-eps, eps)
            moved = (self.image + change).clamp(0, 1)
            attribution -= self.down * (moved - self.before) * g
            self.point = self.before = moved
        return attribution


def reference(method, model, batch):
    return torch.cat(
        [
            Loop(method, model, batch.image[[row]], batch.label[row], Noise(0, batch.sample_id[[row]])).map()
            for row in range(len(batch.image))
        ]
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract(model, batch, variant):
    assert_attribution_contract(few(variant, steps=3, max_batch=4), model, batch)


@pytest.mark.parametrize(
    ("variant", "options"),
    [
        *((variant, {}) for variant in VARIANTS),
        *((variant, {"accumulate": True}) for variant in SUMMED),
        *((variant, {"direction": "ascend", "objective": "logit"}) for variant in VARIANTS),
        *((variant, {"momentum": 0.4, "objective": "probability"}) for variant in VARIANTS[2:]),
        (AttEXploreDI, {"diversity_scale": 0.5, "diversity_probability": 0.9, "accumulate": True}),
        (AttEXploreDI, {"diversity_scale": 1.3, "diversity_probability": 0.7}),
        (AttEXploreTI, {"diversity_scale": 1.15, "diversity_probability": 0.9}),
        (AttEXploreTI, {"kernel_size": 5, "kernel_reach": 2.0, "accumulate": True, "momentum": 1.0}),
        (AttEXploreSINI, {"look_ahead": -1.0}),
        (AttEXploreSINI, {"scales": 2, "momentum": 0.7}),
        (AttEXploreNAA, {"layer": "2", "sigma": 0.05, "samples": 4}),
    ],
)
def test_equals_a_loop_over_images(variant, options):
    model, batch = pooling_network(1), wide_batch(3)
    method = few(variant, **options)
    found, expected = attribute(method, model, batch), reference(method, model, batch)
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-9, error


@pytest.mark.parametrize("variant", [AttEXploreDI, AttEXploreTI])
def test_larger_padded_images_fit_networks_of_fixed_size(model, batch, variant):
    """The dense layer of this network takes one size only."""
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        model(torch.zeros(1, 2, 20, 20).double())
    method = few(variant, diversity_scale=1.5, diversity_probability=1.0)
    found = attribute(method, model, batch)
    torch.testing.assert_close(found, reference(method, model, batch), rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_walks_towards_the_boundary(trained, fashion_batch, variant):
    rows = Batch(*(tensor[:24] for tensor in fashion_batch))
    seen = []
    hook = trained.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    change = {}
    for direction in ("descend", "ascend"):
        attribute(few(variant, direction=direction, steps=6), trained, rows)
        probability = trained(seen[-1][:24]).softmax(dim=1).gather(1, rows.label[:, None])
        change[direction] = (
            probability - trained(rows.image).softmax(dim=1).gather(1, rows.label[:, None])
        ).mean()
    hook.remove()
    assert change["descend"] < -0.1
    assert change["ascend"] > 0.02


@pytest.mark.parametrize("variant", VARIANTS)
def test_signs(variant):
    found = attribute(few(variant), pooling_network(1), wide_batch(3))
    if variant is AttEXplorePGD:
        assert 0.01 < (found < 0).double().mean() < 0.5
    else:
        assert found.min() >= 0


@pytest.mark.parametrize("variant", SUMMED)
def test_one_step_has_nothing_to_accumulate(variant):
    model, batch = pooling_network(1), wide_batch(3)
    method = few(variant, steps=1)
    found = attribute(replace(method, accumulate=True), model, batch)
    assert torch.equal(found, attribute(method, model, batch))


@pytest.mark.parametrize("max_batch", [1, 2, 512])
@pytest.mark.parametrize("variant", VARIANTS)
def test_no_image_is_passed_twice_and_few_at_once(variant, max_batch):
    model, batch = pooling_network(1), wide_batch(3)
    expected = attribute(few(variant), model, batch)
    sizes = count_images(model)
    found = attribute(few(variant, max_batch=max_batch), model, batch)
    passes = {AttEXploreSINI: 5 * 4, AttEXploreNAA: 3 + 4}
    assert sum(sizes) == 3 * passes.get(variant, 4)
    assert max(sizes) <= max_batch
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_zero_gradients_give_zero_maps_and_one_warning(variant):
    model, batch = pooling_network(1), wide_batch(3)
    nn.init.zeros_(model[-1].weight)
    with pytest.warns(UserWarning, match="for 3 of 3 images") as caught:
        found = attribute(few(variant, max_batch=2), model, batch)
    assert len(caught) == 1
    assert found.isfinite().all()
    if variant is not AttEXplorePGD:
        assert not found.any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_field_matters(variant):
    model, batch = pooling_network(1), wide_batch(2)
    sizes = count_images(model)

    def effect(method):
        sizes.clear()
        found = attribute(method, model, batch)
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    changes = {
        "eps": 32 / 255,
        "steps": 3,
        "direction": "ascend",
        "objective": "logit",
        "max_batch": 1,
        "accumulate": True,
        "momentum": 0.5,
        "diversity_probability": 0.9,
        "diversity_scale": 0.6,
        "kernel_size": 5,
        "kernel_reach": 2.0,
        "scales": 3,
        "look_ahead": 0.0,
        "samples": 4,
        "sigma": 0.1,
        "layer": "0",
    }
    method = few(variant)
    names = {field.name for field in fields(method)}
    assert_every_field_matters(method, {name: changes[name] for name in names}, effect)


def test_the_defaults_are_the_tables():
    for variant in VARIANTS:
        assert (variant().eps, variant().steps, variant().direction) == (16 / 255, 10, "descend")
        assert variant().objective == "double_softmax"
        assert not getattr(variant(), "accumulate", False)
    moments = {AttEXploreMI: 1, AttEXploreDI: 0, AttEXploreTI: 0, AttEXploreSINI: 1, AttEXploreNAA: 1}
    assert {variant: variant().momentum for variant in moments} == moments
    assert (AttEXploreTI().kernel_size, AttEXploreTI().kernel_reach) == (15, 3.0)
    assert (AttEXploreDI().diversity_scale, AttEXploreDI().diversity_probability) == (0.9, 0.5)
    assert AttEXploreSINI().scales == 5
    assert (AttEXploreNAA().samples, AttEXploreNAA().sigma) == (30, 0.2)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("shape", [(0, 2, 8, 8), (2, 2, 3, 11), (2, 2, 4, 4)])
def test_odd_shapes(variant, shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = Batch(image, torch.zeros(shape[0], dtype=torch.int64), torch.arange(shape[0]))
    found = attribute(few(variant, steps=2), pooling_network(1), batch)
    assert found.shape == shape
    assert (found.flatten(1).amax(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("variant", "options", "message"),
    [
        (AttEXplorePlain, {"eps": 16}, r"Expected `eps` in \(0, 1\], but got 16. Write 8/255 as 0.0314"),
        (AttEXplorePGD, {"steps": 0}, "Expected `steps` of at least 1, but got 0"),
        (AttEXploreMI, {"momentum": -1.0}, "Expected `momentum` of at least 0, but got -1"),
        (AttEXploreDI, {"diversity_scale": 1.0}, "Expected `diversity_scale` above 0 and other than 1"),
        (
            AttEXploreTI,
            {"diversity_probability": 7.0},
            r"Expected `diversity_probability` in \[0, 1\], but got 7",
        ),
        (AttEXploreTI, {"kernel_size": 2}, "Expected `kernel_size` as an odd number above 0, but got 2"),
        (AttEXploreSINI, {"scales": 0}, "Expected `scales` of at least 1, but got 0"),
        (AttEXploreNAA, {"samples": 0}, "Expected `samples` of at least 1, but got 0"),
        (AttEXploreNAA, {"sigma": -1.0}, "Expected `sigma` of at least 0, but got -1"),
    ],
)
def test_refuses(variant, options, message):
    with pytest.raises(ValueError, match=message):
        variant(**options)


def test_refuses_a_layer_that_is_not_there():
    with pytest.raises(ValueError, match="Expected `layer` as the name of a module, but got 'top'"):
        attribute(few(AttEXploreNAA, layer="top"), pooling_network(1), wide_batch(3))
