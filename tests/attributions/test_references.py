import weakref
from dataclasses import dataclass, fields
from typing import ClassVar

import pytest
import torch
from torch import nn

from lit_xai.attributions.references import Referring, check_references, draw_references
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.conftest import tiny_network
from tests.contracts import Untouched

MODEL = nn.Linear(1, 1).double()


def numbered(samples=200):
    """Images that show their own position, which is not their place in the list, sorted by class."""
    sample_id = torch.randperm(3 * samples, generator=torch.Generator().manual_seed(0))[:samples]
    image = sample_id.double().view(-1, 1, 1, 1).expand(-1, 1, 2, 3) / (3 * samples)
    return Batch(image, torch.arange(samples) * 10 // samples, sample_id)


def split(batch, size, order):
    return [Batch(*(tensor[rows] for tensor in batch)) for rows in order.split(size)]


def test_the_lowest_lots_are_chosen():
    batch = numbered()
    lot = Noise(7, batch.sample_id).child("reference").uniform(torch.zeros(200).double())
    lowest = sorted(range(200), key=lambda row: lot[row].item())[:30]
    found = draw_references(MODEL, lambda: [batch], 30, 7)
    assert torch.equal(found, batch.image[lowest])


@pytest.mark.parametrize("size", [1, 17, 200])
@pytest.mark.parametrize("seed", [0, 5])
def test_the_choice_depends_on_neither_order_nor_batches(size, seed):
    batch = numbered()
    expected = draw_references(MODEL, lambda: [batch], 30, 0)
    order = torch.randperm(200, generator=torch.Generator().manual_seed(size))
    found = draw_references(MODEL, lambda: split(batch, size, order), 30, seed)
    assert torch.equal(found, expected) == (seed == 0)


def test_the_choice_mixes_the_classes_of_sorted_data():
    batch = numbered(1000)
    found = draw_references(MODEL, lambda: split(batch, 50, torch.arange(1000)), 200, 0)
    place = {image.item(): label for image, label in zip(batch.image[:, 0, 0, 0], batch.label, strict=True)}
    counts = torch.bincount(torch.stack([place[image.item()] for image in found[:, 0, 0, 0]]))
    # Twenty of each class are expected; the standard deviation is 3.8.
    assert counts.min() >= 8
    assert counts.max() <= 32
    assert len(found.unique(dim=0)) == 200


def test_fewer_donors_than_asked_for_are_all_taken():
    batch = numbered(12)
    found = draw_references(MODEL, lambda: split(batch, 5, torch.arange(12)), 30, 0)
    assert torch.equal(found[:, 0, 0, 0].sort().values, batch.image[:, 0, 0, 0].sort().values)


def test_batches_are_let_go():
    batch, alive = numbered(), []

    def donors():
        for part in split(batch, 20, torch.arange(200)):
            assert sum(reference() is not None for reference in alive) <= 2
            image = part.image.clone()
            alive.append(weakref.ref(image))
            yield part._replace(image=image)

    assert draw_references(MODEL, donors, 5, 0).shape == (5, 1, 2, 3)
    assert len(alive) == 10


def test_references_are_tensors_of_the_networks_precision_whatever_the_mode():
    network, batch = tiny_network().float(), numbered()
    with Untouched(network, *batch), torch.inference_mode():
        found = draw_references(network, lambda: [Batch(*(tensor.clone() for tensor in batch))], 3, 0)
    assert found.dtype == torch.float32
    assert not found.is_inference()
    assert not found.requires_grad


@pytest.mark.parametrize("donors", [[], [Batch(*(tensor[:0] for tensor in numbered(3)))]])
def test_no_donors_are_refused(donors):
    with pytest.raises(ValueError, match="Expected donors to draw references from, but got none"):
        draw_references(MODEL, lambda: donors, 3, 0)


def test_references_follow_the_images():
    found = check_references(torch.rand(5, 1, 2, 3), torch.rand(2, 1, 2, 3).double(), "Method")
    assert found.dtype == torch.float64
    assert found.shape == (5, 1, 2, 3)


def test_missing_references_are_refused():
    with pytest.raises(
        ValueError,
        match=r"Expected Method with references, but got one that was not prepared\. Call `prepare` first\.",
    ):
        check_references(None, torch.rand(2, 1, 2, 3), "Method")


def test_references_of_another_shape_are_refused():
    match = (
        r"Expected references of the images' shape \(1, 2, 3\), but got \(1, 3, 2\)\. "
        "Prepare Method with donors of that shape"
    )
    with pytest.raises(ValueError, match=match):
        check_references(torch.rand(5, 1, 3, 2), torch.rand(2, 1, 2, 3), "Method")


@dataclass(frozen=True)
class Away(Referring):
    """The difference from the first reference."""

    shift: float = 0.0
    references: int = 2
    seed: int = 0
    differentiable: ClassVar[bool] = True

    def attribute(self, model, image, target, noise):
        return image - self.referred(image)[0] + self.shift


def test_a_method_gets_its_references_by_its_number_and_seed():
    batch = numbered()
    assert [field.name for field in fields(Away)] == ["shift", "references", "seed"]
    for references, seed in ((1, 0), (7, 3)):
        method = Away(0.5, references, seed)
        ready = method.prepare(MODEL, lambda: [batch])
        expected = draw_references(MODEL, lambda: [batch], references, seed)
        assert torch.equal(ready.referred(batch.image), expected)
        assert ready == method
        assert type(ready) is Away
        assert repr(ready) == f"Away(shift=0.5, references={references}, seed={seed})"
        with pytest.raises(
            ValueError, match=r"^Expected Away with references, but got one that was not prepared"
        ):
            method.referred(batch.image)
        with pytest.raises(AttributeError, match="cannot assign"):
            ready.seed = 1
