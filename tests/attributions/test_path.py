import numpy as np
import pytest
import torch
from torch import nn

from lit_xai.attributions.path import path_gradient, quadrature

RULES = ["right", "midpoint", "trapezoid", "gauss_legendre"]


@pytest.mark.parametrize(
    ("rule", "path_steps", "degree"),
    [("right", 7, 0), ("midpoint", 7, 1), ("trapezoid", 7, 1), ("gauss_legendre", 4, 7)],
)
def test_rules_are_exact_up_to_their_degree_and_no_further(rule, path_steps, degree):
    nodes, weights = map(np.array, quadrature(rule, path_steps))
    assert len(nodes) == len(weights) == path_steps
    for power in range(degree + 1):
        assert (weights * nodes**power).sum() == pytest.approx(1 / (power + 1), abs=1e-12)
    assert abs((weights * nodes ** (degree + 1)).sum() - 1 / (degree + 2)) > 1e-6


def test_right_ends_by_hand():
    assert quadrature("right", 4) == ([0.25, 0.5, 0.75, 1.0], [0.25] * 4)


def test_trapezoid_by_hand():
    assert quadrature("trapezoid", 3) == ([0.0, 0.5, 1.0], [0.25, 0.5, 0.25])


def test_too_few_points_are_refused():
    with pytest.raises(
        ValueError, match="Expected `path_steps` of at least 2 for the trapezoid rule, but got 1"
    ):
        quadrature("trapezoid", 1)
    with pytest.raises(ValueError, match="Expected `path_steps` of at least 1 for the right rule, but got 0"):
        quadrature("right", 0)


def test_unknown_rules_are_refused():
    with pytest.raises(
        ValueError, match="Expected `rule` as right, midpoint, trapezoid or gauss_legendre, but got left"
    ):
        quadrature("left", 3)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("max_batch", [1, 5, 100])
def test_equals_a_loop_over_points(model, batch, rule, max_batch):
    start, end = batch.image.flip(0), batch.image
    expected = torch.zeros_like(end)
    for node, weight in zip(*quadrature(rule, 5), strict=True):
        point = (start + node * (end - start)).requires_grad_()
        loss = nn.functional.cross_entropy(model(point), batch.label, reduction="sum")
        expected += weight * torch.autograd.grad(loss, point)[0]
    found = path_gradient(
        model, start, end, batch.label, score="loss", rule=rule, path_steps=5, max_batch=max_batch
    ).detach()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("max_batch", [4, 13, 600])
def test_never_more_than_max_batch_images_in_flight(model, batch, max_batch):
    sizes = []
    model.register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    path_gradient(
        model,
        batch.image,
        batch.image,
        batch.label,
        score="logit",
        rule="right",
        path_steps=9,
        max_batch=max_batch,
    )
    assert max(sizes) <= max_batch
    assert sum(sizes) == 9 * len(batch.image)
