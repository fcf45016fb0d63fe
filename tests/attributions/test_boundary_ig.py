import captum.attr
import pytest
import torch
from torch import nn

from lit_xai.attributions.boundary_ig import BoundaryIG
from lit_xai.noise import Noise
from tests.attributions.test_base import threshold_network
from tests.attributions.test_guided_ig import Times
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_attribution_contract, assert_every_field_matters


def attribute(method, model, image, target):
    return method.attribute(model, image, target, Noise(0, torch.arange(len(image))))


def boundary(model, image, target, eps, steps):
    """Search one image's boundary: the point, whether it lies beyond, and the gradients that it took."""
    point = image
    for step in range(steps):
        leaf = point.clone().requires_grad_()
        loss = nn.functional.cross_entropy(model(leaf[None]), torch.tensor([target]))
        (gradient,) = torch.autograd.grad(loss, leaf)
        point = point + eps / steps * gradient.sign()
        point = torch.minimum(torch.maximum(point, image - eps), image + eps).clamp(0, 1)
        if model(point[None]).argmax().item() != target:
            return point, True, step + 1
    return point, False, steps


@pytest.fixture
def model():
    """A network whose classes are near each other."""
    network = tiny_network()
    with torch.no_grad():
        network.head[-1].bias -= network(tiny_batch(samples=12).image).mean(dim=0)
    return network


@pytest.fixture
def predicted(model, batch):
    return model(batch.image).argmax(dim=1)


def test_contract(model, batch):
    assert_attribution_contract(BoundaryIG(eps=0.3, steps=5, path_steps=4), model, batch)


@pytest.mark.parametrize("max_batch", [2, 512])
def test_equals_the_search_and_captum(model, batch, predicted, max_batch):
    # The last one asks for a class that is not predicted.
    target = predicted.clone()
    target[-1] = (target[-1] + 1) % 4
    found = attribute(BoundaryIG(0.01, 7, 11, max_batch=max_batch), model, batch.image, target)
    taken = []
    for row, image in enumerate(batch.image):
        start, crossed, steps = boundary(model, image, target[row].item(), 0.01, 7)
        taken.append((crossed, steps))
        expected = captum.attr.IntegratedGradients(model).attribute(
            image[None], start[None], target[row].item(), n_steps=11, method="gausslegendre"
        )[0]
        assert (found[row] - expected).abs().max() <= 1e-5 * expected.abs().max()
    assert len(set(taken)) >= 3
    assert {crossed for crossed, _ in taken} == {False, True}
    assert taken[-1] == (True, 1)


def test_the_map_sums_to_what_the_boundary_costs(model, batch, predicted):
    found = attribute(BoundaryIG(0.3, 20, 200, "midpoint"), model, batch.image, predicted)
    for row, (image, target) in enumerate(zip(batch.image, predicted.tolist(), strict=True)):
        start, crossed, _ = boundary(model, image, target, 0.3, 20)
        change = (model(image[None]) - model(start[None]))[0, target].item()
        assert crossed
        assert found[row].sum().item() == pytest.approx(change, abs=1e-2 * abs(change))


def test_the_search_stops_at_the_boundary_and_costs_a_pass_a_step(model, batch, predicted):
    sizes = []
    steps = [
        boundary(model, image, target, 0.01, 7)[1:]
        for image, target in zip(batch.image, predicted.tolist(), strict=True)
    ]
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    attribute(BoundaryIG(0.01, 7, 3, max_batch=4), model, batch.image, predicted)
    # Crossing is seen in the pass of the step after it; after the last step nothing needs to be seen.
    search = sum(min(taken + crossed, 7) for crossed, taken in steps)
    assert sum(sizes) == search + 3 * 6
    assert max(sizes) == 4


def test_the_point_stays_within_the_radius_and_the_pixels(model, batch, predicted):
    image = batch.image.clone()
    image[:, :, :4] = image[:, :, :4].round()
    points = []
    model.register_forward_pre_hook(lambda _, arguments: points.append(arguments[0].detach().clone()))
    attribute(BoundaryIG(0.05, 4, 2), model, image[:1], predicted[:1])
    for point in points:
        assert (point - image[:1]).abs().max() <= 0.05 + 1e-12
        assert point.min() >= 0
        assert point.max() <= 1


def test_no_gradient_gives_an_empty_map(model, batch):
    nn.init.zeros_(model.head[-1].weight)
    with pytest.warns(UserWarning, match="only zeros for 6 of 6 images"):
        found = attribute(BoundaryIG(steps=2, path_steps=2), model, batch.image, batch.label)
    assert torch.equal(found, torch.zeros_like(batch.image))


def test_images_without_a_gradient_are_counted(batch):
    image = batch.image.clone()
    image[[1, 4]] *= 0.3
    message = "^Expected a gradient, but got only zeros for 2 of 6 images. Their maps are zero.$"
    with pytest.warns(UserWarning, match=message) as caught:
        found = attribute(BoundaryIG(steps=2, path_steps=2), threshold_network(), image, batch.label)
    assert len(caught) == 1
    assert found.flatten(1).any(dim=1).tolist() == [True, False, True, True, False, True]


def test_a_flat_cross_entropy_is_counted(model, batch, predicted):
    certain = nn.Sequential(model, Times(1e6))
    with pytest.warns(UserWarning, match="only zeros for 6 of 6 images"):
        found = attribute(BoundaryIG(steps=2, path_steps=2), certain, batch.image, predicted)
    assert not found.any()


def test_any_shape():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    image = torch.rand(2, 3, 5, 7).double()
    found = attribute(BoundaryIG(0.1, 3, 9), model, image, torch.tensor([1, 3]))
    for row, target in enumerate((1, 3)):
        start, _, _ = boundary(model, image[row], target, 0.1, 3)
        change = (model(image[[row]]) - model(start[None]))[0, target].item()
        assert found[row].shape == (3, 5, 7)
        assert found[row].sum().item() == pytest.approx(change, rel=1e-6)


def test_an_empty_batch_gives_an_empty_map(model, batch):
    found = attribute(BoundaryIG(steps=2, path_steps=2), model, batch.image[:0], batch.label[:0])
    assert found.shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch, predicted):
    changes = {"eps": 0.2, "steps": 3, "path_steps": 4, "rule": "right", "score": "loss"}
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def effect(method):
        sizes.clear()
        found = attribute(method, model, batch.image, predicted)
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    assert_every_field_matters(
        BoundaryIG(eps=0.1, steps=5, path_steps=3), {**changes, "max_batch": 2}, effect
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 16.0}, r"Expected `eps` in \(0, 1\], but got 16\. Write 8/255 as 0\.0314"),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0"),
        ({"path_steps": 0}, "Expected `path_steps` of at least 1 for the gauss_legendre rule, but got 0"),
        ({"rule": "left"}, "Expected `rule` as right, midpoint, trapezoid or gauss_legendre, but got left"),
        ({"score": "margin"}, "Expected `score` as logit, probability or loss, but got margin"),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        BoundaryIG(**options)
