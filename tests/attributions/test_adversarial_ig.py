import warnings
from itertools import combinations

import pytest
import torch
from torch import nn

from lit_xai.attributions.adversarial_ig import AdversarialIG
from lit_xai.noise import Noise
from tests.attributions.test_base import threshold_network
from tests.attributions.test_guided_ig import Times
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_attribution_contract, assert_every_field_matters


def attribute(method, model, image, target, seed=0):
    return method.attribute(model, image, target, Noise(seed, torch.arange(len(image))))


def walk(model, image, target, other, eps, steps):
    """Walk from one image towards one class: the map and the number of forward passes."""
    point, attribution = image, torch.zeros_like(image)
    for step in range(steps):
        leaf = point[None].clone().requires_grad_()
        logits = model(leaf)
        if logits.argmax().item() == other:
            return attribution, step + 1
        probability = logits.softmax(dim=1)[0]
        (pull,) = torch.autograd.grad(probability[other], leaf, retain_graph=True)
        (cost,) = torch.autograd.grad(probability[target], leaf)
        point = (image + eps * pull[0].sign()).clamp(0, 1)
        attribution = attribution - cost[0] * (point - image)
    return attribution, steps


def loop(model, image, target, eps, steps):
    maps, passes = {}, 0
    for other in set(range(4)) - {target}:
        maps[other], number = walk(model, image, target, other, eps, steps)
        passes += number
    return maps, passes


@pytest.fixture
def model():
    """A network whose classes are near each other."""
    network = tiny_network()
    with torch.no_grad():
        network.head[-1].bias -= network(tiny_batch(samples=12).image).mean(dim=0)
    return network


def test_contract(model, batch):
    assert_attribution_contract(AdversarialIG(eps=0.1, steps=3, classes=2), model, batch)


@pytest.mark.parametrize("max_batch", [1, 2, 7, 512])
@pytest.mark.parametrize(("eps", "steps"), [(0.05, 4), (0.3, 5)])
def test_equals_the_loop(model, batch, eps, steps, max_batch):
    found = attribute(AdversarialIG(eps, steps, max_batch=max_batch), model, batch.image, batch.label)
    lengths = set()
    for row, (image, target) in enumerate(zip(batch.image, batch.label.tolist(), strict=True)):
        maps, passes = loop(model, image, target, eps, steps)
        lengths.add(passes)
        torch.testing.assert_close(found[row], sum(maps.values()), rtol=0, atol=1e-12)
    assert len(lengths) > 1


def test_forward_passes_are_those_of_the_loop(model, batch):
    passes = sum(
        loop(model, image, target, 0.3, 5)[1]
        for image, target in zip(batch.image, batch.label.tolist(), strict=True)
    )
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    attribute(AdversarialIG(0.3, 5, max_batch=7), model, batch.image, batch.label)
    assert sum(sizes) == 1 + passes
    assert max(sizes) <= 7


def test_each_sample_draws_its_own_classes(model, batch):
    found = attribute(AdversarialIG(0.1, 3, classes=2), model, batch.image, batch.label)
    drawn = []
    for row, (image, target) in enumerate(zip(batch.image, batch.label.tolist(), strict=True)):
        maps, _ = loop(model, image, target, 0.1, 3)
        fits = [
            pair
            for pair in combinations(maps, 2)
            if torch.allclose(found[row], sum(maps[other] for other in pair), rtol=0, atol=1e-12)
        ]
        drawn.append(fits)
    assert all(len(fits) >= 1 for fits in drawn)
    same_image = batch.image[:1].expand(40, -1, -1, -1)
    towards_one = AdversarialIG(0.1, 3, classes=1)
    many = attribute(towards_one, model, same_image, batch.label[:1].expand(40))
    assert len((many * 1e9).round().flatten(1).unique(dim=0)) == 3
    again = attribute(towards_one, model, same_image, batch.label[:1].expand(40), seed=1)
    assert (many - again).abs().max() > 1e-6


def test_a_class_that_is_predicted_already_adds_nothing(batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 2)).double()
    predicted = model(batch.image).argmax(dim=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert attribute(AdversarialIG(), model, batch.image, 1 - predicted).abs().max() == 0
    assert attribute(AdversarialIG(), model, batch.image, predicted).flatten(1).abs().amax(dim=1).min() > 0


def test_no_gradient_gives_an_empty_map(model, batch):
    nn.init.zeros_(model.head[-1].weight)
    with pytest.warns(UserWarning, match="only zeros for 6 of 6 images"):
        found = attribute(AdversarialIG(steps=2), model, batch.image, batch.label)
    assert torch.equal(found, torch.zeros_like(batch.image))


def test_images_without_a_gradient_are_counted(batch):
    image = batch.image.clone()
    image[[1, 4]] *= 0.3
    message = "^Expected a gradient, but got only zeros for 2 of 6 images. Their maps are zero.$"
    with pytest.warns(UserWarning, match=message) as caught:
        found = attribute(AdversarialIG(steps=2, max_batch=4), threshold_network(), image, batch.label)
    assert len(caught) == 1
    assert found.flatten(1).any(dim=1).tolist() == [True, False, True, True, False, True]


def test_saturated_probabilities_are_counted(model, batch):
    certain = nn.Sequential(model, Times(1e6))
    target = model(batch.image).argmax(dim=1)
    with pytest.warns(UserWarning, match="only zeros for 6 of 6 images"):
        assert not attribute(AdversarialIG(steps=2), certain, batch.image, target).any()


def test_a_network_of_one_class_has_none_to_walk_to(batch):
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 1)).double()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = attribute(AdversarialIG(), model, batch.image, torch.zeros_like(batch.label))
    assert found.abs().max() == 0


def test_any_shape():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    image = torch.rand(2, 3, 5, 7).double()
    found = attribute(AdversarialIG(0.2, 3), model, image, torch.tensor([1, 3]))
    for row, target in enumerate((1, 3)):
        maps, _ = loop(model, image[row], target, 0.2, 3)
        torch.testing.assert_close(found[row], sum(maps.values()), rtol=0, atol=1e-12)


def test_an_empty_batch_gives_an_empty_map(model, batch):
    assert attribute(AdversarialIG(), model, batch.image[:0], batch.label[:0]).shape == (0, 2, 8, 8)


def test_every_field_matters(model, batch):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))

    def effect(method):
        sizes.clear()
        found = attribute(method, model, batch.image, batch.label)
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    assert_every_field_matters(
        AdversarialIG(steps=3, classes=2), {"eps": 0.2, "steps": 4, "classes": 3, "max_batch": 5}, effect
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 12.0}, r"Expected `eps` in \(0, 1\], but got 12\. Write 8/255 as 0\.0314"),
        ({"steps": 0}, "Expected `steps` of at least 1, but got 0"),
        ({"classes": 0}, "Expected `classes` of at least 1, but got 0"),
        ({"max_batch": 0}, "Expected `max_batch` of at least 1, but got 0"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        AdversarialIG(**options)
