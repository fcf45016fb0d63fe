import hashlib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from lit_xai.data import embedded_fashion
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.data.fashion_mnist import read_originals

SIZES = {"train": 5000, "val": 500, "test": 1000}
FILE = Path(str(files("lit_xai.data") / "embedded_fashion.npz"))
ORIGINALS = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture(scope="module")
def arrays() -> dict[str, np.ndarray]:
    return dict(np.load(FILE))


@pytest.fixture(scope="module")
def data() -> EmbeddedFashion:
    return EmbeddedFashion()


def test_the_file_is_the_published_one():
    digest = hashlib.sha256(FILE.read_bytes()).hexdigest()
    assert digest == "1b3156d31b32e62f32ac5d0690dc163c71a80326ecc47a657222b0f27bfaa23e"


@pytest.mark.parametrize("split", SIZES)
def test_every_prefix_of_tens_holds_the_classes_evenly(data, split):
    labels = data.images(split).labels
    assert len(labels) == SIZES[split]
    assert torch.equal(
        labels.view(-1, 10).sort(dim=1).values, torch.arange(10).expand(SIZES[split] // 10, 10)
    )


@pytest.mark.parametrize("split", SIZES)
def test_the_images_are_those_of_the_file(data, arrays, split):
    images = data.images(split)
    assert images.pixels.shape == (SIZES[split], 1, 28, 28)
    assert np.array_equal(images.pixels[:, 0].numpy(), arrays[f"{split}_images"])
    assert np.array_equal(images.labels.numpy(), arrays[f"{split}_labels"])
    assert (images.pixels.float().flatten(1).std(dim=1) > 1).all()


def test_no_image_is_in_two_splits(arrays):
    positions = {split: set(arrays[f"{split}_positions"].tolist()) for split in SIZES}
    contents = {split: {image.tobytes() for image in arrays[f"{split}_images"]} for split in SIZES}
    assert [len(positions[split]) for split in SIZES] == list(SIZES.values())
    assert not positions["train"] & positions["val"]
    assert not contents["train"] & contents["val"]
    assert not contents["test"] & (contents["train"] | contents["val"])


@pytest.mark.skipif(
    not ORIGINALS.is_dir(),
    reason="compares with the 70,000 original images, which Debian's dataset-fashion-mnist installs",
)
@pytest.mark.parametrize("split", SIZES)
def test_the_images_are_the_originals(arrays, split):
    images, labels = read_originals(ORIGINALS, "test" if split == "test" else "train")
    assert len(images) == (10_000 if split == "test" else 60_000)
    positions = arrays[f"{split}_positions"]
    assert np.array_equal(arrays[f"{split}_images"], images[positions])
    assert np.array_equal(arrays[f"{split}_labels"], labels[positions])


@pytest.mark.parametrize("split", SIZES)
def test_limits_keep_the_first_images(data, split):
    cut = EmbeddedFashion(**{f"max_{split}": 30})
    assert torch.equal(cut.images(split).pixels, data.images(split).pixels[:30])
    assert all(len(cut.images(other)) == SIZES[other] for other in SIZES if other != split)


def test_the_options_reach_the_loaders():
    data = EmbeddedFashion(batch_size=40, eval_batch_size=70, max_train=100, donor_split="val", seed=3)
    batches = list(data.train_dataloader())
    assert [len(batch.label) for batch in batches] == [40, 40, 20]
    assert [len(batch.label) for batch in data.test_dataloader()][-2:] == [70, 20]
    assert sum(len(batch.label) for batch in data.donors()) == 500
    other = next(iter(EmbeddedFashion(batch_size=40, max_train=100).train_dataloader()))
    assert other.sample_id.tolist() != batches[0].sample_id.tolist()
    assert EmbeddedFashion(num_workers=2).val_dataloader().num_workers == 2


def test_the_options_are_kept_for_the_checkpoint():
    assert dict(EmbeddedFashion(max_val=50, seed=4).hparams) == {
        "batch_size": 50,
        "eval_batch_size": 256,
        "max_train": None,
        "max_val": 50,
        "max_test": None,
        "num_workers": 0,
        "donor_split": "train",
        "seed": 4,
    }


def test_there_are_ten_classes(data):
    assert data.num_classes == 10


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, damage):
    content = bytearray(FILE.read_bytes())
    content[1000] ^= 1
    damaged = bytes(content) if damage == "flipped" else FILE.read_bytes()[:-1]
    (tmp_path / FILE.name).write_bytes(damaged)
    monkeypatch.setattr(embedded_fashion, "files", lambda _: tmp_path)
    embedded_fashion._read.cache_clear()
    digest = hashlib.sha256(damaged).hexdigest()
    try:
        with pytest.raises(
            ValueError, match=f"Expected embedded images with sha256 1b31.*, but got {digest}"
        ):
            EmbeddedFashion().images("test")
    finally:
        embedded_fashion._read.cache_clear()
