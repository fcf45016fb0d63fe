from dataclasses import dataclass, field, replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.evaluation.remembering import _BUDGET, remembering
from lit_xai.noise import Noise
from tests.conftest import tiny_batch, tiny_network
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


@pytest.fixture
def run_cells(ask):
    """Return a function that runs cells after one another over all batches."""

    def run(cells, batches=4, ask=ask):
        maps = []
        for cell in range(cells):
            for number in range(batches):
                shared = tiny_batch(seed=100 + number)
                question = {"image": shared.image, "target": shared.label}
                maps.append(ask(**question, noise=Noise(0, shared.sample_id)))
                for step in range(10):
                    image = tiny_batch(seed=1000 * cell + 20 * number + step).image
                    # The last one is explained twice: on its way, and where the attack ends.
                    for _ in range(1 + step // 9):
                        ask(image, shared.label, Noise(0, shared.sample_id))
        return maps

    return run


def made_for(counted, cells, batches=4):
    """Return how often the maps that cells share were made; each cell's ten iterates were made once."""
    return len(counted.calls) - 10 * cells * batches


def test_what_cells_share_is_made_twice(run_cells, counted):
    maps = run_cells(cells=5)
    assert made_for(counted, cells=5) == 2 * 4
    for cell in range(1, 5):
        assert all(torch.equal(*pair) for pair in zip(maps[:4], maps[4 * cell : 4 * cell + 4], strict=True))


def test_a_map_that_is_kept_is_nobodys(run_cells, ask, counted):
    maps = run_cells(cells=2)
    expected = maps[0].clone()
    maps[0].zero_()
    maps[4].zero_()
    for found in (run_cells(cells=1)[0], run_cells(cells=1)[0]):
        assert torch.equal(found, expected)
        found.zero_()


def kept_bytes(method):
    return sum(memory.size for memories in method._kept.values() for memory in memories)


def test_iterates_are_not_kept_for_good(model, batch, counted):
    method, noise = remembering(counted), Noise(0, batch.sample_id)
    with torch.no_grad():
        for step in range(50):
            image = tiny_batch(seed=step).image
            for _ in range(3):
                method.attribute(model, image, batch.label, noise)
        assert kept_bytes(method) == 0
        image = tiny_batch(seed=7).image
        method.attribute(model, image, batch.label, noise)
    assert kept_bytes(method) == 2 * image.nbytes + batch.label.nbytes + batch.sample_id.nbytes
    assert len(counted.calls) == 51


@pytest.mark.parametrize("fit", [0, 1, 3])
def test_no_more_is_kept_than_the_budget(model, counted, batch, run_cells, monkeypatch, fit):
    size = 2 * batch.image.nbytes + batch.label.nbytes + batch.sample_id.nbytes
    monkeypatch.setattr("lit_xai.evaluation.remembering._BUDGET", (fit + 1) * size - 1)
    method = remembering(counted)

    def ask(image, target, noise):
        with torch.no_grad():
            return method.attribute(model, image, target, noise)

    run_cells(cells=5, ask=ask)
    assert kept_bytes(method) == fit * size
    assert made_for(counted, cells=5) == 2 * fit + 5 * (4 - fit)


def test_the_budget_is_a_gibibyte():
    assert _BUDGET == 1024**3


def test_what_is_kept_answers_no_other_question(ask, counted, batch):
    noise = Noise(0, batch.sample_id)
    others = [
        {"image": batch.image.flip(3)},
        {"image": batch.image.flip(1)},
        {"target": batch.label.flip(0)},
        {"noise": Noise(1, batch.sample_id)},
        {"noise": Noise(0, batch.sample_id.flip(0))},
        {"network": tiny_network()},
        {"image": batch.image[:5], "target": batch.label[:5], "noise": Noise(0, batch.sample_id[:5])},
        {"image": batch.image.float().double()},
        {},
    ]

    def forget():
        for step in range(8):
            ask(tiny_batch(seed=step).image, noise=Noise(len(counted.calls), batch.sample_id))

    for _ in range(2):
        ask(batch.image, batch.label, noise)
        forget()
    for other in others[:-1]:
        before = len(counted.calls)
        ask(**other)
        assert len(counted.calls) == before + 1
        forget()
    before = len(counted.calls)
    ask(**others[-1])
    assert len(counted.calls) == before


def test_questions_of_one_fingerprint_are_told_apart(ask, counted, batch, monkeypatch):
    monkeypatch.setattr("lit_xai.evaluation.remembering._fingerprint", lambda *question: 0)
    questions = [tiny_batch(seed=seed).image for seed in range(20)]
    plain = Counted()
    expected = [plain.attribute(None, image, batch.label, Noise(0, batch.sample_id)) for image in questions]
    for _ in range(3):
        for image, maps in zip(questions, expected, strict=True):
            assert torch.equal(ask(image), maps)
    assert len(counted.calls) == 20


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
