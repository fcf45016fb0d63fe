import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.stats import ks_2samp
from torchvision.transforms import RandomResizedCrop, functional

from lit_xai.data.pictures import CroppedPictures, Pictures, random_box
from lit_xai.models.preprocessing import Preprocessing
from lit_xai.noise import Noise

AS_THEY_ARE = Preprocessing(8, 8, "nearest")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    generator = np.random.default_rng(0)
    for number in range(4):
        pixels = generator.integers(0, 256, (8 + number, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def pictures(folder):
    return Pictures(sorted(map(str, folder.glob("*.png"))), torch.tensor([0, 0, 1, 1]), AS_THEY_ARE)


def test_a_sample_has_pixels_label_and_position(pictures):
    image, label, sample_id = pictures[2]
    with Image.open(pictures.paths[2]) as picture:
        expected = np.array(AS_THEY_ARE(picture.convert("RGB"))).transpose(2, 0, 1) / np.float32(255)
    assert np.array_equal(image.numpy(), expected)
    assert (label.item(), label.dtype, sample_id.item(), sample_id.dtype) == (1, torch.int64, 2, torch.int64)


def test_selected_pictures_are_numbered_anew(pictures):
    chosen = pictures.select([3, 0])
    assert [Path(path).name for path in chosen.paths] == ["3.png", "0.png"]
    assert chosen.labels.tolist() == [1, 0]
    assert torch.equal(chosen[0].image, pictures[3].image)
    assert chosen[0].sample_id.item() == 0


def test_the_digest_is_that_of_bytes_order_labels_and_preprocessing(pictures, tmp_path):
    digest = hashlib.sha256(repr(AS_THEY_ARE).encode())
    for path in pictures.paths:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    digest.update(pictures.labels.numpy().tobytes())
    assert pictures.digest() == digest.hexdigest()
    renamed = tmp_path / "other name.png"
    renamed.write_bytes(Path(pictures.paths[0]).read_bytes())
    same = Pictures([str(renamed), *pictures.paths[1:]], pictures.labels, AS_THEY_ARE)
    assert same.digest() == pictures.digest()
    renamed.write_bytes(renamed.read_bytes() + b"\0")
    others = [
        Pictures([str(renamed), *pictures.paths[1:]], pictures.labels, AS_THEY_ARE),
        pictures.select([1, 0, 2, 3]),
        pictures.first(3),
        Pictures(pictures.paths, torch.tensor([0, 1, 1, 1]), AS_THEY_ARE),
        Pictures(pictures.paths, pictures.labels, Preprocessing(8, 9, "nearest")),
    ]
    assert len({pictures.digest(), *(other.digest() for other in others)}) == 6


def test_the_digest_takes_a_few_files_at_a_time(pictures, monkeypatch):
    sizes, whole = [], ThreadPoolExecutor.map
    monkeypatch.setattr("lit_xai.data.pictures._AT_ONCE", 3)
    monkeypatch.setattr(
        ThreadPoolExecutor,
        "map",
        lambda pool, work, paths: [sizes.append(len(paths)), *whole(pool, work, paths)][1:],
    )
    again = pictures.select(range(4)).digest()
    monkeypatch.undo()
    assert sizes == [3, 1]
    assert again == pictures.digest()


def test_the_digest_of_a_missing_file_names_it(pictures):
    lost = Pictures([str(Path(pictures.paths[0]).with_name("lost.png"))], pictures.labels[:1], AS_THEY_ARE)
    with pytest.raises(FileNotFoundError, match=r"^Expected a picture, but got \S*lost\.png"):
        lost.digest()


def test_a_random_part_keeps_to_its_bounds_and_reaches_them():
    boxes = [random_box(600, 400, Noise(0, torch.tensor([index]))) for index in range(800)]
    left, top, width, height = np.array(boxes).T
    assert max(left.min(), top.min()) <= 1
    assert ((left + width).max(), (top + height).max()) in ((600, 400), (600, 399), (599, 400))
    share, ratio = width * height / 240000, width / height
    assert 0.075 < share.min() < 0.1
    assert 0.85 < share.max() <= 1
    assert 0.745 < ratio.min() < 0.76
    assert 1.32 < ratio.max() < 1.345
    # Where a part may lie, each place is as likely.
    small = width < 300
    places = left[small] / (600 - width[small]), top[small] / (400 - height[small])
    assert abs(places[0].mean() - 0.5) < 0.03
    assert abs(np.corrcoef(places)[0, 1]) < 0.1
    torch.manual_seed(0)
    picture = torch.empty(3, 400, 600)
    drawn = [RandomResizedCrop.get_params(picture, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
    tops, lefts, heights, widths = np.array(drawn).T
    pairs = ((share, widths * heights / 240000), (ratio, widths / heights), (left, lefts), (top, tops))
    for found, reference in pairs:
        assert ks_2samp(found, reference).statistic < 0.055


def test_a_part_may_lie_at_every_edge():
    boxes = [random_box(6, 5, Noise(0, torch.tensor([index]))) for index in range(400)]
    for place, side in ((0, 6), (1, 5)):
        found = Counter(box[place] for box in boxes if box[place + 2] == side - 1)
        assert set(found) == {0, 1}
        assert 0.7 < found[0] / found[1] < 1.4


@pytest.mark.parametrize(("size", "side"), [((100, 2), 2), ((3, 90), 3), ((1, 1), 1)])
def test_where_no_part_fits_it_is_the_square_in_the_centre(size, side):
    boxes = Counter(random_box(*size, Noise(0, torch.tensor([index]))) for index in range(50))
    square = ((size[0] - side) // 2, (size[1] - side) // 2, side, side)
    assert boxes[square] > 30


def test_a_training_picture_is_a_part_of_the_file_before_it_is_resized(pictures):
    # What is cut out of the centre otherwise does not matter here.
    cropped = CroppedPictures(replace(pictures, preprocessing=Preprocessing(8, 10, "nearest")), seed=0)
    mirrored = 0
    for index in range(4):
        for epoch in range(8):
            image, label, sample_id = cropped[epoch, index]
            assert image.shape == (3, 8, 8)
            assert (label.item(), sample_id.item()) == (pictures.labels[index], index)
            noise = Noise(0, torch.tensor([index])).child("augmentation").child(epoch)
            left, top, width, height = random_box(12, 8 + index, noise)
            with Image.open(pictures.paths[index]) as picture:
                part = picture.crop((left, top, left + width, top + height)).resize((8, 8), 0)
            expected = functional.pil_to_tensor(part).float() / 255
            flipped = not torch.equal(image, expected)
            mirrored += flipped
            assert torch.equal(image, expected.flip(2) if flipped else expected)
    assert 8 < mirrored < 24


def test_the_draws_belong_to_seed_epoch_and_sample(pictures):
    first = CroppedPictures(pictures, seed=0)
    assert torch.equal(first[1, 2].image, CroppedPictures(pictures, seed=0)[1, 2].image)
    others = [first[0, 2], CroppedPictures(pictures, seed=1)[1, 2]]
    assert not any(torch.equal(first[1, 2].image, other.image) for other in others)
    assert len(first) == 4
