import inspect
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter
from torch import nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.insertion_deletion import (
    Deletion,
    Insertion,
    deletion,
    deletion_curve,
    insertion,
    insertion_curve,
)
from tests.conftest import tiny_batch, tiny_network
from tests.contracts import assert_metric_contract

EXAMPLES = settings(deadline=None, max_examples=50, derandomize=True)
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}
BOTH = pytest.mark.parametrize("insert", [True, False], ids=["insertion", "deletion"])
CURVES = {True: insertion_curve, False: deletion_curve}
AREAS = {True: insertion, False: deletion}
METRICS = {True: Insertion, False: Deletion}
SUBSTRATES = ["black", "mean", "blur", [0.5, 0.25]]
REDUCTIONS = {
    "abs_sum": lambda values: np.abs(values).sum(axis=0),
    "sum_abs": lambda values: np.abs(values.sum(axis=0)),
    "sum": lambda values: values.sum(axis=0),
    "union": lambda values: values,
}


def order(values):
    return sorted(range(values.size), key=lambda index: (-values.flat[index], index))


def absent(image, substrate):
    values = image.double().numpy()
    if substrate == "blur":
        filled = [gaussian_filter(channel, 5.0, radius=5, mode="mirror") for channel in values]
    elif substrate == "mean":
        filled = [np.full(channel.shape, channel.mean()) for channel in values]
    else:
        colors = [0.0] * len(values) if substrate == "black" else substrate
        filled = [np.full(channel.shape, color) for channel, color in zip(values, colors, strict=True)]
    return torch.from_numpy(np.stack(filled)).to(image)


def frames(first, last, values, step):
    """Turn one image (C, H, W) into another, pixel by pixel in the order of a map (H, W)."""
    current, shown = first.clone(), [first]
    for count, index in enumerate(order(values), start=1):
        row, column = divmod(index, values.shape[1])
        current[:, row, column] = last[:, row, column]
        if count % step == 0 or count == values.size:
            shown.append(current.clone())
    return shown


def union_frames(first, last, values, step):
    """Turn one image into another; at each step every channel of a map (C, H, W) names its next pixels."""
    height, width = values.shape[1:]
    orders = [order(channel) for channel in values]
    current, shown = first.clone(), [first]
    for i in range(math.ceil(height * width / step)):
        for index in set().union(*(own[i * step : (i + 1) * step] for own in orders)):
            current[:, index // width, index % width] = last[:, index // width, index % width]
        shown.append(current.clone())
    return shown


def loop(model, image, values, target, insert, step=None, substrate="black"):
    """Play the game for one image and return the curve; values are a map (H, W) or (C, H, W)."""
    hidden = absent(image, substrate)
    first, last = (hidden, image) if insert else (image, hidden)
    play = frames if values.ndim == 2 else union_frames
    with torch.no_grad():
        shown = play(first, last, values, step or values.shape[-1])
        return [model(frame[None]).softmax(dim=1)[0, target].item() for frame in shown]


def trapezoid(curve):
    return (sum(curve) - curve[0] / 2 - curve[-1] / 2) / (len(curve) - 1)


def linear(channels, height, width, dtype=torch.float64):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3)).to(dtype).eval()


def random_images(*shape, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


@st.composite
def games(draw):
    """Maps (N, C, H, W) with or without ties, for images of one channel or three, and a step."""
    shape = tuple(draw(st.integers(1, most)) for most in (3, 3, 4, 5))
    elements = draw(
        st.sampled_from(
            [st.just(0.0), st.sampled_from([-1.0, -0.0, 0.0, 2.0]), st.floats(-1, 1, allow_subnormal=False)]
        )
    )
    values = draw(arrays(np.float64, shape, elements=elements))
    step = draw(st.none() | st.integers(1, shape[2] * shape[3] + 2))
    return values, draw(st.sampled_from([1, 3])), step, draw(st.sampled_from(list(TOLERANCE)))


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


def expected_curves(model, result, insert, step=None, substrate="black", reduce="abs_sum", target=None):
    maps = [REDUCTIONS[reduce](values) for values in result.attribution_adv.numpy()]
    target = (result.target if target is None else target).tolist()
    return [
        loop(model, image, values, label, insert, step, substrate)
        for image, values, label in zip(result.image_adv, maps, target, strict=True)
    ]


@BOTH
@pytest.mark.parametrize("union", [False, True], ids=["map", "union"])
@EXAMPLES
@given(games())
def test_equals_the_loop(insert, union, game):
    values, channels, step, dtype = game
    network = linear(channels, *values.shape[2:], dtype)
    image = random_images(len(values), channels, *values.shape[2:], dtype=dtype)
    maps = values if union else values[:, 0]
    target = [2, 0, 1][: len(values)]
    arguments = (network, image, torch.from_numpy(maps), torch.tensor(target))
    curves = [loop(network, *one, insert, step) for one in zip(image, maps, target, strict=True)]
    found = CURVES[insert](*arguments, step_size=step)
    assert found.dtype == dtype
    assert np.abs(found.numpy() - curves).max() <= TOLERANCE[dtype]
    areas = AREAS[insert](*arguments, step_size=step)
    assert areas.tolist() == pytest.approx([*map(trapezoid, curves)], rel=0, abs=TOLERANCE[dtype])


@BOTH
@pytest.mark.parametrize("substrate", SUBSTRATES, ids=str)
@pytest.mark.parametrize("reduce", ["sum", "union"])
def test_equals_the_loop_on_every_substrate(model, result, insert, substrate, reduce):
    maps = np.stack([REDUCTIONS[reduce](values) for values in result.attribution_adv.numpy()])
    arguments = (model, result.image_adv, torch.from_numpy(maps), result.target)
    expected = np.array(expected_curves(model, result, insert, 7, substrate, reduce))
    assert expected.shape == (6, 11)
    found = CURVES[insert](*arguments, step_size=7, substrate=substrate)
    assert np.abs(found.numpy() - expected).max() <= 1e-12
    areas = AREAS[insert](*arguments, step_size=7, substrate=substrate)
    assert areas.tolist() == pytest.approx([*map(trapezoid, expected)], rel=0, abs=1e-12)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("insert", "substrate"), [(True, "blur"), (False, [0.5, 0.4375, 0.375])], ids=["insertion", "deletion"]
)
def test_rise_inserts_on_the_blurred_image_and_deletes_to_the_mean_colour(insert, substrate, dtype):
    network, batch = tiny_network(channels=3).to(dtype), tiny_batch(channels=3)
    image = batch.image.to(dtype)
    maps = image.prod(dim=1).flip(0)
    expected = [
        loop(network, one, values, label, insert, 8, substrate)
        for one, values, label in zip(image, maps.numpy(), batch.label.tolist(), strict=True)
    ]
    found = AREAS[insert](network, image, maps, batch.label, substrate=substrate)
    assert found.tolist() == pytest.approx([*map(trapezoid, expected)], rel=0, abs=TOLERANCE[dtype])


@BOTH
@pytest.mark.parametrize("substrate", SUBSTRATES, ids=str)
@pytest.mark.parametrize("step_size", [None, 7, 64])
def test_a_curve_leads_from_the_substrate_to_the_image_or_back(model, result, insert, substrate, step_size):
    image, maps, target = result.image_adv, result.attribution_adv, result.target
    hidden = torch.stack([absent(one, substrate) for one in image])
    ends = [model(end).softmax(dim=1)[range(6), target].detach() for end in (hidden, image)]
    for values in (maps, maps[:, 0]):
        found = CURVES[insert](model, image, values, target, step_size=step_size, substrate=substrate)
        expected = torch.stack(ends if insert else ends[::-1], dim=1)
        torch.testing.assert_close(found[:, [0, -1]], expected, rtol=0, atol=1e-12)


@EXAMPLES
@given(st.permutations(range(12)), st.sampled_from([1, 2, 3, 4, 6, 12]), st.booleans())
def test_inserting_the_best_first_is_deleting_the_worst_first_backwards(values, step, one_channel):
    network, image, target = linear(3, 3, 4), random_images(1, 3, 3, 4), torch.tensor([1])
    maps = torch.tensor(values, dtype=torch.float64).view(1, 3, 4)
    maps = maps[:, None] if one_channel else maps
    first = insertion_curve(network, image, maps, target, step_size=step, substrate="mean")
    second = deletion_curve(network, image, -maps, target, step_size=step, substrate="mean")
    assert torch.equal(first, second.flip(1))


@BOTH
@EXAMPLES
@given(games())
def test_equal_channels_are_one_map(insert, game):
    values, channels, step, _ = game
    network, maps = linear(channels, *values.shape[2:]), torch.from_numpy(values[:, :1])
    image, target = random_images(len(values), channels, *values.shape[2:]), torch.zeros(len(values)).long()
    found = CURVES[insert](network, image, maps.expand(-1, 3, -1, -1), target, step_size=step)
    assert torch.equal(found, CURVES[insert](network, image, maps[:, 0], target, step_size=step))


@BOTH
@pytest.mark.parametrize("substrate", SUBSTRATES, ids=str)
@pytest.mark.parametrize("max_batch", [1, 5, 512])
def test_one_image_alone_has_the_curve_it_has_among_others(model, result, insert, substrate, max_batch):
    arguments = (result.image_adv, result.attribution_adv, result.target)
    options = {"step_size": 9, "substrate": substrate, "max_batch": max_batch}
    together = CURVES[insert](model, *arguments, **options)
    for row in range(6):
        alone = CURVES[insert](model, *(tensor[[row]] for tensor in arguments), **options)
        torch.testing.assert_close(alone, together[[row]], rtol=0, atol=1e-12)


def test_hand_computed_on_two_pixels():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    network[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    image, target = torch.tensor([[[[1.0], [0.5]]]]), torch.tensor([0])
    on, off = 1 / (1 + math.exp(-1)), 0.5
    first, last = torch.tensor([[[2.0], [1.0]]]), torch.tensor([[[1.0], [2.0]]])
    either = torch.stack([first, last], dim=1)
    for maps, appearing, vanishing in [
        (first, [off, on, on], [on, off, off]),
        (last, [off, off, on], [on, on, off]),
        (either, [off, on, on], [on, off, off]),
    ]:
        for insert, curve in {True: appearing, False: vanishing}.items():
            assert CURVES[insert](network, image, maps, target)[0].tolist() == pytest.approx(curve, abs=1e-6)
            area = (curve[0] + 2 * curve[1] + curve[2]) / 4
            assert AREAS[insert](network, image, maps, target).item() == pytest.approx(area, abs=1e-6)
            ends = (curve[0] + curve[2]) / 2
            alone = AREAS[insert](network, image, maps, target, step_size=2)
            assert alone.item() == pytest.approx(ends, abs=1e-6)


@BOTH
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"step_size": 1},
        {"step_size": 7},
        {"step_size": 64},
        {"substrate": "blur"},
        {"substrate": "mean"},
        {"substrate": [0.5, 0.25]},
        {"reduce": "sum"},
        {"reduce": "sum_abs"},
        {"reduce": "union"},
        {"reduce": "union", "step_size": 7, "substrate": "blur"},
        {"target": "label"},
    ],
    ids=str,
)
def test_metric_plays_on_the_attacked_image_with_the_attacked_map(model, result, insert, options):
    reference = dict(options)
    step, watched = reference.pop("step_size", None), reference.pop("target", "prediction")
    target = {"prediction": result.target, "label": result.label}[watched]
    curves = expected_curves(model.eval(), result, insert, step, target=target, **reference)
    metric = METRICS[insert](**options)
    scores = assert_metric_contract(metric, model, result)
    assert scores.tolist() == pytest.approx([*map(trapezoid, curves)], rel=0, abs=1e-12)
    found = metric.curve(model, result)
    assert np.abs(found.numpy() - curves).max() <= 1e-12
    area = (found.sum(dim=1) - found[:, 0] / 2 - found[:, -1] / 2) / (found.shape[1] - 1)
    torch.testing.assert_close(scores, area, rtol=0, atol=1e-12)
    if options:
        assert (scores != METRICS[insert]().scores(model, result, None)).any()


@BOTH
def test_every_option_has_been_tried(insert):
    options = {*inspect.signature(METRICS[insert].__init__).parameters} - {"self"}
    assert options == {"step_size", "substrate", "reduce", "target", "max_batch"}


@BOTH
def test_only_the_attacked_image_and_its_map_are_read(model, result, insert):
    metric = METRICS[insert]()
    scores = metric.scores(model, result, None)
    unread = replace(result, image=result.image.flip(0), attribution=-result.attribution.flip(0))
    assert torch.equal(metric.scores(model, unread, None), scores)
    for name, value in {"image_adv": result.image, "attribution_adv": result.attribution}.items():
        assert (metric.scores(model, replace(result, **{name: value}), None) != scores).all()


@BOTH
@pytest.mark.parametrize("reduce", ["abs_sum", "union"])
def test_maps_of_one_channel_rank_pixels(model, result, insert, reduce):
    single = replace(result, attribution_adv=result.attribution_adv[:, :1].abs())
    expected = AREAS[insert](model, result.image_adv, single.attribution_adv[:, 0], result.target)
    assert torch.equal(METRICS[insert](reduce=reduce).scores(model, single, None), expected)


@BOTH
@pytest.mark.parametrize("max_batch", [1, 5, 53, 54, 512])
def test_max_batch_limits_the_forward_pass_and_changes_no_score(model, result, insert, max_batch):
    sizes = []
    hook = model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    found = METRICS[insert](max_batch=max_batch).scores(model, result, None)
    hook.remove()
    assert max(sizes) == min(max_batch, 54)
    assert sum(sizes) == 6 * 9
    torch.testing.assert_close(found, METRICS[insert]().scores(model, result, None), rtol=0, atol=1e-12)
    arguments = (model, result.image_adv, result.attribution_adv.abs().sum(dim=1), result.target)
    torch.testing.assert_close(found, AREAS[insert](*arguments, max_batch=max_batch), rtol=0, atol=1e-12)


@BOTH
@pytest.mark.parametrize("function", [CURVES, AREAS], ids=["curve", "area"])
def test_functions_pass_their_options_on(model, result, insert, function):
    sizes = []
    model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    arguments = (model, result.image_adv, result.attribution_adv, result.target)
    function[insert](*arguments, step_size=32, max_batch=4)
    assert sizes == [4, 4, 4, 4, 2]
    before = function[insert](*arguments)
    for options in ({"step_size": 7}, {"substrate": "mean"}):
        after = function[insert](*arguments, **options)
        assert after.shape != before.shape or (after != before).any()


@BOTH
def test_the_network_is_evaluated_without_dropout_and_left_as_it_was(result, insert):
    network = nn.Sequential(nn.Dropout(0.5), linear(2, 8, 8)).train()
    metric = METRICS[insert]()
    expected = metric.scores(network[1], result, None)
    network[1].eval()
    assert torch.equal(metric.scores(network, result, None), expected)
    assert (network.training, network[0].training, network[1].training) == (True, True, False)
    assert all(parameter.requires_grad for parameter in network.parameters())
    with torch.inference_mode():
        assert torch.equal(metric.scores(network, result, None), expected)


@BOTH
@pytest.mark.parametrize(("step_size", "scores"), [(None, 9), (7, 11), (99, 2)])
def test_no_samples_give_no_scores(model, insert, step_size, scores):
    image, target = torch.zeros(0, 2, 8, 8, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    for maps in (image, image[:, 0]):
        assert CURVES[insert](model, image, maps, target, step_size=step_size).shape == (0, scores)
        assert AREAS[insert](model, image, maps, target, step_size=step_size).shape == (0,)


@BOTH
@pytest.mark.parametrize("function", [CURVES, AREAS], ids=["curve", "area"])
def test_functions_refuse_what_does_not_fit(insert, function):
    network, image, maps = linear(1, 2, 3), torch.zeros(1, 1, 2, 3).double(), torch.zeros(1, 2, 3).double()
    target = torch.tensor([0])
    with pytest.raises(ValueError, match=r"for images \(1, 1, 2, 3\), but got \(1, 3, 2\)"):
        function[insert](network, image, maps.view(1, 3, 2), target)
    with pytest.raises(ValueError, match=r"NaN or infinity for sample 0 of the batch"):
        function[insert](network, image, maps + math.nan, target)
    with pytest.raises(ValueError, match=r"Expected `step_size` of at least 1, but got 0\."):
        function[insert](network, image, maps, target, step_size=0)
    with pytest.raises(ValueError, match=r"Expected `max_batch` of at least 1, but got -1\."):
        function[insert](network, image, maps, target, max_batch=-1)
    with pytest.raises(ValueError, match=r"mean or a list of values in \[0, 1\], but got grey\."):
        function[insert](network, image, maps, target, substrate="grey")
    with pytest.raises(ValueError, match=r"mean or 1 values, but got \(0.5, 0.5\)\."):
        function[insert](network, image, maps, target, substrate=[0.5, 0.5])
    with pytest.raises(ValueError, match=r"at least 6 x 6 pixels to blur, but got \(2, 3\)"):
        function[insert](network, image, maps, target, substrate="blur")


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0}, r"Expected `step_size` of at least 1, but got 0\."),
        ({"max_batch": 0}, r"Expected `max_batch` of at least 1, but got 0\."),
        (
            {"substrate": "white"},
            r"`substrate` as black, blur, mean or a list of values in \[0, 1\], but got white\.",
        ),
        ({"reduce": "max"}, r"Expected `reduce` as abs_sum or sum_abs or sum or union, but got max\."),
        ({"target": "truth"}, r"Expected `target` as prediction or label, but got truth\."),
    ],
    ids=str,
)
def test_metrics_refuse_an_option_out_of_range(insert, options, message):
    with pytest.raises(ValueError, match=message):
        METRICS[insert](**options)


@BOTH
@pytest.mark.parametrize("reduce", ["abs_sum", "union"])
def test_metrics_name_the_sample_whose_map_is_not_finite(model, result, insert, reduce):
    maps = result.attribution_adv.clone()
    maps[4, 1, 0, 0] = math.inf
    broken = replace(result, attribution_adv=maps)
    with pytest.raises(ValueError, match=rf"infinity for sample {result.sample_id[4]}\."):
        METRICS[insert](reduce=reduce).update(model, broken, None)
    with pytest.raises(ValueError, match=r"infinity for sample 4 of the batch\."):
        METRICS[insert](reduce=reduce).scores(model, broken, None)


def test_directions():
    assert Insertion.higher_is_better is True
    assert Deletion.higher_is_better is False
