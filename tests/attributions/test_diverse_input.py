import pytest
import torch
from torch import nn
from torch.nn import functional

from lit_xai.attributions.diverse_input import DiverseInput, Resizing, resampling
from lit_xai.noise import Noise


def images(samples=6, channels=2, height=9, width=14):
    generator = torch.Generator().manual_seed(0)
    return torch.rand(samples, channels, height, width, generator=generator, dtype=torch.float64)


def side(matrices):
    """Rows that hold something, and the first of them."""
    filled = matrices.abs().sum(dim=2) > 0
    return filled.sum(dim=1), filled.long().argmax(dim=1)


class Mean(nn.Module):
    """Logits that tell the image's size, and its values."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, image):
        self.seen.append(tuple(image.shape))
        return torch.stack([image.mean(dim=(1, 2, 3)), image[:, 0].square().sum(dim=(1, 2))], dim=1)


@pytest.mark.parametrize(("new_height", "new_width"), [(9, 14), (12, 20), (7, 11), (1, 1)])
def test_resampling_equals_interpolation_and_padding(new_height, new_width):
    image, top, left = images(1), 3, 2
    rows = resampling(9, torch.tensor([new_height]), torch.tensor([top]), 16)
    columns = resampling(14, torch.tensor([new_width]), torch.tensor([left]), 23)
    found = Resizing(torch.tensor([True]), rows, columns).padded(image)
    small = functional.interpolate(image, (new_height, new_width), mode="bilinear", align_corners=False)
    padding = (left, 23 - new_width - left, top, 16 - new_height - top)
    torch.testing.assert_close(found, functional.pad(small, padding), rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("scale", "size", "smallest", "canvas"),
    [(1.15, 32, 32, 36), (0.9, 32, 28, 32), (1.15, 3, 3, 4), (0.9, 3, 2, 3), (0.5, 1, 1, 1), (2.0, 1, 1, 2)],
)
def test_sides_and_places_are_the_papers(scale, size, smallest, canvas):
    like = images(3000, 1, size, size)
    resizing = DiverseInput(scale).draw(like, Noise(0, torch.arange(3000)))
    assert resizing.rows.shape == (3000, canvas, size)
    height, top = side(resizing.rows)
    width, left = side(resizing.columns)
    assert torch.equal(height, width)
    assert height.unique().tolist() == list(range(smallest, max(canvas, smallest + 1)))
    for first in (top, left):
        assert first.min() == 0
        assert ((first + height < canvas) | (height == canvas)).all()
        assert (first + height).max() == max(canvas - 1, smallest)
    assert torch.equal(top, left) == (canvas - smallest < 2)
    assert resizing.applied.double().mean().item() == pytest.approx(0.5, abs=0.03)


def test_a_draw_belongs_to_the_sample():
    image, sample_id = images(), torch.tensor([7, 1, 5, 3, 8, 2])
    together = DiverseInput(1.5).draw(image, Noise(0, sample_id))
    alone = DiverseInput(1.5).draw(image[2:3], Noise(0, sample_id[2:3]))
    for name in ("applied", "rows", "columns"):
        assert torch.equal(getattr(alone, name), getattr(together, name)[2:3])
    assert len({tuple(matrix.flatten().tolist()) for matrix in together.rows}) > 1


@pytest.mark.parametrize("probability", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("scale", "resize_back"), [(1.5, False), (1.5, True), (0.6, False)])
def test_logits_are_those_of_each_image_in_its_place(scale, resize_back, probability):
    image, model = images(), Mean()
    resizing = DiverseInput(scale, probability).draw(image, Noise(0, torch.arange(6)))
    found = resizing.logits(model, image, resize_back=resize_back)
    expected = []
    for row, applied in enumerate(resizing.applied):
        seen = image[[row]]
        if applied:
            seen = resizing.rows[row] @ seen @ resizing.columns[row].T
            if resize_back:
                seen = functional.interpolate(seen, (9, 14), mode="bilinear", align_corners=False)
        expected.append(Mean()(seen))
    torch.testing.assert_close(found, torch.cat(expected), rtol=0, atol=1e-12)
    assert sum(shape[0] for shape in model.seen) == 6
    larger = scale > 1 and not resize_back
    assert {shape[2:] for shape in model.seen} <= {(9, 14), (13, 21) if larger else (9, 14)}
    assert (model.seen[0][2:] == (13, 21)) == (larger and probability > 0)


def test_stacked_batches_follow_each_other():
    image, noise = images(), Noise(0, torch.arange(6))
    parts = [DiverseInput().draw(image, noise.child(draw)) for draw in range(2)]
    both = Resizing.stacked(parts).padded(image.repeat(2, 1, 1, 1))
    assert torch.equal(both, torch.cat([part.padded(image) for part in parts]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 1.0}, "Expected `diversity_scale` above 0 and other than 1, but got 1. For no resizing"),
        ({"scale": 0.0}, "Expected `diversity_scale` above 0 and other than 1, but got 0"),
        ({"scale": float("nan")}, "Expected `diversity_scale` above 0 and other than 1, but got nan"),
        ({"probability": 1.5}, r"Expected `diversity_probability` in \[0, 1\], but got 1.5"),
        ({"probability": -0.1}, r"Expected `diversity_probability` in \[0, 1\], but got -0.1"),
    ],
)
def test_refuses(options, message):
    with pytest.raises(ValueError, match=message):
        DiverseInput(**options)
