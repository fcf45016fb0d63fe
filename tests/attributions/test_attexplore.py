import pytest
import scipy.fft
import scipy.stats
import torch
from torch import nn
from torch.nn import functional

from lit_xai.attributions.attexplore import AttEXplore
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.attributions.exploring import attribute, count_images, pooling_network, wide_batch
from tests.contracts import assert_attribution_contract, assert_every_field_matters

SMALL = AttEXplore(steps=3, samples=3)
PLAIN = {"samples": 1, "sigma": 0.0, "rho": 0.0, "diversity_probability": 0.0, "kernel_size": 1}


def resized(method, image, draw, back):
    """The resizing of the released code for one image, each side by its own length."""
    if draw.child("applied").uniform(torch.zeros(1).double()) >= method.diversity_probability:
        return image
    share, top, left = (
        draw.child(name).uniform(torch.zeros(1).double()).item() for name in ("side", "top", "left")
    )
    other = [int(method.diversity_scale * size) for size in image.shape[2:]]
    smallest = [min(pair) for pair in zip(other, image.shape[2:], strict=True)]
    canvas = [max(pair) for pair in zip(other, image.shape[2:], strict=True)]
    height, width = (low + int(share * (high - low)) for low, high in zip(smallest, canvas, strict=True))
    above, before = int(top * (canvas[0] - height)), int(left * (canvas[1] - width))
    small = functional.interpolate(image, (height, width), mode="bilinear", align_corners=False)
    padding = (before, canvas[1] - width - before, above, canvas[0] - height - above)
    padded = functional.pad(small, padding)
    if back:
        padded = functional.interpolate(padded, image.shape[2:], mode="bilinear", align_corners=False)
    return padded


def loss_of(method, logits, label):
    values = logits
    if method.objective != "logit":
        values = torch.softmax(values, dim=1)
    if method.objective == "double_softmax":
        values = torch.softmax(values, dim=1)
    return functional.cross_entropy(values, label)


def reference(method, model, batch, back=False):
    """AttEXplore as the paper's code does it, one image and one sample at a time."""
    maps = []
    size, reach = method.kernel_size, method.kernel_reach
    line = torch.from_numpy(scipy.stats.norm.pdf(torch.linspace(-reach, reach, size, dtype=torch.float64)))
    kernel = (line[:, None] * line / line.sum() ** 2)[None, None].repeat(2, 1, 1, 1)
    way = -1 if method.direction == "descend" else 1
    for row in range(len(batch.image)):
        image, label = batch.image[[row]], batch.label[[row]]
        noise = Noise(0, batch.sample_id[[row]])
        point, momentum, attribution = image, torch.zeros_like(image), torch.zeros_like(image)
        for step in range(method.steps):
            total = torch.zeros_like(image)
            for sample in range(method.samples):
                draw = noise.child(step).child(sample)
                noisy = point + method.sigma * draw.child("pixels").normal(image)
                spectrum = scipy.fft.dctn(noisy.numpy(), type=2, axes=(2, 3), norm=None)
                mask = draw.child("spectrum").uniform(image, 1 - method.rho, 1 + method.rho)
                changed = scipy.fft.idctn(spectrum * mask.numpy(), type=2, axes=(2, 3), norm=None)
                leaf = torch.from_numpy(changed).requires_grad_()
                logits = model(resized(method, leaf, draw.child("resizing"), back))
                total += torch.autograd.grad(loss_of(method, logits, label), leaf)[0]
            mean = functional.conv2d(total / method.samples, kernel, padding=size // 2, groups=2)
            momentum = method.momentum * momentum + mean / mean.abs().mean()
            follows = momentum
            if method.gradient == "point":
                leaf = point.clone().requires_grad_()
                follows = torch.autograd.grad(loss_of(method, model(leaf), label), leaf)[0]
            change = (point + way * method.eps / method.steps * momentum.sign() - image).clamp(
                -method.eps, method.eps
            )
            moved = (image + change).clamp(0, 1)
            attribution += way * (moved - point) * follows
            point = moved
        maps.append(attribution)
    return torch.cat(maps)


def assert_equal(found, expected):
    error = (found - expected).abs().max() / expected.abs().max()
    assert error < 1e-9, error


def test_contract(model, batch):
    assert_attribution_contract(AttEXplore(steps=2, samples=2, max_batch=4), model, batch)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"direction": "ascend", "objective": "probability"},
        {"gradient": "point", "objective": "logit"},
        {"momentum": 0.4, "kernel_size": 1, "rho": 0.9},
        {"kernel_size": 5, "kernel_reach": 1.5, "sigma": 0.2, "eps": 16 / 255},
        {"diversity_scale": 0.7, "diversity_probability": 0.9},
        {"diversity_scale": 1.6, "diversity_probability": 1.0, "samples": 2},
    ],
)
def test_equals_a_loop_over_images_and_samples(options):
    model, batch = pooling_network(2), wide_batch(3)
    method = AttEXplore(**({"steps": 3, "samples": 3} | options))
    assert_equal(attribute(method, model, batch), reference(method, model, batch))


def test_equals_the_loop_where_padded_images_are_resized_back(model, batch):
    larger = AttEXplore(steps=2, samples=3, diversity_scale=1.5, resize_back="always")
    assert_equal(
        attribute(larger, pooling_network(2), batch), reference(larger, pooling_network(2), batch, back=True)
    )
    assert_equal(attribute(larger, model, batch), reference(larger, model, batch, back=True))


def test_a_network_of_fixed_size_sees_its_size(model, batch):
    shapes = set()
    model.features[4].register_forward_hook(lambda _, inputs, output: shapes.add(tuple(output.shape[2:])))
    always = attribute(
        AttEXplore(steps=2, samples=2, diversity_scale=1.5, resize_back="always"), model, batch
    )
    assert shapes == {(4, 4)}
    automatic = attribute(AttEXplore(steps=2, samples=2, diversity_scale=1.5), model, batch)
    assert torch.equal(automatic, always)
    assert shapes == {(4, 4), (6, 6)}
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        attribute(AttEXplore(steps=2, samples=2, diversity_scale=1.5, resize_back="never"), model, batch)


def test_a_network_of_any_size_sees_padded_images():
    model, batch, shapes = pooling_network(2), wide_batch(4), set()
    model.register_forward_pre_hook(lambda _, arguments: shapes.add(tuple(arguments[0].shape[2:])))
    automatic = attribute(SMALL, model, batch)
    assert shapes == {(17, 24), (19, 27)}
    never = AttEXplore(steps=3, samples=3, resize_back="never")
    assert torch.equal(attribute(never, model, batch), automatic)


@pytest.mark.parametrize(
    "error", [RuntimeError, ValueError, AssertionError, KeyError, torch.OutOfMemoryError]
)
def test_a_network_that_fails_for_another_reason_says_so(batch, error):
    calls = []

    def fail(image):
        calls.append(tuple(image.shape[2:]))
        raise error("broken")

    with pytest.raises(error, match="broken"):
        attribute(SMALL, fail, batch)
    again = error in (RuntimeError, ValueError, AssertionError)
    assert calls == ([(9, 9), (8, 8)] if again else [(9, 9)])


@pytest.mark.parametrize("max_batch", [1, 2, 3, 5, 7, 512])
def test_no_image_is_passed_twice_and_few_at_once(max_batch):
    model, batch = pooling_network(2), wide_batch(5)
    expected = attribute(SMALL, model, batch)
    sizes = count_images(model)
    found = attribute(AttEXplore(steps=3, samples=3, max_batch=max_batch), model, batch)
    assert sum(sizes) == 3 * 3 * 5
    assert max(sizes) <= max_batch
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-10)
    if max_batch == 512:
        assert len(sizes) == 2 * 3


def test_a_network_of_fixed_size_is_asked_once(model, batch):
    sizes = count_images(model)
    attribute(AttEXplore(steps=3, samples=3, diversity_scale=1.5), model, batch)
    assert sum(sizes[1:]) == 3 * 3 * 6
    assert sizes[0] < 3 * 6


def test_the_point_option_takes_one_more_image_a_step():
    model, batch = pooling_network(2), wide_batch(5)
    sizes = count_images(model)
    attribute(AttEXplore(steps=3, samples=2, gradient="point"), model, batch)
    assert sum(sizes) == 3 * (2 + 1) * 5


def test_a_linear_network_has_a_map_by_hand():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(2 * 5 * 7, 2)).double()
    image = torch.full((2, 2, 5, 7), 0.5, dtype=torch.float64)
    slope = (model[1].weight[0] - model[1].weight[1]).detach().view(2, 5, 7)
    image[1, 0], image[1, 1] = 1.0, 0.0
    batch = Batch(image, torch.tensor([0, 0]), torch.tensor([4, 2]))
    found = attribute(AttEXplore(eps=0.2, steps=4, **PLAIN), model, batch)
    expected = 0.2 * (4 + 1) / 2 * slope.abs() / slope.abs().mean()
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-12)
    # The walk climbs the class: white pixels that should be lighter and black ones to be darker stay.
    stuck = torch.stack([slope[0] > 0, slope[1] < 0])
    assert 0 < stuck.sum() < stuck.numel()
    torch.testing.assert_close(found[1], expected * ~stuck, rtol=0, atol=1e-12)


def test_the_default_map_is_not_negative_and_bounded():
    model, batch = pooling_network(2), wide_batch(4)
    batch.image[:, :, ::3] = batch.image[:, :, ::3].round()
    found = attribute(AttEXplore(steps=5, samples=2), model, batch)
    mean = found.mean(dim=(1, 2, 3))
    assert found.min() == 0
    assert (found[:, :, ::3] == 0).double().mean() > 0.2
    assert ((mean > 0.5 * 48 / 255 * 3) & (mean <= 48 / 255 * 3)).all()
    assert attribute(AttEXplore(steps=5, samples=2, gradient="point"), model, batch).min() < -1e-6


def test_the_walk_raises_or_lowers_the_class():
    model, batch = pooling_network(2), wide_batch(4)
    change = {}
    for direction in ("descend", "ascend"):
        seen = []
        hook = model.register_forward_pre_hook(
            lambda _, arguments, seen=seen: seen.append(arguments[0].detach())
        )
        attribute(AttEXplore(0.4, 6, direction, **PLAIN), model, batch)
        hook.remove()
        start, end = (functional.cross_entropy(model(image), batch.label) for image in (seen[0], seen[-1]))
        torch.testing.assert_close(seen[0], batch.image, rtol=0, atol=1e-12)
        change[direction] = (end - start).item()
    assert change["descend"] < -0.1
    assert change["ascend"] > 0.1


def test_zero_gradients_give_zero_maps_and_one_warning(batch):
    constant = pooling_network(2)
    nn.init.zeros_(constant[-1].weight)
    with pytest.warns(UserWarning, match="for 6 of 6 images") as caught:
        assert not attribute(AttEXplore(steps=4, samples=2, max_batch=4), constant, batch).any()
    assert len(caught) == 1


def test_a_certain_network_gives_numbers(batch):
    def certain(image):
        return 1e5 * (image.mean(dim=(1, 2, 3), keepdim=True) - 0.5).flatten(1) * torch.arange(4)

    with pytest.warns(UserWarning, match=r"for \d of 6 images") as caught:
        found = attribute(AttEXplore(steps=4, samples=2), certain, batch)
    assert len(caught) == 1
    assert found.isfinite().all()


def test_every_field_matters():
    model, batch = pooling_network(2), wide_batch(2)
    sizes = count_images(model)

    def effect(method):
        sizes.clear()
        found = attribute(method, model, batch)
        return torch.cat([found.flatten(), torch.tensor([max(sizes)])])

    changes = {
        "eps": 16 / 255,
        "steps": 2,
        "direction": "ascend",
        "objective": "logit",
        "max_batch": 1,
        "samples": 2,
        "sigma": 0.1,
        "rho": 0.3,
        "momentum": 0.5,
        "diversity_probability": 0.9,
        "diversity_scale": 1.3,
        "resize_back": "always",
        "kernel_size": 5,
        "kernel_reach": 2.0,
        "gradient": "point",
    }
    assert_every_field_matters(SMALL, changes, effect)


def test_the_defaults_are_the_papers():
    method = AttEXplore()
    assert (method.eps, method.steps, method.samples, method.sigma) == (48 / 255, 10, 20, 16 / 255)
    assert (method.rho, method.momentum, method.direction) == (0.5, 1.0, "descend")
    assert (method.diversity_probability, method.diversity_scale) == (0.5, 1.15)
    assert (method.kernel_size, method.kernel_reach, method.objective) == (7, 3.0, "double_softmax")


@pytest.mark.parametrize("shape", [(3, 2, 1, 1), (3, 2, 3, 11), (0, 2, 8, 8)])
def test_odd_shapes(shape):
    image = torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = Batch(image, torch.zeros(shape[0], dtype=torch.int64), torch.arange(shape[0]))
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.Tanh(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    found = attribute(SMALL, model, batch)
    assert found.shape == shape
    assert (found.flatten(1).amax(dim=1) > 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"eps": 48}, r"Expected `eps` in \(0, 1\], but got 48. Write 8/255 as 0.0314"),
        ({"samples": 0}, "Expected `samples` of at least 1, but got 0"),
        ({"sigma": -0.1}, "Expected `sigma` of at least 0, but got -0.1"),
        ({"rho": -0.5}, "Expected `rho` of at least 0, but got -0.5"),
        ({"momentum": float("nan")}, "Expected `momentum` of at least 0, but got nan"),
        ({"kernel_size": 6}, "Expected `kernel_size` as an odd number above 0, but got 6"),
        ({"kernel_reach": 0.0}, "Expected `kernel_reach` above 0, but got 0"),
        ({"resize_back": "yes"}, "Expected `resize_back` as auto, always or never, but got yes"),
        ({"gradient": "new"}, "Expected `gradient` as update or point, but got new"),
        ({"diversity_scale": 1.0}, "Expected `diversity_scale` above 0 and other than 1, but got 1"),
        ({"diversity_probability": 2.0}, r"Expected `diversity_probability` in \[0, 1\], but got 2"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        AttEXplore(**options)
