"""Every differentiable explanation can be attacked through the softplus twin."""

import pytest

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.expected_gradients import ExpectedGradients
from lit_xai.attributions.fast_ig import FastIG
from lit_xai.attributions.grad_cam import GradCAM
from lit_xai.attributions.guided_backprop import GuidedBackprop
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance
from lit_xai.attributions.mean_of import MeanOf, VarianceWeightedMean
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.softened import Softened
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.top_k import top_k_intersection
from tests.contracts import select

MEMBERS = (LayerwiseRelevance(), Saliency(), GuidedBackprop())
# A map made of activations needs a twin close to the network; a map of gradients needs a curved one.
METHODS = [
    (FastIG(), 1.0),
    (ExpectedGradients(samples=8, references=8), 1.0),
    (LayerwiseRelevance(), 50.0),
    (GuidedBackprop(), 1.0),
    (GradCAM(layer="features.4"), 50.0),
    (MeanOf(MEMBERS), 1.0),
    (VarianceWeightedMean(MEMBERS), 1.0),
    (Softened(Saliency()), 1.0),
]


@pytest.mark.parametrize(("method", "beta"), METHODS, ids=[type(method).__name__ for method, _ in METHODS])
def test_top_k_moves_the_map_farther_than_random_signs_of_its_radius(method, beta, trained, fashion_batch):
    batch = select(fashion_batch, slice(0, 16))
    prepared = method.prepare(trained, lambda: [select(fashion_batch, slice(16, 64))])
    kept = {}
    for attack in (TopK(eps=0.1, step_size=0.02, steps=10, k=100, beta=beta), RandomSign(eps=0.1)):
        result = run_attack(trained, prepared, attack, batch, seed=0)
        before, after = pixel_map(result.attribution), pixel_map(result.attribution_adv)
        kept[type(attack)] = top_k_intersection(before, after, k=100)
    assert kept[TopK].mean() < kept[RandomSign].mean() - 0.05
    assert (kept[TopK] < kept[RandomSign]).sum() >= 13
