import gzip
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from lit_xai.data import fashion_mnist
from lit_xai.data.fashion_mnist import FashionMNIST, read_originals

TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
TEST_IMAGES, TEST_LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


def idx(array: np.ndarray) -> bytes:
    """Return the bytes of an IDX file: two zeros, type 8 for bytes, dimensions, sizes, values."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def tiny(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    return (
        generator.integers(0, 256, (size, 28, 28), dtype=np.uint8),
        generator.integers(0, 10, size, dtype=np.uint8),
    )


TRAIN, TEST = tiny(20, 0), tiny(7, 1)


def write(directory: Path, zipped: bool = False) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in {
        TRAIN_IMAGES: TRAIN[0],
        TRAIN_LABELS: TRAIN[1],
        TEST_IMAGES: TEST[0],
        TEST_LABELS: TEST[1],
    }.items():
        path = directory / (f"{name}.gz" if zipped else name)
        path.write_bytes(gzip.compress(idx(array), mtime=0) if zipped else idx(array))
    return directory


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Leave neither Debian's files nor a `data` directory to be found."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(fashion_mnist, "_DEBIAN", tmp_path / "debian")


@pytest.fixture
def six(monkeypatch):
    """Validate on 6 images."""
    monkeypatch.setattr(fashion_mnist, "_VALIDATION", 6)


@pytest.fixture
def downloads(monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "FashionMNIST", lambda *args, **options: calls.append((args, options)))
    return calls


def test_validation_takes_the_first_5000(tmp_path):
    pixels = np.arange(5003).astype(np.uint8).reshape(-1, 1, 1)
    (tmp_path / TRAIN_IMAGES).write_bytes(idx(pixels))
    (tmp_path / TRAIN_LABELS).write_bytes(idx(pixels.ravel() % 10))
    data = FashionMNIST(data_dir=tmp_path)
    assert np.array_equal(data.images("val").pixels.squeeze().numpy(), pixels[:5000].ravel())
    assert data.images("train").pixels.flatten().tolist() == [5000 % 256, 5001 % 256, 5002 % 256]


@pytest.mark.parametrize("zipped", [False, True])
def test_reads_the_original_files(tmp_path, zipped):
    directory = write(tmp_path / "files", zipped)
    for split, (images, labels) in {"train": TRAIN, "test": TEST}.items():
        found = read_originals(directory, split)
        assert np.array_equal(found[0], images)
        assert np.array_equal(found[1], labels)
        assert found[0].dtype == found[1].dtype == np.uint8


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("folder", ["", "FashionMNIST/raw"])
def test_finds_the_files_of_any_layout(tmp_path, six, zipped, folder):
    write(tmp_path / "mine" / folder, zipped)
    data = FashionMNIST(data_dir=tmp_path / "mine")
    expected = {"train": (TRAIN, slice(6, None)), "val": (TRAIN, slice(6)), "test": (TEST, slice(None))}
    for split, ((images, labels), kept) in expected.items():
        found = data.images(split)
        assert np.array_equal(found.pixels.numpy(), images[kept, None])
        assert found.labels.tolist() == labels[kept].tolist()


def test_torchvision_reads_the_same(tmp_path):
    write(tmp_path / "FashionMNIST" / "raw")
    images = FashionMNIST(data_dir=tmp_path).images("test")
    reference = datasets.FashionMNIST(tmp_path, train=False)
    assert torch.equal(images.pixels[:, 0], reference.data)
    assert torch.equal(images.labels, reference.targets)


def test_debians_files_come_before_those_in_data(tmp_path):
    write(tmp_path / "data")
    found = FashionMNIST().images("test").labels
    assert found.tolist() == TEST[1].tolist()
    write(tmp_path / "debian")
    (tmp_path / "debian" / TEST_LABELS).write_bytes(idx(9 - TEST[1]))
    assert FashionMNIST().images("test").labels.tolist() == (9 - TEST[1]).tolist()
    assert FashionMNIST(data_dir=tmp_path / "data").images("test").labels.tolist() == TEST[1].tolist()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_limits_keep_the_first_images_and_positions_count_within_the_split(tmp_path, six, split):
    data = FashionMNIST(data_dir=write(tmp_path / "files"), eval_batch_size=2, **{f"max_{split}": 4})
    images, labels = {"train": (TRAIN[0][6:], TRAIN[1][6:]), "val": TRAIN, "test": TEST}[split]
    batches = list(data.evaluation_loader(split))
    assert torch.cat([batch.sample_id for batch in batches]).tolist() == [0, 1, 2, 3]
    assert torch.cat([batch.label for batch in batches]).tolist() == labels[:4].tolist()
    found = torch.cat([batch.image for batch in batches])
    torch.testing.assert_close(found, torch.from_numpy(images[:4, None]) / 255, rtol=0, atol=1e-7)


def test_the_options_are_kept_for_the_checkpoint(tmp_path):
    data = FashionMNIST(data_dir=tmp_path, batch_size=3, max_test=9, donor_split="val", seed=2)
    assert dict(data.hparams) == {
        "data_dir": tmp_path,
        "download": False,
        "batch_size": 3,
        "eval_batch_size": 256,
        "max_train": None,
        "max_val": None,
        "max_test": 9,
        "num_workers": 0,
        "donor_split": "val",
        "seed": 2,
    }


def refusal(directory: Path) -> str:
    with pytest.raises(ValueError, match="Expected") as found:
        read_originals(directory, "train")
    message = str(found.value)
    assert message.count("Expected ") == 1
    assert message.count(", but got ") == 1
    return message


GOOD = gzip.compress(idx(TRAIN[0]), mtime=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (TRAIN_IMAGES, idx(TRAIN[0])[:-1]),
        (TRAIN_IMAGES, idx(TRAIN[0]) + b"\0"),
        (TRAIN_IMAGES, idx(TRAIN[0])[:9]),
        (TRAIN_IMAGES, b""),
        (TRAIN_IMAGES, b"\0\0"),
        (TRAIN_IMAGES, b"<html>Not found</html>"),
        (f"{TRAIN_IMAGES}.gz", GOOD[:-1000]),
        (f"{TRAIN_IMAGES}.gz", GOOD[:-4]),
        (f"{TRAIN_IMAGES}.gz", b""),
        (f"{TRAIN_IMAGES}.gz", b"<html>Not found</html>"),
        (f"{TRAIN_IMAGES}.gz", idx(TRAIN[0])),
        (f"{TRAIN_IMAGES}.gz", GOOD[:10] + b"\xff" * 200 + GOOD[210:]),
        (f"{TRAIN_IMAGES}.gz", GOOD[:-8] + b"\0" * 8),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path, name, content):
    directory = write(tmp_path / "files", zipped=name.endswith(".gz"))
    (directory / name).write_bytes(content)
    message = refusal(directory)
    assert message.startswith("Expected an IDX file of bytes, but got ")
    assert str(directory / name) in message
    assert message.endswith("Fetch it again.")


def test_images_and_labels_must_belong_together(tmp_path):
    directory = write(tmp_path / "files")
    (directory / TRAIN_LABELS).write_bytes(idx(TRAIN[1][:-1]))
    assert refusal(directory) == "Expected a label for each image, but got (19,) and (20, 28, 28)."
    (directory / TRAIN_IMAGES).write_bytes(idx(TRAIN[1]))
    (directory / TRAIN_LABELS).write_bytes(idx(TRAIN[1]))
    assert refusal(directory) == "Expected a label for each image, but got (20,) and (20,)."


def test_a_missing_file_is_named(tmp_path):
    directory = write(tmp_path / "files")
    (directory / TRAIN_LABELS).unlink()
    message = f"Expected {TRAIN_LABELS} or {TRAIN_LABELS}.gz in {directory}, but got neither. Set `data_dir`."
    with pytest.raises(FileNotFoundError, match=re.escape(message)):
        FashionMNIST(data_dir=directory).setup("fit")


def test_a_missing_directory_is_refused_with_the_remedy(tmp_path):
    mine = tmp_path / "mine"
    with pytest.raises(FileNotFoundError) as found:
        FashionMNIST(data_dir=mine).setup("fit")
    assert str(found.value) == (
        f"Expected {TRAIN_IMAGES} in {mine / 'FashionMNIST/raw'} or {mine}, but got no such file. "
        "Set `data_dir`, or `download`, or install Debian's package dataset-fashion-mnist."
    )
    with pytest.raises(
        FileNotFoundError, match=f"in {tmp_path / 'debian'} or data/FashionMNIST/raw or data, but"
    ):
        FashionMNIST().setup("test")


def test_nothing_is_downloaded_unless_asked_for(tmp_path, downloads):
    data = FashionMNIST(data_dir=write(tmp_path / "files"))
    data.prepare_data()
    data.setup("validate")
    data.setup("test")
    FashionMNIST().prepare_data()
    assert downloads == []


def test_a_download_goes_where_the_files_are_then_read(tmp_path, downloads):
    FashionMNIST(data_dir=tmp_path / "mine", download=True).prepare_data()
    FashionMNIST(download=True).prepare_data()
    assert downloads == [((tmp_path / "mine",), {"download": True}), ((Path("data"),), {"download": True})]
    write(tmp_path / "data" / "FashionMNIST" / "raw")
    # Debian's files are not what was asked for.
    write(tmp_path / "debian")
    (tmp_path / "debian" / TEST_LABELS).write_bytes(idx(9 - TEST[1]))
    assert FashionMNIST(download=True).images("test").labels.tolist() == TEST[1].tolist()
