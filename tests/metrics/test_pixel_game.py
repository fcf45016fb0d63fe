import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from torch import nn

from lit_xai.metrics.pixel_game import PixelGame, pixel_rank, removed
from tests.contracts import Untouched, assert_every_field_matters

MAPS = arrays(
    np.float64,
    st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    elements=st.sampled_from([-2.0, -1.0, -0.0, 0.0, 0.25, 3.0]),
)
EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
BOTH = pytest.mark.parametrize("insert", [True, False], ids=["insertion", "deletion"])


def places(values):
    order = sorted(range(values.size), key=lambda index: (-values.flat[index], index))
    return np.argsort(order).reshape(values.shape)


def random_images(*shape, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0), dtype=dtype)


def seen(network):
    """Record the images that a network is given, one tensor for each forward pass."""
    images = []
    network.register_forward_pre_hook(lambda module, inputs: images.append(inputs[0]))
    return images


def linear(channels, height, width):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3)).double().eval()


@EXAMPLES
@given(MAPS)
def test_a_map_is_ranked_from_the_largest_ties_by_lowest_index(maps):
    found = pixel_rank(torch.from_numpy(maps[:, 0]))
    assert found.dtype == torch.int32
    assert found.tolist() == [places(values).tolist() for values in maps[:, 0]]


@EXAMPLES
@given(MAPS)
def test_a_pixel_comes_with_its_first_channel(maps):
    found = pixel_rank(torch.from_numpy(maps))
    assert found.dtype == torch.int32
    assert found.tolist() == [np.min([places(v) for v in channels], axis=0).tolist() for channels in maps]


@EXAMPLES
@given(MAPS)
def test_one_channel_or_equal_ones_are_one_map(maps):
    single = torch.from_numpy(maps[:, :1])
    assert torch.equal(pixel_rank(single), pixel_rank(single[:, 0]))
    assert torch.equal(pixel_rank(single.expand(-1, 3, -1, -1)), pixel_rank(single[:, 0]))


@EXAMPLES
@given(MAPS)
def test_only_the_order_within_a_channel_counts(maps):
    values = torch.from_numpy(maps)
    scale = torch.tensor([1.0, 1e-6, 1e6]).view(3, 1, 1)[: maps.shape[1]]
    assert torch.equal(pixel_rank(scale * values - 1 / scale), pixel_rank(values))


def test_channels_ranked_by_hand():
    maps = torch.tensor([[[3.0, 2.0, 1.0, 0.0]], [[-1.0, -1.0, -2.0, 5.0]]])[None]
    assert pixel_rank(maps).tolist() == [[[0, 1, 2, 0]]]
    assert pixel_rank(maps.sum(dim=1)).tolist() == [[[1, 2, 3, 0]]]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("size", [(6, 6), (6, 9), (12, 7)])
def test_blur_is_a_truncated_gaussian_of_the_mirrored_image(size, dtype):
    image = random_images(2, 3, *size, dtype=dtype)
    found = removed(image, "blur")
    assert found.dtype == dtype
    expected = gaussian_filter(image.double().numpy(), 5.0, radius=5, mode="mirror", axes=(2, 3))
    assert np.abs(found.double().numpy() - expected).max() <= TOLERANCE[dtype]


def test_blur_does_not_darken_the_corners():
    white = torch.ones(1, 3, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(removed(white, "blur"), white, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_mean_is_that_of_each_channel_of_each_image(dtype):
    image = random_images(2, 3, 4, 5, dtype=dtype)
    expected = torch.empty_like(image)
    for row, sample in enumerate(image.double().numpy()):
        for channel, values in enumerate(sample):
            expected[row, channel] = values.sum() / 20
    torch.testing.assert_close(removed(image, "mean"), expected, rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_black_and_values_are_the_same_everywhere(dtype):
    image = random_images(2, 3, 4, 5, dtype=dtype)
    for substrate, color in {"black": [0, 0, 0], (0.5, 0.25, 1.0): [0.5, 0.25, 1.0]}.items():
        found = removed(image, substrate)
        assert found.dtype == dtype
        assert found.shape == image.shape
        assert all(found[:, channel].unique().tolist() == [value] for channel, value in enumerate(color))


def test_values_are_taken_in_the_precision_of_the_image():
    found = removed(random_images(1, 3, 2, 2), [0.485, 0.456, 0.406])
    assert found[0, :, 1, 1].tolist() == [0.485, 0.456, 0.406]


@pytest.mark.parametrize("size", [(5, 6), (6, 5), (1, 9)])
def test_refuses_to_blur_what_it_cannot_mirror(size):
    with pytest.raises(
        ValueError, match=rf"images of at least 6 x 6 pixels to blur, but got \({size[0]}, {size[1]}\)"
    ):
        removed(random_images(1, 1, *size), "blur")


@pytest.mark.parametrize("values", [[], [0.5, 0.5], [0.5] * 4])
def test_refuses_values_that_are_not_one_for_each_channel(values):
    with pytest.raises(
        ValueError, match=r"Expected `substrate` as black, blur, mean or 3 values, but got \["
    ):
        removed(random_images(1, 3, 2, 2), values)


@pytest.mark.parametrize(
    ("values", "insertion"),
    [
        (
            [[0, 4, 1, 3, 2]],
            [[0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 2, 0.5, 4, 0.5], [0.5, 2, 3, 4, 5], [1, 2, 3, 4, 5]],
        ),
        (
            [[0, 0, 0, 0, 0]],
            [[0.5, 0.5, 0.5, 0.5, 0.5], [1, 2, 0.5, 0.5, 0.5], [1, 2, 3, 4, 0.5], [1, 2, 3, 4, 5]],
        ),
        (
            [[5, 4, 3, 2, 1], [5, 3, 4, 1, 2]],
            [[0.5, 0.5, 0.5, 0.5, 0.5], [1, 2, 3, 0.5, 0.5], [1, 2, 3, 4, 5], [1, 2, 3, 4, 5]],
        ),
    ],
    ids=["map", "ties", "union"],
)
def test_the_images_in_play_by_hand(values, insertion):
    image, maps = torch.tensor([[[[1.0, 2, 3, 4, 5]]]]).double(), torch.tensor([values]).double()[:, :, None]
    maps = maps[:, 0] if len(values) == 1 else maps
    for insert in (True, False):
        network = linear(1, 1, 5)
        images = seen(network)
        PixelGame(2, [0.5], insert=insert).curve(network, image, maps, torch.tensor([0]))
        shown = torch.cat(images).view(4, 5)
        expected = torch.tensor(insertion).double()
        complement = torch.where(expected == 0.5, image.view(1, 5), 0.5)
        assert torch.equal(shown, expected if insert else complement)


@BOTH
def test_all_channels_of_a_pixel_are_switched(insert):
    network, image = linear(3, 2, 2), random_images(1, 3, 2, 2)
    images = seen(network)
    maps = torch.tensor([[[0.0, 0.0], [1.0, 0.0]]] + [[[0.0, 0.0], [0.0, 0.0]]] * 2)[None]
    PixelGame(1, insert=insert).curve(network, image, maps, torch.tensor([0]))
    # One channel puts the third pixel first, the others the first.
    visible = torch.tensor([[1, 0], [1, 0]]).bool()
    assert torch.equal(images[0][1], image[0] * (visible if insert else ~visible))


@BOTH
@pytest.mark.parametrize(
    ("max_batch", "sizes"), [(1, [1] * 20), (3, [3] * 6 + [2]), (5, [5] * 4), (20, [20]), (512, [20])]
)
def test_max_batch_bounds_the_forward_pass_and_nothing_else(insert, max_batch, sizes):
    network, image = linear(2, 3, 4), random_images(5, 2, 3, 4)
    maps, target = image.flip(0).sum(dim=1), torch.tensor([0, 1, 2, 0, 1])
    expected = PixelGame(insert=insert).curve(network, image, maps, target)
    images = seen(network)
    found = PixelGame(max_batch=max_batch, insert=insert).curve(network, image, maps, target)
    assert [len(part) for part in images] == sizes
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@BOTH
@pytest.mark.parametrize(
    ("step_size", "scores"), [(None, 4), (1, 13), (5, 4), (6, 3), (11, 3), (12, 2), (2**40, 2)]
)
def test_the_last_step_may_be_smaller_and_none_larger(insert, step_size, scores):
    network, image, target = linear(1, 3, 4), random_images(2, 1, 3, 4), torch.tensor([0, 1])
    game = PixelGame(step_size, insert=insert)
    curve = game.curve(network, image, image[:, 0], target)
    assert curve.shape == (2, scores)
    whole = network(image).softmax(dim=1)[[0, 1], target].detach()
    torch.testing.assert_close(curve[:, -1 if insert else 0], whole, rtol=0, atol=1e-12)
    assert (curve[:, 0] != curve[:, -1]).all()
    inner = curve[:, 1:-1].sum(dim=1) + (curve[:, 0] + curve[:, -1]) / 2
    area = game.area(network, image, image[:, 0], target)
    torch.testing.assert_close(area, inner / (scores - 1), rtol=0, atol=1e-12)


def test_areas_are_double_and_curves_as_the_network():
    network, image = linear(1, 3, 4).float(), random_images(2, 1, 3, 4, dtype=torch.float32)
    arguments = (network, image, image[:, 0], torch.tensor([0, 1]))
    assert PixelGame(insert=True).curve(*arguments).dtype == torch.float32
    assert PixelGame(insert=True).area(*arguments).dtype == torch.float64


@BOTH
def test_a_curve_has_no_graph(insert):
    network, image = linear(1, 3, 4), random_images(2, 1, 3, 4).requires_grad_()
    curve = PixelGame(insert=insert).curve(network, image, image, torch.tensor([0, 1]))
    assert not curve.requires_grad


@BOTH
def test_a_constant_prediction_has_its_own_area(insert):
    network, image = linear(1, 3, 4), random_images(2, 1, 3, 4)
    network[1].weight.data.zero_()
    expected = network[1].bias.softmax(dim=0)[[2, 0]].detach()
    for step_size in (1, 5, 12):
        area = PixelGame(step_size, insert=insert).area(network, image, image[:, 0], torch.tensor([2, 0]))
        torch.testing.assert_close(area, expected, rtol=0, atol=1e-12)


def test_every_rule_matters():
    image, target = random_images(3, 2, 3, 4), torch.tensor([0, 1, 2])

    def effect(game):
        network = linear(2, 3, 4)
        images = seen(network)
        curve = game.curve(network, image, image[:, 0], target)
        return torch.cat([curve.flatten(), torch.tensor([len(part) for part in images])])

    changes = {"step_size": 5, "substrate": "mean", "max_batch": 7, "insert": False}
    assert_every_field_matters(PixelGame(insert=True), changes, effect)


def test_the_default_is_a_row_of_pixels_on_black():
    assert PixelGame(insert=True) == PixelGame(None, "black", 512, insert=True)


@BOTH
@pytest.mark.parametrize("substrate", ["black", "blur", "mean", [0.2, 0.4]])
def test_the_network_and_the_inputs_are_left_as_they_were(model, batch, insert, substrate):
    game, maps = PixelGame(7, substrate, insert=insert), batch.image - 0.5
    with Untouched(model, batch.image, maps, batch.label):
        curve = game.curve(model, batch.image, maps, batch.label)
    assert not curve.requires_grad
    with torch.inference_mode():
        inside = game.curve(model, batch.image.clone(), maps.clone(), batch.label)
    assert torch.equal(inside, curve)


@BOTH
def test_a_frozen_weight_stays_frozen_and_dropout_is_off(insert):
    network, image = nn.Sequential(nn.Dropout(0.5), linear(2, 3, 4)), random_images(4, 2, 3, 4)
    target = torch.tensor([0, 1, 2, 0])
    expected = PixelGame(insert=insert).curve(network[1], image, image, target)
    network.train()
    network[1].eval()
    network[1][1].bias.requires_grad_(False)
    assert torch.equal(PixelGame(insert=insert).curve(network, image, image, target), expected)
    assert [module.training for module in network.modules()] == [True, True, False, False, False]
    assert [parameter.requires_grad for parameter in network.parameters()] == [True, False]


@BOTH
@pytest.mark.parametrize("substrate", ["black", "blur", "mean", [0.5, 0.5]])
def test_no_samples_have_no_curve(insert, substrate):
    image, target = torch.zeros(0, 2, 6, 8).double(), torch.zeros(0, dtype=torch.int64)
    for maps in (image, image[:, 0]):
        game = PixelGame(5, substrate, insert=insert)
        assert game.curve(linear(2, 6, 8), image, maps, target).shape == (0, 11)
        assert game.area(linear(2, 6, 8), image, maps, target).shape == (0,)


@pytest.mark.parametrize("name", ["step_size", "max_batch"])
@pytest.mark.parametrize("value", [0, -1])
def test_refuses_no_pixel_and_no_image(name, value):
    with pytest.raises(ValueError, match=rf"Expected `{name}` of at least 1, but got {value}\."):
        PixelGame(**{name: value}, insert=True)


@pytest.mark.parametrize("substrate", ["white", "Black", ""])
def test_refuses_an_unknown_substrate(substrate):
    with pytest.raises(
        ValueError,
        match=rf"`substrate` as black, blur, mean or a list of values in \[0, 1\], but got {substrate}\.",
    ):
        PixelGame(substrate=substrate, insert=True)


@pytest.mark.parametrize(
    "shape", [(2, 3, 2), (2, 1, 3, 2), (2, 2), (2, 1, 1, 2, 3), (1, 2, 3), (3, 1, 2, 3), (2, 2, 4)]
)
def test_refuses_maps_that_do_not_fit(shape):
    image, target = random_images(2, 1, 2, 3), torch.tensor([0, 0])
    expected = rf"\(N, H, W\) or \(N, C, H, W\) for images \(2, 1, 2, 3\), but got \({str(shape)[1:-1]}\)"
    with pytest.raises(ValueError, match=expected):
        PixelGame(insert=True).curve(linear(1, 2, 3), image, torch.zeros(shape), target)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("ndim", [3, 4])
def test_refuses_maps_that_cannot_be_ranked(value, ndim):
    image, target = random_images(3, 2, 2, 3), torch.tensor([0, 0, 0])
    maps = torch.zeros(3, 2, 2, 3)
    maps[1, 0, 1, 2] = value
    with pytest.raises(ValueError, match=r"finite maps, but got NaN or infinity for sample 1 of the batch"):
        PixelGame(insert=True).curve(linear(2, 2, 3), image, maps if ndim == 4 else maps[:, 0], target)


@pytest.mark.parametrize("values", [[0.5, 1.1], [-0.1], [float("nan")], []])
def test_refuses_values_that_are_no_pixels(values):
    with pytest.raises(ValueError, match=r"a list of values in \[0, 1\], but got \("):
        PixelGame(substrate=values, insert=True)


def test_is_a_value_whatever_kind_of_list_the_substrate_is():
    assert hash(PixelGame(substrate=[0.5], insert=True)) == hash(PixelGame(substrate=(0.5,), insert=True))


def test_refuses_probabilities_that_are_not_finite():
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 2)).double()
    image = torch.full((2, 1, 2, 2), 0.5, dtype=torch.float64)
    image[1] = float("nan")
    with pytest.raises(ValueError, match=r"finite probabilities, but got NaN or infinity for sample 1 of"):
        PixelGame(insert=True).curve(network, image, torch.zeros(2, 2, 2), torch.tensor([0, 1]))


def test_refuses_classes_that_do_not_fit():
    image = torch.zeros(2, 1, 2, 2)
    with pytest.raises(ValueError, match=r"Expected 2 classes in `target`, but got shape \(1,\)\."):
        PixelGame(insert=True).curve(nn.Flatten(), image, image[:, 0], torch.tensor([0]))
