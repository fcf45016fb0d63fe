import pytest
import torch

from lit_xai.attributions.controls import ConstantMap, RandomMap
from lit_xai.metrics.insertion_deletion import deletion, insertion
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from tests.contracts import assert_attribution_contract


def test_contract(model, batch):
    assert_attribution_contract(RandomMap(), model, batch)


def test_a_constant_map_is_constant(model, batch):
    found = ConstantMap().attribute(model, batch.image, batch.label, Noise(0, batch.sample_id))
    assert torch.equal(found, torch.ones(6, 1, 8, 8, dtype=torch.float64))


def test_random_values_are_uniform_and_differ_between_samples(model, batch):
    image = torch.zeros(4, 3, 60, 40)
    found = RandomMap().attribute(model, image, batch.label[:4], Noise(0, torch.arange(4)))
    assert found.shape == (4, 1, 60, 40)
    assert found.mean().item() == pytest.approx(0.5, abs=0.02)
    assert found.std().item() == pytest.approx(12**-0.5, abs=0.01)
    assert torch.corrcoef(found.flatten(1)).triu(1).abs().max() < 0.06


def test_the_network_is_not_asked(batch):
    for method in (ConstantMap(), RandomMap()):
        found = method.attribute(None, batch.image, batch.label, Noise(0, batch.sample_id))
        assert found.shape == (6, 1, 8, 8)


def test_a_gradient_map_beats_both(trained, fashion_batch):
    from lit_xai.attributions.integrated_gradients import IntegratedGradients

    scores = {}
    for method in (IntegratedGradients(path_steps=10), ConstantMap(), RandomMap()):
        noise = Noise(0, fashion_batch.sample_id)
        maps = pixel_map(method.attribute(trained, fashion_batch.image, fashion_batch.label, noise)).detach()
        arguments = (trained, fashion_batch.image, maps, fashion_batch.label)
        scores[type(method)] = (insertion(*arguments).mean(), deletion(*arguments).mean())
    for control in (ConstantMap, RandomMap):
        assert scores[IntegratedGradients][0] > scores[control][0] + 0.1
        assert scores[IntegratedGradients][1] < scores[control][1] - 0.1
