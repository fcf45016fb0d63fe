import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from torchvision import datasets
from torchvision.datasets import flowers102

from lit_xai.data.balanced import Balanced
from lit_xai.data.flowers102 import Flowers102

LABELS = [77, 77, 3, 3, 3, 102, 1, 77, 1]
NUMBERS = {"train": [8, 3, 6, 1], "val": [5, 9], "test": [2, 4, 7]}
KEYS = {"train": "trnid", "val": "valid", "test": "tstid"}
# The first image of every class in the order of the classes, then the second.
ORDERS = {"train": [3, 8, 6, 1], "val": [9, 5], "test": [7, 4, 2]}


def write(directory: Path) -> Path:
    """Write 9 photographs, upright and across, with their labels and splits."""
    (directory / "jpg").mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(1, 10):
        size = (40, 60 + number) if number % 2 else (70 + number, 44)
        pixels = generator.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC)
        picture.save(directory / "jpg" / f"image_{number:05d}.jpg", quality=95)
    savemat(directory / "imagelabels.mat", {"labels": np.array([LABELS], np.uint8)})
    savemat(
        directory / "setid.mat",
        {KEYS[split]: np.array([numbers], np.uint16) for split, numbers in NUMBERS.items()},
    )
    return directory


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("flowers")
    write(root / "flowers-102")
    return root


@pytest.fixture
def own(tmp_path) -> Path:
    return write(tmp_path)


def middle(picture: Image.Image, size: int) -> np.ndarray:
    """Return the square in the centre of a picture, resized by its shorter side."""
    width, height = picture.size
    shorter = min(width, height)
    picture = picture.resize((size * width // shorter, size * height // shorter), Image.Resampling.BILINEAR)
    left, top = round((picture.width - size) / 2), round((picture.height - size) / 2)
    return np.array(picture)[top : top + size, left : left + size].transpose(2, 0, 1)


@pytest.mark.parametrize("size", [16, 40, 64])
def test_splits_classes_and_pixels_are_the_published_ones(files, size):
    data = Flowers102(data_dir=files, size=size)
    for split, order in ORDERS.items():
        assert sorted(order) == sorted(NUMBERS[split])
        (batch,) = data.evaluation_loader(split)
        pictures = [Image.open(files / f"flowers-102/jpg/image_{number:05d}.jpg") for number in order]
        expected = np.stack([middle(picture, size) for picture in pictures])
        torch.testing.assert_close(batch.image, torch.from_numpy(expected) / 255, rtol=0, atol=1e-7)
        assert batch.label.tolist() == [LABELS[number - 1] - 1 for number in order]
        assert batch.sample_id.tolist() == list(range(len(order)))


def test_images_have_128_pixels_unless_asked(files):
    assert Flowers102(data_dir=files).images("val").pixels.shape == (2, 3, 128, 128)


@pytest.mark.parametrize("split", NUMBERS)
def test_torchvision_reads_the_same_images(files, split, monkeypatch):
    # torchvision reads nothing but the published files, known by their checksums.
    monkeypatch.setattr(flowers102, "check_integrity", lambda *_: True)
    reference = datasets.Flowers102(files, split)
    found = Flowers102(data_dir=files, size=24).images(split)
    expected = {(label, middle(picture, 24).tobytes()) for picture, label in reference}
    pairs = zip(found.pixels, found.labels.tolist(), strict=True)
    assert {(label, pixels.numpy().tobytes()) for pixels, label in pairs} == expected
    assert len(found) == len(reference) == len(expected)


def test_files_outside_torchvisions_folder_are_found_and_limits_keep_the_first(files):
    data = Flowers102(data_dir=files / "flowers-102", size=8, max_train=3)
    assert data.images("train").labels.tolist() == [2, 76, 101]


def test_missing_files_are_named(own, tmp_path):
    gone = tmp_path / "gone"
    message = (
        f"Expected setid.mat in {gone / 'flowers-102'} or {gone}, but got no such file. "
        "Set `data_dir`, or `download`."
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        Flowers102(data_dir=gone).setup("fit")
    (own / "jpg" / "image_00005.jpg").unlink()
    with pytest.raises(
        FileNotFoundError, match=r"^Expected a picture, but got .*jpg/image_00005\.jpg, which does not"
    ):
        Flowers102(data_dir=own, size=8).images("val")
    (own / "imagelabels.mat").unlink()
    message = f"Expected {own / 'imagelabels.mat'}, but got no such file. Set `data_dir`, or `download`."
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        Flowers102(data_dir=own).setup("fit")


@pytest.mark.parametrize("name", ["imagelabels.mat", "setid.mat"])
@pytest.mark.parametrize("damage", ["empty", "page", "short", "other"])
def test_a_damaged_table_is_refused_by_name(own, name, damage):
    path = own / name
    content = {"empty": b"", "page": b"<html>Not found</html>" * 20, "short": path.read_bytes()[:-9]}
    if damage == "other":
        savemat(path, {"others": np.ones(3)})
    else:
        path.write_bytes(content[damage])
    with pytest.raises(
        ValueError, match=rf"^Expected a table \w+ in {path}, but got \S.*\. Fetch it again\.$"
    ) as found:
        Flowers102(data_dir=own).setup("test")
    assert "\n" not in str(found.value)


@pytest.mark.parametrize(
    ("name", "key", "values", "wrong"),
    [
        ("imagelabels.mat", "labels", [1, 103], r"labels in \[1, 102\] in .*, but got 103"),
        ("imagelabels.mat", "labels", [0, 102], r"labels in \[1, 102\] in .*, but got 0"),
        ("setid.mat", "trnid", [1, 10], r"positions in \[1, 9\] in .*, but got 10"),
        ("setid.mat", "trnid", [0], r"positions in \[1, 9\] in .*, but got 0"),
        ("setid.mat", "trnid", [], r"positions in .*, but got none"),
    ],
)
def test_numbers_out_of_range_are_refused(own, name, key, values, wrong):
    savemat(own / name, {key: np.array([values], np.int32)})
    with pytest.raises(ValueError, match=rf"^Expected {wrong}\. Fetch it again\.$"):
        Flowers102(data_dir=own, size=8).images("train")


def test_a_damaged_picture_is_refused_by_name(own):
    path = own / "jpg" / "image_00005.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(
        ValueError, match=rf"^Expected a picture, but got {path}: .*\. Fetch the data again\.$"
    ):
        Flowers102(data_dir=own, size=8).images("val")


@pytest.mark.parametrize("size", [0, -8])
def test_refuses_a_size_below_1(size):
    with pytest.raises(ValueError, match=rf"Expected `size` of at least 1, but got {size}\."):
        Flowers102(size=size)


def test_a_download_goes_where_the_files_are_read(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "Flowers102", lambda *args, **options: calls.append((args, options)))
    Flowers102(data_dir=tmp_path, download=True).prepare_data()
    assert calls == [((tmp_path,), {"download": True})]


def test_training_is_balanced_by_copies_if_asked(files):
    found = Flowers102(data_dir=files, size=16, per_class=5, seed=2, batch_size=30)
    assert len(found.images("train")) == 4
    expected = Balanced(found.images("train"), 5, seed=2)
    (batch,) = found.train_dataloader()
    counts = batch.label.bincount()
    assert set(counts[counts > 0].tolist()) == {5}
    for image, index in zip(batch.image, batch.sample_id.tolist(), strict=True):
        assert torch.equal(image, expected[index].image)
    with pytest.raises(ValueError, match="Expected `per_class` of at least 1, but got 0"):
        Flowers102(per_class=0)
