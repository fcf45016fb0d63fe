import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from lit_xai.data import cifar10
from lit_xai.data.augmented import Augmented
from lit_xai.data.cifar10 import CIFAR10, read_batch
from tests.models.test_weights import Harmful

NAMES = [f"data_batch_{number}" for number in range(1, 6)]
GENERATOR = np.random.default_rng(0)
PIXELS = {name: GENERATOR.integers(0, 256, (4, 3072), dtype=np.uint8) for name in [*NAMES, "test_batch"]}
LABELS = {name: GENERATOR.integers(0, 10, 4).tolist() for name in PIXELS}


def as_python_2(pixels: np.ndarray, labels: list[int]) -> bytes:
    """Return the bytes of a batch as Python 2 pickled the original ones: strings of bytes, old names."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    def number(value: int) -> bytes:
        return b"J" + struct.pack("<i", value)

    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
        + number(0) + b"\x85" + text(b"b") + b"tR(K\x01"
        + number(pixels.shape[0]) + number(pixels.shape[1]) + b"\x86cnumpy\ndtype\n("
        + text(b"u1") + b"K\x00K\x01tR(K\x03" + text(b"|") + b"NNN" + number(-1) + number(-1) + b"K\x00tb\x89"
        b"T" + struct.pack("<i", pixels.size) + pixels.tobytes() + b"tb"
    )  # fmt: skip
    return (
        b"\x80\x02}(" + text(b"batch_label") + text(b"training batch 1 of 5") + text(b"labels")
        + b"](" + b"".join(map(number, labels)) + b"e" + text(b"data") + array
        + text(b"filenames") + b"](" + text(b"leptodactylus_pentadactylus_s_000004.png") + b"eu."
    )  # fmt: skip


def write(directory: Path) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, pixels in PIXELS.items():
        (directory / name).write_bytes(as_python_2(pixels, LABELS[name]))
    return directory


@pytest.fixture(autouse=True)
def three(tmp_path, monkeypatch):
    """Validate on 3 images, where there is no directory of data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cifar10, "_VALIDATION", 3)


def test_the_test_writes_what_python_reads():
    content = pickle.loads(as_python_2(PIXELS[NAMES[0]], LABELS[NAMES[0]]), encoding="latin1")
    assert np.array_equal(content["data"], PIXELS[NAMES[0]])
    assert content["labels"] == LABELS[NAMES[0]]


@pytest.mark.parametrize("folder", ["data", "data/cifar-10-batches-py", "mine", "mine/cifar-10-batches-py"])
def test_splits_are_cut_from_the_files_in_their_order(tmp_path, folder):
    write(tmp_path / folder)
    data = CIFAR10(data_dir=Path("mine") if "mine" in folder else None)
    pixels = np.concatenate([PIXELS[name] for name in NAMES]).reshape(20, 3, 32, 32)
    labels = [label for name in NAMES for label in LABELS[name]]
    test = PIXELS["test_batch"].reshape(4, 3, 32, 32)
    expected = {
        "train": (pixels[3:], labels[3:]),
        "val": (pixels[:3], labels[:3]),
        "test": (test, LABELS["test_batch"]),
    }
    for split, (images, classes) in expected.items():
        batch = next(iter(data.evaluation_loader(split)))
        torch.testing.assert_close(batch.image, torch.from_numpy(images) / 255, rtol=0, atol=1e-7)
        assert batch.label.tolist() == classes
        assert batch.sample_id.tolist() == list(range(len(classes)))


def test_validation_takes_the_first_5000(tmp_path, monkeypatch):
    monkeypatch.undo()
    pixels = np.zeros((5002, 3072), np.uint8)
    pixels[:, 0] = np.arange(5002) % 256
    for name in NAMES:
        first = name == NAMES[0]
        content = as_python_2(pixels if first else pixels[:1], [3] * (5002 if first else 1))
        (tmp_path / name).write_bytes(content)
    data = CIFAR10(data_dir=tmp_path)
    assert np.array_equal(data.images("val").pixels[:, 0, 0, 0].numpy(), pixels[:5000, 0])
    assert data.images("train").pixels[:, 0, 0, 0].tolist() == [5000 % 256, 5001 % 256, 0, 0, 0, 0]


def test_torchvision_reads_the_same(tmp_path, monkeypatch):
    write(tmp_path / "cifar-10-batches-py")
    # torchvision reads nothing but the published files, known by their checksums.
    monkeypatch.setattr(datasets.CIFAR10, "_check_integrity", lambda _: True)
    monkeypatch.setattr(datasets.CIFAR10, "_load_meta", lambda _: None)
    images, reference = CIFAR10(data_dir=tmp_path).images("test"), datasets.CIFAR10(tmp_path, train=False)
    assert np.array_equal(images.pixels.permute(0, 2, 3, 1).numpy(), reference.data)
    assert images.labels.tolist() == reference.targets


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_reads_what_python_3_writes(tmp_path, protocol):
    content = {"data": PIXELS[NAMES[0]], "labels": LABELS[NAMES[0]]}
    (tmp_path / "batch").write_bytes(pickle.dumps(content, protocol))
    pixels, labels = read_batch(tmp_path / "batch")
    assert np.array_equal(pixels.reshape(4, -1), PIXELS[NAMES[0]])
    assert labels == LABELS[NAMES[0]]


@pytest.mark.parametrize("inside", [False, True])
def test_refuses_code_and_does_not_run_it(tmp_path, inside):
    path, mark = tmp_path / "batch", tmp_path / "mark"
    content = {"data": PIXELS[NAMES[0]], "labels": LABELS[NAMES[0]], "more": Harmful(mark)}
    path.write_bytes(pickle.dumps(content if inside else Harmful(mark), protocol=2))
    with pytest.raises(ValueError, match=r"but got .*batch: it would call \S+\. Fetch it again\.$") as found:
        read_batch(path)
    assert "\n" not in str(found.value)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()


@pytest.mark.parametrize(
    "name", ["builtins\neval", "os\nsystem", "numpy\nload", "numpy.core.multiarray\nscalar"]
)
def test_refuses_any_other_call(tmp_path, name):
    (tmp_path / "batch").write_bytes(b"\x80\x02c" + name.encode() + b"\n.")
    with pytest.raises(ValueError, match=f"it would call {re.escape(name).replace(chr(92) + chr(10), '.')}"):
        read_batch(tmp_path / "batch")


GOOD = as_python_2(PIXELS[NAMES[0]], LABELS[NAMES[0]])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"<html>Not found</html>",
        GOOD[:-1],
        GOOD[:1000],
        as_python_2(PIXELS[NAMES[0]][:3], LABELS[NAMES[0]]),
        as_python_2(PIXELS[NAMES[0]][:, :-1], LABELS[NAMES[0]]),
        pickle.dumps([1, 2]),
        pickle.dumps({"data": PIXELS[NAMES[0]]}),
        pickle.dumps({"data": PIXELS[NAMES[0]].astype(np.int64), "labels": LABELS[NAMES[0]]}, 2),
        pickle.dumps({"data": b"pixels", "labels": [1]}),
    ],
    ids=range(10),
)
def test_a_damaged_file_is_refused_by_name(tmp_path, content):
    path = write(tmp_path) / "data_batch_3"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"^Expected .*, but got \S.*\. Fetch it again\.$") as found:
        CIFAR10(data_dir=tmp_path).setup("fit")
    assert "\n" not in str(found.value)
    assert str(path) in str(found.value)


def test_pixels_must_be_bytes_of_32_by_32_in_3_colours(tmp_path):
    path = tmp_path / "batch"
    path.write_bytes(as_python_2(PIXELS[NAMES[0]][:3], LABELS[NAMES[0]]))
    message = f"Expected 4 rows of 3072 bytes in {path}, but got uint8 of shape (3, 3072). Fetch it again."
    with pytest.raises(ValueError, match=re.escape(message)):
        read_batch(path)


@pytest.mark.parametrize("label", [10, -1])
def test_labels_of_other_data_are_refused(tmp_path, label):
    path = tmp_path / "batch"
    path.write_bytes(as_python_2(PIXELS[NAMES[0]], [0, 9, label, 0]))
    message = f"Expected labels in [0, 9] in {path}, but got {label}. Fetch it again."
    with pytest.raises(ValueError, match=re.escape(message)):
        read_batch(path)


def test_missing_files_are_named(tmp_path):
    message = (
        f"Expected data_batch_1 in {tmp_path / 'cifar-10-batches-py'} or {tmp_path}, but got no such file. "
        "Set `data_dir`, or `download`."
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        CIFAR10(data_dir=tmp_path).setup("fit")
    (write(tmp_path) / "data_batch_4").unlink()
    message = f"Expected {tmp_path / 'data_batch_4'}, but got no such file. Set `data_dir`, or `download`."
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        CIFAR10(data_dir=tmp_path).setup("fit")


def test_downloads_only_if_asked_and_where_the_files_are_read(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "CIFAR10", lambda *args, **options: calls.append((args, options)))
    CIFAR10().prepare_data()
    assert calls == []
    CIFAR10(download=True).prepare_data()
    CIFAR10(data_dir=tmp_path, download=True).prepare_data()
    assert calls == [((Path("data"),), {"download": True}), ((tmp_path,), {"download": True})]


def test_training_images_are_augmented_if_asked(tmp_path):
    options = {"data_dir": write(tmp_path), "batch_size": 20, "seed": 3}
    plain = CIFAR10(**options)
    (expected,) = plain.train_dataloader()
    assert torch.equal(expected.image, plain.images("train").pixels[expected.sample_id].float() / 255)
    data = CIFAR10(**options, augment=True)
    loader = data.train_dataloader()
    loader.sampler.set_epoch(2)
    (found,) = loader
    reference = Augmented(plain.images("train"), seed=3)
    assert sorted(found.sample_id.tolist()) == list(range(17))
    assert torch.equal(
        found.image, torch.stack([reference[2, index].image for index in found.sample_id.tolist()])
    )
    assert torch.equal(found.label, plain.images("train").labels[found.sample_id])
    (donors,) = data.donors()
    assert torch.equal(donors.image, plain.images("train").pixels.float() / 255)
