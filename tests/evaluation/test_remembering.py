from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.evaluation.remembering import remembering
from lit_xai.noise import Noise
from tests.conftest import tiny_network
from tests.contracts import assert_attribution_contract


@dataclass(frozen=True)
class Counted(Attribution):
    """Explain by noisy pixels, and count the calls."""

    calls: list[int] = field(default_factory=list)
    scale: float = 1.0
    differentiable: ClassVar[bool] = True

    def prepare(self, model, donors):
        return replace(self, scale=2.0)

    def coarse(self, points):
        return replace(self, scale=0.5) if points < 10 else self

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        self.calls.append(len(image))
        return self.scale * image * (target + 1).view(-1, 1, 1, 1) + noise.uniform(image)


@pytest.fixture
def counted():
    return Counted()


@pytest.fixture
def ask(model, batch, counted):
    """Return a function that explains the batch, or another, with a memory, without a graph."""
    method = remembering(counted)

    def explain(image=batch.image, target=batch.label, noise=None, network=model):
        with torch.no_grad():
            return method.attribute(network, image, target, noise or Noise(0, batch.sample_id))

    return explain


@pytest.mark.parametrize("method", [Saliency(), IntegratedGradients(path_steps=3), SmoothGrad(samples=2)])
def test_contract(model, batch, method):
    found = assert_attribution_contract(remembering(method), model, batch)
    expected = assert_attribution_contract(method, model, batch)
    assert torch.equal(found, expected)


def test_equal_questions_are_answered_once(ask, counted, batch):
    first = ask()
    again = ask(batch.image.clone(), batch.label.clone(), Noise(0, batch.sample_id.clone()))
    assert torch.equal(first, again)
    assert counted.calls == [6]


def test_any_other_question_is_answered_anew(ask, counted, batch):
    ask()
    changed = batch.image.clone()
    changed[5, 1, 7, 7] += 1e-9
    others = [
        {"image": changed},
        {"target": (batch.label + torch.eye(6).long()[5]) % 4},
        {"noise": Noise(1, batch.sample_id)},
        {"noise": Noise(0, batch.sample_id + torch.eye(6).long()[5])},
        {"network": tiny_network()},
        {"image": batch.image[:5], "target": batch.label[:5], "noise": Noise(0, batch.sample_id[:5])},
    ]
    for number, other in enumerate(others):
        ask(**other)
        assert len(counted.calls) == 2 + number


def test_pixels_of_another_type_are_another_question(ask, batch):
    exact = batch.image.float()
    assert torch.equal(exact, exact.double())
    for image in (exact, exact.double(), exact):
        assert ask(image).dtype == image.dtype


def test_nobody_can_change_a_remembered_map(ask, counted):
    expected = ask().clone()
    for _ in range(3):
        assert torch.equal(ask(), expected)
        ask().zero_()
    assert counted.calls == [6]


@pytest.mark.parametrize("changed", ["image", "target", "sample_id"])
def test_nobody_can_change_a_remembered_question(ask, batch, changed):
    asked = {
        "image": batch.image.clone(),
        "target": batch.label.clone(),
        "sample_id": batch.sample_id.clone(),
    }
    noise = Noise(0, asked["sample_id"])
    expected = ask(asked["image"], asked["target"], noise).clone()
    asked[changed].zero_()
    assert not torch.equal(ask(asked["image"], asked["target"], noise), expected)


@dataclass(frozen=True)
class Alias(Attribution):
    """Explain by the image itself."""

    differentiable: ClassVar[bool] = True

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return image


def test_a_map_that_is_the_image_is_remembered_apart_from_it(model, batch):
    method, noise, image = remembering(Alias()), Noise(0, batch.sample_id), batch.image.clone()
    with torch.no_grad():
        method.attribute(model, image, batch.label, noise)
        image.zero_()
        assert torch.equal(method.attribute(model, batch.image, batch.label, noise), batch.image)


def test_a_graph_is_made_anew(model, batch, counted):
    method, noise = remembering(counted), Noise(0, batch.sample_id)
    image = batch.image.clone().requires_grad_()
    with torch.no_grad():
        kept = method.attribute(model, image, batch.label, noise)
    assert not kept.requires_grad
    for _ in range(2):
        assert method.attribute(model, image, batch.label, noise).requires_grad
    assert counted.calls == [6] * 3


def test_inference_mode_neither_fills_nor_reads_the_memory(model, batch, counted):
    method, noise = remembering(counted), Noise(0, batch.sample_id)
    with torch.inference_mode():
        for _ in range(2):
            method.attribute(model, batch.image, batch.label, noise)
    with torch.no_grad():
        assert not method.attribute(model, batch.image, batch.label, noise).is_inference()
    assert counted.calls == [6] * 3


def test_the_last_eight_are_remembered(ask, counted, batch):
    for number in range(9):
        ask(noise=Noise(number, batch.sample_id))
    for number in range(1, 9):
        ask(noise=Noise(number, batch.sample_id))
    assert len(counted.calls) == 9
    ask(noise=Noise(0, batch.sample_id))
    assert len(counted.calls) == 10


def test_what_is_new_each_time_does_not_push_out_what_is_shared(ask, counted, batch):
    for number in (0, 1, 0, 1):
        ask(noise=Noise(number, batch.sample_id))
    for number in range(100, 150):
        ask(noise=Noise(number, batch.sample_id))
    assert len(counted.calls) == 52
    for number in (0, 1):
        ask(noise=Noise(number, batch.sample_id))
    assert len(counted.calls) == 52


def test_of_what_is_shared_the_longest_unused_is_forgotten(ask, counted, batch):
    for number in (*range(8), *range(8), 0, 8, 8):
        ask(noise=Noise(number, batch.sample_id))
    assert len(counted.calls) == 9
    ask(noise=Noise(0, batch.sample_id))
    assert len(counted.calls) == 9
    ask(noise=Noise(1, batch.sample_id))
    assert len(counted.calls) == 10


def test_what_the_method_is_stays(model, batch, counted):
    assert remembering(Saliency()).differentiable
    assert not remembering(NotDifferentiable()).differentiable
    method, noise = remembering(counted), Noise(0, batch.sample_id)
    assert method.coarse(10) is method
    plain = counted.attribute(model, batch.image, batch.label, noise)
    for other, scale in ((method.coarse(3), 0.5), (method.prepare(model, list), 2.0)):
        expected = replace(counted, scale=scale).attribute(model, batch.image, batch.label, noise)
        assert not torch.equal(expected, plain)
        assert torch.equal(other.attribute(model, batch.image, batch.label, noise), expected)


@dataclass(frozen=True)
class NotDifferentiable(Alias):
    differentiable: ClassVar[bool] = False


def test_a_prepared_copy_starts_afresh_and_remembers(model, batch, counted):
    method, noise = remembering(counted), Noise(0, batch.sample_id)
    with torch.no_grad():
        method.attribute(model, batch.image, batch.label, noise)
        prepared = method.prepare(model, list)
        maps = [prepared.attribute(model, batch.image, batch.label, noise) for _ in range(2)]
    assert torch.equal(*maps)
    assert counted.calls == [6, 6]
