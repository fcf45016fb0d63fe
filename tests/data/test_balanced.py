import tracemalloc

import numpy as np
import pytest
import torch
from skimage import transform
from torch.utils.data import DistributedSampler

from lit_xai.data.balanced import (
    Balanced,
    _sampled,
    check_per_class,
    equalized,
    homography,
    same_order,
    warped,
)
from lit_xai.data.images import Images
from lit_xai.noise import Noise


def reference(channel: np.ndarray) -> np.ndarray:
    """Equalise as OpenCV's `equalizeHist` is written: a loop over the grey values."""
    counts = [int((channel == value).sum()) for value in range(256)]
    first = next(value for value in range(256) if counts[value])
    if counts[first] == channel.size:
        return channel
    scale = np.float32(255) / np.float32(channel.size - counts[first])
    table, below = np.zeros(256), 0
    for value in range(first + 1, 256):
        below += counts[value]
        table[value] = min(max(round(float(np.float32(below) * scale)), 0), 255)
    return table[channel].astype(np.uint8)


@pytest.mark.parametrize("shape", [(4, 3, 32, 32), (2, 1, 7, 5)])
@pytest.mark.parametrize("highest", [256, 12, 2])
def test_histograms_are_equalised_as_opencv_does_it(shape, highest):
    pixels = np.random.default_rng(highest).integers(0, highest, shape, dtype=np.uint8)
    expected = np.stack([reference(channel) for channel in pixels.reshape(-1, *shape[2:])]).reshape(shape)
    found = equalized(torch.from_numpy(pixels))
    assert found.dtype == torch.uint8
    assert np.array_equal(found.numpy(), expected)
    assert (found.amin().item(), found.amax().item()) == (0, 255)


def test_a_channel_of_one_value_stays():
    assert torch.equal(equalized(torch.full((1, 3, 4, 4), 7, dtype=torch.uint8)).unique(), torch.tensor([7]))


def test_a_homography_takes_four_points_to_four_others():
    first = torch.tensor([[0.0, 0], [1, 9], [8, 7], [9, -1]])
    second = torch.tensor([[1.0, 1], [0, 10], [10, 10], [10, 0]])
    found = homography(first, second)
    points = found @ torch.cat([first.double(), torch.ones(4, 1)], 1).T
    torch.testing.assert_close((points[:2] / points[2]).T, second.double(), rtol=0, atol=1e-9)
    assert torch.equal(homography(second, second).round(decimals=9), torch.eye(3, dtype=torch.float64))


def test_a_warped_image_keeps_to_eight_bits_and_edges_go_on():
    for index in range(40):
        noise = Noise(0, torch.tensor([index]))
        image = warped(torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(index)), noise)
        assert image.shape == (3, 24, 24)
        # Bytes: what is outside [0, 1] would come back as something else.
        assert torch.equal(image, (image * 255).round().to(torch.uint8) / 255)
    # Of a white image only the shift brings in black, at the edges.
    white = torch.ones(1, 40, 40)
    dark = torch.stack([warped(white, Noise(0, torch.tensor([index]))) for index in range(60)])
    assert dark[:, :, 18:22, 18:22].min() >= 254 / 255
    assert dark.min() == 0
    assert 0 < (dark < 0.5).float().mean() < 0.15


def test_a_point_moves_by_as_much_as_published():
    """A dot in the centre is shifted by up to 2.5 pixels, and moved by the corners, evenly to all sides."""
    image = torch.zeros(1, 65, 65)
    image[:, 31:34, 31:34] = 1
    rows = torch.arange(65.0)
    centers = []
    for index in range(200):
        found = warped(image, Noise(0, torch.tensor([index])))[0]
        centers.append([(found.sum(axis) * rows).sum() / found.sum() - 32 for axis in (0, 1)])
    moved = torch.tensor(centers)
    assert moved.mean(0).abs().max() < 0.6
    assert moved.std(0).min() > 1.5
    assert moved.std(0).max() < 5
    assert 12 < moved.abs().max() < 25


def test_a_part_is_taken_as_scikit_image_takes_it():
    image = torch.rand(1, 30, 30, generator=torch.Generator().manual_seed(0))
    corners = torch.tensor([[0.0, 0], [0, 30], [30, 30], [30, 0]])
    moved = corners + torch.tensor([[2.0, -3], [4, 1], [-5, 2], [3, 6]])
    matrix = homography(moved, corners)
    expected = transform.ProjectiveTransform(matrix.numpy())
    for fill, mode in (("border", "edge"), ("zeros", "constant")):
        reference = transform.warp(image[0].double().numpy(), expected, order=1, mode=mode)
        np.testing.assert_allclose(_sampled(image, matrix, fill)[0], reference, atol=1e-4)


def test_a_warped_image_is_that_of_scikit_image():
    """The published program: turned, shifted, seen from aside, each by scikit-image."""
    height, width = 24, 30
    corners = np.array([[0, 0], [0, height], [width, height], [width, 0]])
    differences = []
    for index in range(20):
        noise = Noise(3, torch.tensor([index]))
        image = torch.rand(3, height, width, generator=torch.Generator().manual_seed(index))
        draws = noise.child("warp").uniform(torch.empty(1, 12, dtype=torch.float64), -1, 1)[0].numpy()
        expected = transform.rotate(image.permute(1, 2, 0).double().numpy(), 15 * draws[0], mode="edge")
        shift = transform.AffineTransform(translation=2.5 * draws[1:3])
        expected = transform.warp(expected, shift, order=1, mode="constant", clip=False)
        reach = 0.3 * height * 0.8 * (draws[3] + 1) / 2
        moved = corners + reach * draws[4:].reshape(4, 2)
        aside = transform.estimate_transform("projective", moved, corners)
        expected = np.floor(transform.warp(expected, aside, order=1, mode="edge") * 255).transpose(2, 0, 1)
        differences.append(np.abs(warped(image, noise).numpy() * 255 - expected))
    # In single precision a number may fall below a whole one.
    assert np.max(differences) < 1.01
    assert np.sum(np.array(differences) > 0.5) <= 5


def test_lines_turn_by_up_to_fifteen_degrees(monkeypatch):
    angles = []
    for index in range(200):
        draws = torch.zeros(1, 12, dtype=torch.float64)
        draws[0, 0] = Noise(1, torch.tensor([index])).uniform(torch.empty(1), -1, 1)
        # No shift, and corners that stay.
        draws[0, 3] = -1
        monkeypatch.setattr(Noise, "uniform", lambda self, like, low=0, high=1, draws=draws: draws)
        image = torch.zeros(1, 41, 41)
        image[:, 20] = 1
        found = warped(image, Noise(0, torch.tensor([0])))[0]
        monkeypatch.undo()
        height = (found * torch.arange(41.0)[:, None]).sum(0) / found.sum(0)
        angle = torch.rad2deg(torch.atan((height[30] - height[10]) / 20)).item()
        assert angle == pytest.approx(-15 * draws[0, 0].item(), abs=0.6)
        angles.append(angle)
    assert min(angles) < -14
    assert max(angles) > 14


def tiny(counts=(3, 1, 5)) -> Images:
    labels = np.repeat(np.arange(len(counts)), counts)
    pixels = np.random.default_rng(0).integers(0, 200, (len(labels), 3, 8, 8), dtype=np.uint8)
    return Images.from_bytes(pixels, labels)


def test_less_than_one_image_of_a_class_is_refused():
    check_per_class(None)
    check_per_class(1)
    with pytest.raises(ValueError, match=r"^Expected `per_class` of at least 1, but got 0\. Leave it out"):
        check_per_class(0)


def test_every_class_is_filled_up_by_copies_of_its_images_in_turn():
    images = tiny()
    balanced = Balanced(images, per_class=4, seed=0)
    assert balanced.labels.bincount().tolist() == [4, 4, 5]
    assert len(balanced) == 13
    assert balanced.source.tolist() == [*range(9), 0, 3, 3, 3]
    assert Balanced(images, per_class=7, seed=0).source[9:].tolist() == [0, 1, 2, 0, *[3] * 6, 4, 5]
    for index in range(9):
        assert torch.equal(balanced[index].image, images[index].image)
    for index in range(9, 13):
        image, label, sample_id = balanced[index]
        assert (label.item(), sample_id.item()) == (balanced.labels[index], index)
        expected = warped(images[int(balanced.source[index])].image, Noise(0, torch.tensor([index])))
        assert torch.equal(image, expected)
        assert torch.equal(image, Balanced(images, per_class=4, seed=0)[index].image)
        assert not torch.equal(image, Balanced(images, per_class=4, seed=1)[index].image)
    assert not torch.equal(balanced[11].image, balanced[12].image)


def test_copies_are_equalised_after_they_are_warped():
    images = tiny()
    plain, even = Balanced(images, 4, seed=0), Balanced(images, 4, seed=0, equalize=True)
    for index in (2, 10):
        bytes_ = (plain[index].image * 255).round().byte()
        assert torch.equal(even[index].image, equalized(bytes_).float() / 255)


def test_the_order_is_drawn_and_shared_out_as_the_other():
    balanced = Balanced(tiny(), per_class=4, seed=0)
    orders = [DistributedSampler(tiny(), 2, rank, seed=5, drop_last=True) for rank in (0, 1)]
    shares = [list(same_order(balanced, order)) for order in orders]
    assert [len(share) for share in shares] == [6, 6]
    assert len({*shares[0], *shares[1]}) == 12
    assert same_order(balanced, orders[1]).seed == 5


def test_ten_thousand_images_a_class_take_no_memory_of_their_own():
    balanced = Balanced(tiny((2,) * 43), per_class=10_000, seed=0)
    tracemalloc.start()
    assert len(balanced) == 430_000
    for index in (0, 200_000, 429_999):
        assert balanced[index].image.shape == (3, 8, 8)
    _, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Tensors are not traced; one position for each image is all that is kept of it.
    kept = sum(value.nbytes for value in vars(balanced).values() if isinstance(value, torch.Tensor))
    assert kept == 430_000 * 8
    assert highest < 1e6
