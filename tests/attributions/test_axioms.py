"""The axioms of Sundararajan et al. (2017, arXiv 1703.01365), for the methods that claim them."""

import copy

import pytest
import torch
from torch import nn

from lit_xai.attributions.adversarial_ig import AdversarialIG
from lit_xai.attributions.attexplore import AttEXplore
from lit_xai.attributions.attexplore_variants import (
    AttEXploreDI,
    AttEXploreMI,
    AttEXplorePGD,
    AttEXplorePlain,
    AttEXploreSINI,
)
from lit_xai.attributions.boundary_ig import BoundaryIG
from lit_xai.attributions.deep_lift import DeepLift
from lit_xai.attributions.expected_gradients import ExpectedGradients
from lit_xai.attributions.fast_ig import FastIG
from lit_xai.attributions.guided_backprop import GuidedBackprop
from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from tests.conftest import tiny_batch

PATHS = [
    IntegratedGradients(path_steps=400, rule="midpoint"),
    IntegratedGradients(path_steps=400),
    GuidedIG(path_steps=400),
    DeepLift(),
]
GRADIENTS = [
    Saliency(),
    InputXGradient(),
    FastIG(),
    SmoothGrad(samples=3),
    IntegratedGradients(path_steps=5),
    ExpectedGradients(samples=5, references=3),
    GuidedIG(path_steps=5),
    BoundaryIG(steps=4, path_steps=4),
    AdversarialIG(steps=3),
    AttEXplorePlain(steps=3),
    AttEXplorePGD(steps=3),
    AttEXploreMI(steps=3),
    AttEXploreSINI(steps=3),
]
RESIZING = [AttEXplore(steps=2, samples=3, resize_back="always"), AttEXploreDI(steps=3)]
LAYERED = [DeepLift(), GuidedBackprop(), LayerwiseRelevance()]


def name(method):
    return f"{type(method).__name__}"


def explained(method, model, batch):
    prepared = method.prepare(model, lambda: [tiny_batch(samples=3, seed=7)])
    return prepared.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id)).detach()


@pytest.mark.parametrize("method", PATHS, ids=name)
def test_sensitivity_a_lone_pixel_that_changes_the_logit_gets_all_of_the_change(method, model, batch):
    lone = torch.zeros_like(batch.image)
    lone[:, 1, 3, 4] = batch.image[:, 1, 3, 4]
    logits = (model(lone) - model(torch.zeros_like(lone))).detach()
    change = logits.gather(1, batch.label[:, None]).squeeze(1)
    assert (change.abs() > 1e-3).sum() >= 4
    found = explained(method, model, batch._replace(image=lone))
    # A rectifier's kink on the line costs one of 400 intervals.
    torch.testing.assert_close(found[:, 1, 3, 4], change, rtol=0, atol=5e-3 * change.abs().max().item())
    found[:, 1, 3, 4] = 0
    assert found.abs().max() == 0


class Blind(nn.Module):
    """A network that does not see one row of the image."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        mask = torch.ones(8, 1, dtype=torch.float64)
        mask[2] = 0
        self.register_buffer("mask", mask)

    def forward(self, image):
        return self.network(image * self.mask)


@pytest.mark.parametrize("method", [*GRADIENTS, *LAYERED], ids=name)
def test_sensitivity_b_a_pixel_that_the_network_does_not_see_gets_nothing(method, model, batch):
    found = explained(method, Blind(model), batch)
    assert found[:, :, 2].abs().max() == 0
    assert (found.abs().sum(dim=(1, 2, 3)) > 0).all()


class Halves(nn.Module):
    """The rectifier, written as half the sum of a value and its magnitude."""

    def forward(self, values):
        return (values + values.abs()) / 2


def rewritten(model):
    """Return another network that computes the same: channels turned around, units in other words."""
    other = copy.deepcopy(model)
    first, second = other.features[0], other.features[3]
    first.weight.data, first.bias.data = first.weight.data.flip(0), first.bias.data.flip(0)
    second.weight.data = second.weight.data.flip(1)
    for place in (1, 4):
        other.features[place] = Halves()
    other.head[1] = Halves()
    return other


@pytest.mark.parametrize("method", [*GRADIENTS, *RESIZING], ids=name)
def test_implementation_invariance_networks_that_compute_the_same_are_explained_alike(method, model, batch):
    other = rewritten(model)
    torch.testing.assert_close(other(batch.image), model(batch.image), rtol=0, atol=1e-12)
    found, expected = explained(method, other, batch), explained(method, model, batch)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9 * expected.abs().max().item())


@pytest.mark.parametrize("method", LAYERED, ids=name)
def test_methods_that_follow_the_layers_do_not_claim_invariance(method, model, batch):
    with pytest.raises(ValueError, match=r"^Expected a network"):
        explained(method, rewritten(model), batch)
