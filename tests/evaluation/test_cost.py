import contextlib

import pytest
import torch
from torch import nn

from lit_xai.attacks.base import Attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.evaluation.cost import Passes, count_passes, counting
from lit_xai.evaluation.grid import Grid
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.contracts import Untouched

SALIENCY, INTEGRATED = {"saliency": Saliency()}, {"ig": IntegratedGradients(path_steps=7)}


def grid(attributions: dict, attacks: dict[str, Attack], k: int = 5) -> Grid:
    return Grid(attributions, attacks, {"top_k": TopKIntersection(k)})


@pytest.mark.parametrize(
    ("attribution", "each"),
    [
        (Saliency(), 1),
        (IntegratedGradients(path_steps=7), 7),
        (IntegratedGradients(path_steps=7, max_batch=4), 7),
    ],
)
def test_an_explanation_costs_one_pass_in_each_direction_for_each_point(model, batch, attribution, each):
    with counting(model) as passes:
        attribution.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id))
    assert passes == Passes(forward=6 * each, backward=6 * each)


def test_a_prediction_costs_no_backward_pass(model, batch):
    with counting(model) as passes, torch.no_grad():
        model(batch.image)
        model(batch.image[:2])
    assert passes == Passes(forward=8, backward=0)


def test_a_second_derivative_counts_as_two(model, batch):
    image = batch.image.clone().requires_grad_()
    with counting(model) as passes:
        score = model(image)[:, 0].logsumexp(dim=0)
        (gradient,) = torch.autograd.grad(score, image, create_graph=True)
        torch.autograd.grad(gradient.square().sum(), image)
    assert passes == Passes(forward=6, backward=12)


def test_a_gradient_of_the_weights_alone_does_not_reach_the_pixels(model, batch):
    with counting(model) as passes:
        model(batch.image).sum().backward()
    assert passes == Passes(forward=6, backward=0)


def test_nothing_is_counted_after_an_error(model, batch):
    with contextlib.suppress(KeyError), counting(model) as passes:
        raise KeyError
    model(batch.image)
    assert passes == Passes(0, 0)


# The grid's own passes: the logits of all images, of the clean and of the attacked one, and the two maps.
@pytest.mark.parametrize(
    ("attributions", "attacks", "expected"),
    [
        (SALIENCY, {"clean": Unattacked()}, Passes(1 + 2 + 2, 2)),
        (INTEGRATED, {"clean": Unattacked()}, Passes(1 + 2 + 2 * 7, 2 * 7)),
        # Each further attack shares the clean map and the first logits.
        (SALIENCY, {"clean": Unattacked(), "sign": RandomSign()}, Passes(1 + 1 + 2 * 3, 1 + 2)),
        (SALIENCY | INTEGRATED, {"clean": Unattacked()}, Passes(1 + 2 * 2 + 2 * 8, 2 * 8)),
        # TopK: a clean map, and for each step the twin's map with two derivatives, a prediction and a map.
        (SALIENCY, {"top": TopK(steps=4, k=5)}, Passes(5 + 1 + 4 * 3, 2 + 1 + 4 * (2 + 1))),
        (INTEGRATED, {"top": TopK(steps=2, k=5)}, Passes(17 + 7 + 2 * 15, 14 + 7 + 2 * 7 * 3)),
    ],
)
def test_a_grid_costs_exactly(model, batch, attributions, attacks, expected):
    assert count_passes(grid(attributions, attacks), model, batch) == expected


def test_a_misclassified_image_is_counted_as_if_it_were_not(model, batch):
    cells = grid(SALIENCY, {"clean": Unattacked()})
    predicted = model(batch.image).argmax(dim=1)
    wrong = Batch(batch.image, (predicted + 1) % 4, batch.sample_id)
    right = Batch(batch.image, predicted, batch.sample_id)
    assert count_passes(cells, model, wrong) == count_passes(cells, model, right) == Passes(5, 2)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_counting_works_where_nothing_is_differentiated(model, batch, mode):
    with mode():
        inside = Batch(*(tensor.clone() for tensor in batch))
        assert count_passes(grid(SALIENCY, {"top": TopK(steps=4, k=5)}), model, inside) == Passes(18, 15)


def test_grid_and_network_are_left_as_they_were(model, batch):
    cells = grid(SALIENCY, {"clean": Unattacked()})
    predicted = model(batch.image).argmax(dim=1)
    cells.update(model, Batch(batch.image, predicted, batch.sample_id))
    assert len(list(cells.rows())) == 1
    with Untouched(model, *batch):
        count_passes(cells, model, batch)
    assert list(cells.rows()) == []
    assert not model._forward_pre_hooks


def test_a_grid_that_cannot_run_fails_here(model, batch):
    with pytest.raises(ValueError, match=r"Expected `k` in \[1, 64\], but got 65"):
        count_passes(grid(SALIENCY, {"clean": Unattacked()}, k=65), model, batch)
    assert not model._forward_pre_hooks


def test_passes_of_a_wrapped_network_are_counted_once(model, batch):
    outer = nn.Sequential(model)
    with counting(outer) as passes, torch.no_grad():
        outer(batch.image)
    assert passes == Passes(6, 0)
