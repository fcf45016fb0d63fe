from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lit_xai.attacks.goals import Frame, GivenMap, Goal, OtherImage
from lit_xai.attributions.base import Attribution, Explain
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.noise import Noise
from lit_xai.types import Batch
from tests.attacks.test_base import undecided
from tests.attacks.test_iterative import saliency_by_hand
from tests.conftest import tiny_batch
from tests.contracts import assert_every_field_matters, select


@pytest.fixture
def network(model, batch):
    return undecided(model, batch).eval()


@pytest.fixture
def donors():
    """12 images in batches of 5."""
    pool = tiny_batch(samples=12, seed=9)
    return [select(pool, slice(first, first + 5)) for first in range(0, 12, 5)]


def maps_of(
    goal: Goal, model: nn.Module, batch: Batch, attribution: Attribution | None = None, seed: int = 0
) -> Tensor:
    explain = Explain(attribution or Saliency(), model, Noise(seed, batch.sample_id))
    return goal.maps(explain, batch.image)


def images_of(donors: list[Batch]) -> Tensor:
    return torch.cat([batch.image for batch in donors])


def saliencies(model: nn.Module, images: Tensor) -> Tensor:
    """Return the gradients' magnitudes of each image's predicted class, one image at a time, (N, H, W)."""
    return torch.stack(
        [saliency_by_hand(model, image, int(model(image[None]).argmax())).detach() for image in images]
    )


def drawn(maps: Tensor, references: Tensor) -> list[int]:
    """Return which reference each map is of."""
    distance = (maps[:, None] - references[None]).abs().amax(dim=(2, 3))
    assert (distance.amin(dim=1) < 1e-12).all()
    return distance.argmin(dim=1).tolist()


def test_the_goal_is_a_donors_map_of_its_own_predicted_class(network, batch, donors):
    goal = OtherImage().prepare(network, lambda: donors)
    maps = maps_of(goal, network, batch)
    assert not maps.requires_grad
    images = images_of(donors)
    assert len(network(images).argmax(dim=1).unique()) >= 2
    assert len(set(drawn(maps, saliencies(network, images)))) >= 3
    assert goal.eligible(batch.image).all()


def test_every_donor_is_drawn_equally_often(network, donors):
    many = tiny_batch(samples=240, seed=4)
    goal = OtherImage().prepare(network, lambda: donors)
    found = drawn(maps_of(goal, network, many), saliencies(network, images_of(donors)))
    counts = torch.bincount(torch.tensor(found), minlength=12)
    # 240 draws of 12: the sum of (count - 20)^2 / 20 exceeds 31.3 once in a thousand times.
    assert ((counts - 20).square() / 20).sum() < 31.3


def test_the_draw_belongs_to_the_sample(network, batch, donors):
    goal = OtherImage().prepare(network, lambda: donors)
    whole = maps_of(goal, network, batch)
    for row in range(6):
        alone = maps_of(goal, network, select(batch, slice(row, row + 1)))
        torch.testing.assert_close(alone[0], whole[row], rtol=0, atol=1e-12)
    turned = Batch(*(tensor.flip(0) for tensor in batch))
    torch.testing.assert_close(maps_of(goal, network, turned).flip(0), whole, rtol=0, atol=1e-12)
    assert (maps_of(goal, network, batch, seed=1) - whole).abs().amax(dim=(1, 2)).gt(1e-6).any()


def test_every_explanation_is_moved_towards_the_same_image(network, batch, donors):
    goal = OtherImage().prepare(network, lambda: donors)
    images = images_of(donors)
    chosen = images[drawn(maps_of(goal, network, batch), saliencies(network, images))]
    attribution, noise = SmoothGrad(samples=3), Noise(0, batch.sample_id)
    target = network(chosen).argmax(dim=1)
    expected = attribution.attribute(network, chosen, target, noise).abs().sum(dim=1).detach()
    torch.testing.assert_close(maps_of(goal, network, batch, attribution), expected, rtol=0, atol=1e-12)


def test_never_its_own_image_nor_a_copy_of_it(network):
    image = tiny_batch(samples=3, seed=5).image
    pool = Batch(image[[0, 0, 0, 1, 2]], torch.zeros(5).long(), torch.arange(5))
    same = Batch(image[[0]].repeat(40, 1, 1, 1), torch.zeros(40).long(), torch.arange(40))
    goal = OtherImage().prepare(network, lambda: [pool])
    assert set(drawn(maps_of(goal, network, same), saliencies(network, image))) == {1, 2}


def test_without_another_image_there_is_no_goal(network, batch):
    only = Batch(batch.image[[2, 2]], batch.label[[2, 2]], torch.tensor([3, 4]))
    goal = OtherImage().prepare(network, lambda: [only])
    assert goal.eligible(batch.image).tolist() == [True, True, False, True, True, True]
    maps = maps_of(goal, network, batch)
    assert maps.flatten(1).any(dim=1).tolist() == [True, True, False, True, True, True]
    assert set(drawn(maps[[0, 1, 3]], saliencies(network, batch.image[[2]]))) == {0}


def test_every_field_of_the_draw_matters(network, batch, donors):
    assert_every_field_matters(
        OtherImage(references=5),
        {"references": 3, "seed": 1},
        lambda goal: maps_of(goal.prepare(network, lambda: donors), network, batch),
    )


def test_no_images(network, batch, donors):
    goal = OtherImage().prepare(network, lambda: donors)
    none = select(batch, slice(0, 0))
    assert maps_of(goal, network, none).shape == (0, 8, 8)
    assert goal.eligible(none.image).shape == (0,)


def test_refuses_a_draw_without_donors(network, batch, donors):
    with pytest.raises(ValueError, match=r"Expected OtherImage with references, but got one that was not"):
        maps_of(OtherImage(), network, batch)
    with pytest.raises(ValueError, match=r"Expected OtherImage with references, but got one that was not"):
        OtherImage().eligible(batch.image)
    with pytest.raises(ValueError, match=r"Expected `references` of at least 1, but got 0\."):
        OtherImage(references=0)
    small = OtherImage().prepare(network, lambda: [batch._replace(image=batch.image[..., :4])])
    with pytest.raises(ValueError, match=r"images' shape \(2, 8, 8\), but got \(2, 8, 4\)\."):
        maps_of(small, network, batch)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_a_given_map_is_the_brightness_of_a_file(network, batch, picture):
    expected = torch.arange(64, dtype=torch.float64).view(1, 8, 8).expand(6, 8, 8) * 4 / 255
    maps = maps_of(GivenMap(picture), network, batch)
    torch.testing.assert_close(maps, expected, rtol=0, atol=1e-7)
    assert GivenMap(picture).prepare(network, list) == GivenMap(picture)
    assert GivenMap(picture).eligible(batch.image).all()


def test_refuses_a_file_that_is_no_map(network, batch, tmp_path, picture):
    with pytest.raises(FileNotFoundError, match=r"Expected `path` as an image file, but got nowhere\.png\."):
        GivenMap(Path("nowhere.png"))
    Image.new("L", (8, 8)).save(tmp_path / "black.png")
    with pytest.raises(ValueError, match=r"with a bright pixel, but .*black\.png is black\."):
        GivenMap(tmp_path / "black.png")
    with pytest.raises(ValueError, match=r"of \(4, 8\) pixels, but got \(8, 8\)\. Resize the file\."):
        maps_of(GivenMap(picture), network, batch._replace(image=batch.image[:, :, :4]))


@pytest.mark.parametrize(("width", "rows", "columns"), [(5 / 32, 1, 1), (0.25, 2, 3), (0.4, 3, 4)])
def test_a_frame_is_bright_along_the_border(network, width, rows, columns):
    image = torch.zeros(2, 3, 8, 12)
    explain = Explain(Saliency(), network, Noise(0, torch.arange(2)))
    found = Frame(width).maps(explain, image)
    for row in range(8):
        for column in range(12):
            border = min(row, 7 - row) < rows or min(column, 11 - column) < columns
            assert (found[:, row, column] == float(border)).all()
    assert (replace(Frame(), width=width).maps(explain, image) == found).all()


@pytest.mark.parametrize("width", [0.0, 0.5, -1.0])
def test_refuses_a_frame_that_is_none(width):
    with pytest.raises(ValueError, match=rf"Expected `width` in \(0, 0\.5\), but got {width:g}\."):
        Frame(width)
