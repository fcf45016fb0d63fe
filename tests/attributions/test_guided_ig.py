import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.noise import Noise
from tests.attributions.test_base import threshold_network
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_attribution_contract, assert_every_field_matters, curved


def attribute(method, model, image, target):
    noise = Noise(0, torch.arange(len(image)))
    return method.attribute(model, image, target, noise)


def reference(model, image, target, steps, fraction, max_dist, baseline):
    """Walk one image's path with a quantile for every block, in numpy, as the authors describe it."""
    end = image.double().numpy()
    start = np.full_like(end, baseline)
    point, attribution = start.copy(), np.zeros_like(end)
    total = np.abs(end - start).sum()
    for step in range(steps):
        leaf = torch.from_numpy(point).to(image.dtype)[None].requires_grad_()
        gradient = torch.autograd.grad(model(leaf)[0, target], leaf)[0][0].double().numpy()
        size = np.abs(gradient)
        share = (step + 1) / steps
        low, high = max(share - max_dist, 0.0), min(share + max_dist, 1.0)
        first, last = start + low * (end - start), start + high * (end - start)
        gamma = np.inf
        while gamma > 1:
            before = point.copy()
            with np.errstate(invalid="ignore"):
                lagging = (point - start) / (end - start) < low
            point[lagging] = first[lagging]
            left, aim = np.abs(end - point).sum(), total * (1 - share)
            if math.isclose(left, aim, rel_tol=1e-9, abs_tol=1e-9):
                gamma = 0.0
            else:
                size[point == last] = np.inf
                chosen = (size <= np.quantile(size, fraction, method="lower")) & (size != np.inf)
                gamma = (left - aim) / np.abs(point - last)[chosen].sum()
                point[chosen] = (last if gamma > 1 else point + gamma * (last - point))[chosen]
            attribution += (point - before) * gradient
    return torch.from_numpy(attribution)


def test_contract(model, batch):
    assert_attribution_contract(GuidedIG(path_steps=7), model, batch)


@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("steps", "fraction", "max_dist", "baseline"),
    [
        (1, 0.25, 0.02, 0.0),
        (15, 0.25, 0.02, 0.0),
        (9, 0.03, 0.3, 0.5),
        (11, 1.0, 0.1, 0.2),
        (13, 0.4, 1.0, 0.0),
    ],
)
def test_equals_the_loop(precision, steps, fraction, max_dist, baseline):
    model, batch = tiny_network().to(precision).eval(), tiny_batch()
    image = batch.image.to(precision)
    image[0, :, :3] = baseline
    image[1] = (image[1] > 0.5).to(precision)
    found = attribute(GuidedIG(steps, fraction, max_dist, baseline), model, image, batch.label)
    for row, (pixels, target) in enumerate(zip(image, batch.label.tolist(), strict=True)):
        expected = reference(model, pixels, target, steps, fraction, max_dist, baseline)
        error = (found[row] - expected).abs().max() / expected.abs().max()
        assert error <= (1e-9 if precision == torch.float64 else 1e-5)


def test_equal_gradients_move_together():
    model = nn.Sequential(nn.Flatten(), Ties())
    image = torch.rand(3, 1, 5, 3, generator=torch.Generator().manual_seed(0)).double()
    target = torch.tensor([0, 1, 0])
    found = attribute(GuidedIG(6, 0.2, 0.1), model, image, target)
    for row in range(3):
        expected = reference(model, image[row], target[row].item(), 6, 0.2, 0.1, 0.0)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12)


class Ties(nn.Module):
    """Gradients of three magnitudes, one of them zero, that depend on the point."""

    def forward(self, features):
        weight = (torch.arange(features.shape[1]) % 3).double()
        curve = features.sum(dim=1).square() / 10
        return torch.stack([features @ weight + curve, features @ weight.neg() + curve], dim=1)


def test_the_path_ends_at_the_image(model, batch):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(arguments[0].detach().clone()))
    attribute(GuidedIG(20), model, batch.image, batch.label)
    assert len(sizes) == 20
    total = batch.image.flatten(1).sum(dim=1)
    for step, point in enumerate(sizes):
        torch.testing.assert_close(point.flatten(1).sum(dim=1), total * step / 20, rtol=0, atol=1e-9)
        share = point / batch.image
        assert share.min() >= step / 20 - 0.02 - 1e-9
        assert share.max() <= step / 20 + 0.02 + 1e-9
        assert (share.amax(dim=(1, 2, 3)) - share.amin(dim=(1, 2, 3)) > 0.01).all() or step == 0


def test_a_band_of_no_width_is_the_straight_line(model, batch):
    found = attribute(GuidedIG(20, max_dist=0.0), model, batch.image, batch.label)
    # Gradients at the left ends of equal intervals.
    points = [step / 20 for step in range(20)]
    expected = torch.zeros_like(batch.image)
    for share in points:
        leaf = (share * batch.image).requires_grad_()
        score = model(leaf).gather(1, batch.label[:, None]).sum()
        expected += batch.image / 20 * torch.autograd.grad(score, leaf)[0]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_the_map_sums_to_the_change_of_the_score(model, batch):
    smooth = curved(model)
    change = smooth(batch.image) - smooth(torch.zeros_like(batch.image))
    change = change.gather(1, batch.label[:, None]).squeeze(1)
    gaps = {}
    for steps in (20, 100):
        found = attribute(GuidedIG(steps), smooth, batch.image, batch.label)
        gaps[steps] = ((found.flatten(1).sum(dim=1) - change).abs() / change.abs()).mean()
    assert gaps[100] < 0.03
    assert gaps[100] < 0.3 * gaps[20]


def test_the_path_avoids_large_gradients(trained, fashion_batch):
    image, target = fashion_batch.image[:16], fashion_batch.label[:16]
    guided = attribute(GuidedIG(50, max_dist=1.0), trained, image, target)
    straight = attribute(IntegratedGradients(50), trained, image, target).detach()
    mass = [maps.abs().flatten(1).sum(dim=1) for maps in (guided, straight)]
    assert (mass[0] < mass[1]).sum() >= 14


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_an_image_equal_to_its_baseline_has_an_empty_map(model, batch, value):
    image = batch.image.clone()
    image[2] = value
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = attribute(GuidedIG(5, baseline=value), model, image, batch.label)
    assert found[2].abs().max() == 0
    assert (found.flatten(1).abs().amax(dim=1) > 0).sum() == 5


def test_no_gradient_gives_an_empty_map(model, batch):
    nn.init.zeros_(model.head[-1].weight)
    with pytest.warns(UserWarning, match="only zeros for 6 of 6 images"):
        found = attribute(GuidedIG(3), model, batch.image, batch.label)
    assert torch.equal(found, torch.zeros_like(batch.image))


def test_images_without_a_gradient_are_counted(batch):
    image = batch.image.clone()
    image[[1, 4]] *= 0.3
    message = "^Expected a gradient, but got only zeros for 2 of 6 images. Their maps are zero.$"
    with pytest.warns(UserWarning, match=message) as caught:
        found = attribute(GuidedIG(5), threshold_network(), image, batch.label)
    assert len(caught) == 1
    assert found.flatten(1).any(dim=1).tolist() == [True, False, True, True, False, True]


def test_saturated_probabilities_are_counted(model, batch):
    certain = nn.Sequential(model, Times(1e6))
    with pytest.warns(UserWarning, match="only zeros for 6 of 6 images"):
        found = attribute(GuidedIG(3, score="probability"), certain, batch.image, batch.label)
    assert not found.any()
    assert attribute(GuidedIG(3), certain, batch.image, batch.label).any()


class Times(nn.Module):
    """Multiply logits, so that probabilities are exactly zero or one."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, logits):
        return self.factor * logits


def test_a_gradient_that_is_not_a_number_does_not_hang(batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 4)).double()
    nn.init.constant_(model[1].weight, float("nan"))
    assert attribute(GuidedIG(3), model, batch.image, batch.label).isnan().all()


@pytest.mark.parametrize("shape", [(3, 5, 9), (1, 7, 2), (1, 1, 1)])
def test_any_shape(shape):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(shape[0], 4, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).double()
    image = torch.rand(2, *shape).double()
    found = attribute(GuidedIG(4), model, image, torch.tensor([1, 3]))
    for row, target in enumerate((1, 3)):
        expected = reference(model, image[row], target, 4, 0.25, 0.02, 0.0)
        torch.testing.assert_close(found[row], expected, rtol=0, atol=1e-12)


def test_an_empty_batch_gives_an_empty_map(model, batch):
    assert attribute(GuidedIG(3), model, batch.image[:0], batch.label[:0]).shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch):
    changes = {"path_steps": 6, "fraction": 0.5, "max_dist": 0.2, "baseline": 0.5, "score": "loss"}
    assert_every_field_matters(
        GuidedIG(path_steps=5), changes, lambda method: attribute(method, model, batch.image, batch.label)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"path_steps": 0}, "Expected `path_steps` of at least 1, but got 0"),
        ({"fraction": 0.0}, r"Expected `fraction` in \(0, 1\], but got 0"),
        ({"fraction": 25.0}, r"Expected `fraction` in \(0, 1\], but got 25"),
        ({"max_dist": -0.1}, r"Expected `max_dist` in \[0, 1\], but got -0\.1"),
        (
            {"baseline": 128.0},
            r"Expected `baseline` in \[0, 1\], but got 128\. Write a grey of 128 as 0\.5\.",
        ),
        ({"score": "margin"}, "Expected `score` as logit, probability or loss, but got margin"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        GuidedIG(**options)
