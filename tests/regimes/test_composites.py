import pytest
import torch

from lit_xai.noise import Noise
from lit_xai.regimes.composites import Composites, side_by_side
from lit_xai.types import Batch

WIDTH = 4


def shades(*values: float) -> torch.Tensor:
    """Return grey images of one value each, (N, 3, 2, 4)."""
    return torch.tensor(values).view(-1, 1, 1, 1).expand(-1, 3, 2, WIDTH).clone()


def test_columns_are_means_of_neighbours():
    left = torch.arange(8.0).view(1, 1, 2, 4) / 8
    picture = side_by_side(left, 1 - left)
    expected = [[0.5, 2.5, 7.5, 5.5], [4.5, 6.5, 3.5, 1.5]]
    torch.testing.assert_close(picture[0, 0], torch.tensor(expected) / 8, rtol=0, atol=1e-7)


@pytest.mark.parametrize(("width", "left"), [(6, 3), (7, 3), (2, 1), (28, 14)])
def test_the_right_image_gets_the_middle_column(width, left):
    picture = side_by_side(torch.zeros(2, 3, 5, width), torch.ones(2, 3, 5, width))
    assert picture.shape == (2, 3, 5, width)
    assert picture[0, 0, 0].tolist() == [0.0] * left + [1.0] * (width - left)


def test_images_are_those_labelled_as_the_classes_in_their_order():
    batches = [
        Batch(shades(0.1, 0.2, 0.3), torch.tensor([2, 0, 1]), torch.arange(3)),
        Batch(shades(0.4, 0.5), torch.tensor([1, 2]), torch.arange(3, 5)),
    ]
    found = Composites.of((2, 1), lambda: batches)
    assert found.first[:, 0, 0, 0].tolist() == torch.tensor([0.1, 0.5]).tolist()
    assert found.second[:, 0, 0, 0].tolist() == torch.tensor([0.3, 0.4]).tolist()


@pytest.mark.parametrize("classes", [(0, 7), (7, 0)])
def test_a_class_without_images_is_refused(classes):
    batches = [Batch(shades(0.1), torch.tensor([0]), torch.arange(1))]
    with pytest.raises(ValueError, match=r"Expected donors of both `classes`, but got none of class 7\."):
        Composites.of(classes, lambda: batches)
    with pytest.raises(ValueError, match="but got none of class"):
        Composites.of(classes, list)


def test_each_sample_draws_its_pair_and_its_order():
    composites = Composites(shades(0.0, 0.1, 0.2), shades(0.6, 0.7, 0.8, 0.9))
    picture = composites.draw(Noise(0, torch.arange(600)), torch.zeros(1, dtype=torch.float64))
    assert picture.dtype == torch.float64
    left, right = picture[:, 0, 0, 0], picture[:, 0, 0, -1]
    assert ((left < 0.5) != (right < 0.5)).all()
    # 24 combinations of equal probability: 25 of 600 each, standard deviation 4.9.
    counts = torch.stack([left, right], dim=1).mul(10).round().unique(dim=0, return_counts=True)[1]
    assert len(counts) == 24
    assert counts.min() >= 10
    assert counts.max() <= 40


def test_a_draw_belongs_to_its_sample_and_seed():
    generator = torch.Generator().manual_seed(0)
    composites = Composites(*(torch.rand(size, 1, 2, 4, generator=generator) for size in (9, 7)))
    like, ids = torch.zeros(1), torch.randperm(40, generator=generator)
    picture = composites.draw(Noise(0, ids), like)
    assert torch.equal(composites.draw(Noise(0, ids[5:8]), like), picture[5:8])
    assert not torch.equal(composites.draw(Noise(1, ids), like), picture)
