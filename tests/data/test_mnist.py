import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision import datasets

from lit_xai.data import fashion_mnist
from lit_xai.data.mnist import MNIST
from tests.data.test_fashion_mnist import TEST, TEST_IMAGES, TRAIN, TRAIN_IMAGES, idx, write


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_validation_takes_the_first_5000(tmp_path):
    pixels = np.arange(5003).astype(np.uint8).reshape(-1, 1, 1)
    (tmp_path / TRAIN_IMAGES).write_bytes(idx(pixels))
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(pixels.ravel() % 10))
    data = MNIST(data_dir=tmp_path)
    assert np.array_equal(data.images("val").pixels.squeeze().numpy(), pixels[:5000].ravel())
    assert data.images("train").pixels.flatten().tolist() == [5000 % 256, 5001 % 256, 5002 % 256]
    assert data.num_classes == 10


@pytest.mark.parametrize("folder", ["data", "data/MNIST/raw", "mine", "mine/MNIST/raw"])
@pytest.mark.parametrize("zipped", [False, True])
def test_finds_the_files_of_any_layout(tmp_path, monkeypatch, folder, zipped):
    monkeypatch.setattr(fashion_mnist, "_VALIDATION", 6)
    write(tmp_path / folder, zipped)
    data = MNIST(data_dir=Path("mine") if "mine" in folder else None)
    expected = {"train": (TRAIN, slice(6, None)), "val": (TRAIN, slice(6)), "test": (TEST, slice(None))}
    for split, ((images, labels), kept) in expected.items():
        batch = next(iter(data.evaluation_loader(split)))
        torch.testing.assert_close(batch.image, torch.from_numpy(images[kept, None]) / 255, rtol=0, atol=1e-7)
        assert batch.label.tolist() == labels[kept].tolist()
        assert batch.sample_id.tolist() == list(range(len(labels[kept])))


def test_torchvision_reads_the_same(tmp_path):
    write(tmp_path / "MNIST" / "raw")
    images, reference = MNIST(data_dir=tmp_path).images("test"), datasets.MNIST(tmp_path, train=False)
    assert torch.equal(images.pixels[:, 0], reference.data)
    assert torch.equal(images.labels, reference.targets)


def test_fashion_mnists_files_are_not_taken_for_digits(tmp_path):
    write(tmp_path / "data" / "FashionMNIST" / "raw")
    message = (
        f"Expected {TRAIN_IMAGES} in data/MNIST/raw or data, but got no such file. "
        "Set `data_dir`, or `download`."
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        MNIST().setup("fit")


def test_a_damaged_file_is_refused_by_name(tmp_path):
    path = write(tmp_path / "mine") / TEST_IMAGES
    path.write_bytes(idx(TEST[0])[:-1])
    with pytest.raises(
        ValueError, match=rf"Expected an IDX file of bytes, but got {path}: .*Fetch it again\.$"
    ):
        MNIST(data_dir=tmp_path / "mine").setup("test")


def test_downloads_only_if_asked_and_where_the_files_are_read(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "MNIST", lambda *args, **options: calls.append((args, options)))
    MNIST().prepare_data()
    assert calls == []
    MNIST(download=True).prepare_data()
    MNIST(data_dir=tmp_path, download=True).prepare_data()
    assert calls == [((Path("data"),), {"download": True}), ((tmp_path,), {"download": True})]
