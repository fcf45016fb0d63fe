import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import nn

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.metrics.insertion_deletion import Deletion, Insertion, deletion, insertion
from tests.contracts import assert_metric_contract

BOTH = pytest.mark.parametrize(
    ("function", "metric", "insert"),
    [(insertion, Insertion, True), (deletion, Deletion, False)],
    ids=["insertion", "deletion"],
)


def area(model, image, values, target, steps, insert):
    """Play the game for one image (C, H, W), pixel by pixel."""
    order = sorted(range(values.size), key=lambda index: (-values.flat[index], index))
    heights = []
    for step in range(steps + 1):
        chosen = order[: step * values.size // steps]
        current = torch.zeros_like(image) if insert else image.clone()
        for index in chosen:
            row, column = divmod(index, values.shape[1])
            current[:, row, column] = image[:, row, column] if insert else 0
        with torch.no_grad():
            heights.append(model(current[None]).softmax(dim=1)[0, target].item())
    return sum((left + right) / 2 for left, right in itertools.pairwise(heights)) / steps


def linear(channels, height, width):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(channels * height * width, 3)).double().eval()


@pytest.fixture
def result(model, batch):
    return run_attack(model, InputXGradient(), RandomSign(eps=0.3), batch, seed=0)


@BOTH
@pytest.mark.parametrize("steps", [None, 1, 7, 64])
def test_metric_plays_on_the_attacked_image_with_the_attacked_map(
    model, result, function, metric, insert, steps
):
    maps = result.attribution_adv.abs().sum(dim=1).numpy()
    expected = [
        area(model.eval(), image, values, target, steps or 8, insert)
        for image, values, target in zip(result.image_adv, maps, result.target.tolist(), strict=True)
    ]
    scores = assert_metric_contract(metric(steps=steps), model, result)
    assert scores.tolist() == pytest.approx(expected, rel=0, abs=1e-12)


@BOTH
@settings(deadline=None, max_examples=30, derandomize=True)
@given(
    values=arrays(
        np.float64,
        st.tuples(st.integers(1, 4), st.integers(1, 5)),
        elements=st.sampled_from([-1.0, 0.0, 2.0]),
    ),
    data=st.data(),
)
def test_equals_the_loop_on_any_shape_with_ties(function, metric, insert, values, data):
    steps = data.draw(st.integers(1, values.size))
    network = linear(2, *values.shape)
    image = torch.rand(2, *values.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = function(network, image[None], torch.from_numpy(values)[None], torch.tensor([2]), steps=steps)
    assert found.item() == pytest.approx(area(network, image, values, 2, steps, insert), rel=0, abs=1e-12)


def test_hand_computed_on_two_pixels():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2, 2, bias=False))
    network[1].weight.data = torch.tensor([[1.0, 0.0], [0.0, 0.0]])
    image, target = torch.tensor([[[[1.0], [0.5]]]]), torch.tensor([0])
    on, off = 1 / (1 + math.exp(-1)), 0.5
    first, last = torch.tensor([[[2.0], [1.0]]]), torch.tensor([[[1.0], [2.0]]])
    assert insertion(network, image, first, target).item() == pytest.approx((off + 2 * on + on) / 4, abs=1e-6)
    assert insertion(network, image, last, target).item() == pytest.approx((off + 2 * off + on) / 4, abs=1e-6)
    assert deletion(network, image, first, target).item() == pytest.approx((on + 2 * off + off) / 4, abs=1e-6)
    assert deletion(network, image, last, target).item() == pytest.approx((on + 2 * on + off) / 4, abs=1e-6)


@BOTH
def test_steps_change_the_score(model, result, function, metric, insert):
    scores = [metric(steps=steps).scores(model, result, None) for steps in (None, 8, 3)]
    assert torch.equal(scores[0], scores[1])
    assert (scores[0] != scores[2]).all()


@BOTH
@pytest.mark.parametrize("max_batch", [1, 5, 53])
def test_max_batch_limits_the_forward_pass_and_changes_no_score(
    model, result, function, metric, insert, max_batch
):
    sizes = []
    hook = model.register_forward_pre_hook(lambda module, inputs: sizes.append(len(inputs[0])))
    found = metric(max_batch=max_batch).scores(model, result, None)
    hook.remove()
    assert max(sizes) == max_batch
    assert sum(sizes) == 6 * 9
    torch.testing.assert_close(found, metric().scores(model, result, None), rtol=0, atol=1e-12)


@BOTH
def test_the_network_is_evaluated_without_dropout_and_left_as_it_was(result, function, metric, insert):
    network = nn.Sequential(nn.Dropout(0.5), linear(2, 8, 8)).train()
    expected = metric().scores(network[1], result, None)
    network[1].eval()
    assert torch.equal(metric().scores(network, result, None), expected)
    assert (network.training, network[0].training, network[1].training) == (True, True, False)
    assert all(parameter.requires_grad for parameter in network.parameters())


@BOTH
def test_no_samples_give_no_scores(model, function, metric, insert):
    image = torch.zeros(0, 2, 8, 8, dtype=torch.float64)
    found = function(model, image, image[:, 0], torch.zeros(0, dtype=torch.int64))
    assert found.shape == (0,)


@BOTH
def test_refuses_what_does_not_fit(function, metric, insert):
    network, image, maps = linear(1, 2, 3), torch.zeros(1, 1, 2, 3).double(), torch.zeros(1, 2, 3).double()
    target = torch.tensor([0])
    with pytest.raises(ValueError, match=r"\(N, H, W\) for images \(1, 1, 2, 3\), but got \(1, 3, 2\)"):
        function(network, image, maps.view(1, 3, 2), target)
    with pytest.raises(ValueError, match=r"\(N, H, W\) for images \(1, 1, 2, 3\), but got \(1, 1, 2, 3\)"):
        function(network, image, maps[:, None], target)
    for name in ("steps", "max_batch"):
        with pytest.raises(ValueError, match=rf"Expected `{name}` of at least 1, but got 0\."):
            metric(**{name: 0})


@BOTH
@pytest.mark.parametrize("steps", [-1, 0, 7])
def test_refuses_steps_that_are_none_or_more_than_pixels(function, metric, insert, steps):
    image = torch.zeros(1, 1, 2, 3, dtype=torch.float64)
    with pytest.raises(ValueError, match=rf"Expected `steps` in \[1, 6\], but got {steps}\."):
        function(linear(1, 2, 3), image, image[:, 0], torch.tensor([0]), steps=steps)


def test_directions():
    assert Insertion.higher_is_better is True
    assert Deletion.higher_is_better is False
