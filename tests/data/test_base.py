import hashlib
from itertools import chain
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lit_xai.data.base import ImageDataModule
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.data.images import Images
from lit_xai.types import Batch

SIZES = {"train": 24, "val": 21, "test": 13}


def tiny_images(split: str, size: int | None = None) -> Images:
    """Return images of three channels and 8 x 8 pixels; each of the four classes has a brighter quadrant."""
    generator = np.random.default_rng(list(SIZES).index(split))
    size = size or SIZES[split]
    pixels = generator.integers(0, 206, (size, 3, 8, 8), dtype=np.uint8)
    labels = generator.permutation(np.arange(size) % 4).astype(np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, 4 * (label // 2) :, 4 * (label % 2) :][:, :4, :4] += 50
    return Images.from_bytes(pixels, labels)


class TinyData(ImageDataModule):
    """Images in memory; remembers which splits were read."""

    num_classes = 4

    def __init__(
        self,
        batch_size=8,
        eval_batch_size=8,
        donor_split="train",
        seed=0,
        max_train=None,
        max_val=None,
        max_test=None,
        train_size=None,
    ):
        super().__init__(
            batch_size=batch_size,
            eval_batch_size=eval_batch_size,
            limits={"train": max_train, "val": max_val, "test": max_test},
            num_workers=0,
            donor_split=donor_split,
            seed=seed,
        )
        self.train_size = train_size
        self.reads = []

    def read(self, split):
        self.reads.append(split)
        return tiny_images(split, self.train_size if split == "train" else None)

    def on(self, world_size: int, rank: int) -> "TinyData":
        """Pretend to be one process of several."""
        self.trainer = SimpleNamespace(world_size=world_size, global_rank=rank)
        return self


def ids(loader) -> list[list[int]]:
    return [batch.sample_id.tolist() for batch in loader]


def flat(loader) -> list[int]:
    return [sample_id for batch in ids(loader) for sample_id in batch]


def test_a_sample_has_pixels_label_and_position():
    images = Images.from_bytes(
        np.array([[[[0, 51]]], [[[255, 102]]]], dtype=np.uint8), np.array([200, 9], np.uint8)
    )
    assert len(images) == 2
    image, label, sample_id = images[1]
    assert image.dtype == torch.float32
    torch.testing.assert_close(image, torch.tensor([[[1.0, 0.4]]]), rtol=0, atol=1e-7)
    assert (label.item(), label.dtype) == (9, torch.int64)
    assert (sample_id.item(), sample_id.dtype) == (1, torch.int64)
    assert images[0].label.item() == 200


def test_the_arrays_are_copied():
    pixels, labels = np.zeros((1, 1, 1, 1), np.uint8), np.zeros(1, np.int64)
    images = Images.from_bytes(pixels, labels)
    pixels += 255
    labels += 1
    assert images[0].image.item() == 0
    assert images[0].label.item() == 0


def test_the_first_samples_keep_their_positions():
    images = tiny_images("val")
    assert len(images.first(None)) == 21
    assert len(images.first(100)) == 21
    first = images.first(5)
    assert len(first) == 5
    assert torch.equal(first[4].image, images[4].image)
    assert first[4].sample_id.item() == 4


def test_batches_are_named_and_stacked():
    first = next(iter(TinyData().val_dataloader()))
    assert isinstance(first, Batch)
    images = tiny_images("val")
    assert torch.equal(first.image, images.pixels[:8].float() / 255)
    assert torch.equal(first.label, images.labels[:8])
    assert first.sample_id.tolist() == list(range(8))


def test_a_split_is_read_once_and_only_when_needed():
    data = TinyData()
    data.setup("validate")
    assert data.reads == ["val"]
    data.setup("fit")
    data.setup("test")
    assert data.reads == ["val", "train", "test"]
    for _ in range(2):
        data.setup("fit")
        list(data.train_dataloader())
        list(data.val_dataloader())
    assert data.reads == ["val", "train", "test"]


def test_limits_keep_the_first_images():
    data = TinyData(max_train=10, max_val=3, max_test=None)
    assert sorted(flat(data.train_dataloader())) == list(range(10))
    assert flat(data.val_dataloader()) == [0, 1, 2]
    assert flat(data.test_dataloader()) == list(range(13))
    assert torch.equal(data.images("train").pixels, tiny_images("train").pixels[:10])


def test_training_batches_are_shuffled_and_sized():
    batches = ids(TinyData(batch_size=10).train_dataloader())
    assert [len(batch) for batch in batches] == [10, 10, 4]
    order = [sample_id for batch in batches for sample_id in batch]
    assert sorted(order) == list(range(24))
    assert order != sorted(order)
    assert flat(TinyData(seed=0).train_dataloader()) == order
    assert flat(TinyData(seed=1).train_dataloader()) != order


@pytest.mark.parametrize("size", [24, 21])
@pytest.mark.parametrize("epoch", [0, 3])
def test_one_process_and_two_train_on_the_same_global_batches(size, epoch):
    def batches(world_size: int) -> list[set[int]]:
        shares = []
        for rank in range(world_size):
            loader = TinyData(batch_size=8, train_size=size).on(world_size, rank).train_dataloader()
            loader.sampler.set_epoch(epoch)
            shares.append(ids(loader))
        assert all(len(share[0]) == 8 // world_size for share in shares)
        return [{sample_id for part in parts for sample_id in part} for parts in zip(*shares, strict=True)]

    alone, together = batches(1), batches(2)
    assert together[:2] == alone[:2]
    assert [len(batch) for batch in together] == [8, 8, {24: 8, 21: 4}[size]]
    assert together[2] <= alone[2]


@pytest.mark.parametrize("world_size", [3, 5, 16])
def test_a_batch_that_does_not_divide_is_refused(world_size):
    message = f"Expected `batch_size` as a multiple of {world_size} processes, but got 8"
    with pytest.raises(ValueError, match=message):
        TinyData(batch_size=8).on(world_size, 0).train_dataloader()


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("max_samples", [None, 10])
def test_evaluation_covers_every_sample_once(world_size, max_samples):
    loaders = [
        TinyData(eval_batch_size=4).on(world_size, rank).evaluation_loader("val", max_samples)
        for rank in range(world_size)
    ]
    covered = [flat(loader) for loader in loaders]
    expected = flat(TinyData().evaluation_loader("val", max_samples))
    assert len(expected) == (max_samples or 21)
    assert sorted(chain(*covered)) == sorted(expected)
    assert all(share == sorted(share) for share in covered)
    assert max(map(len, covered)) - min(map(len, covered)) <= 1


def test_a_subset_is_balanced_seeded_and_named_by_the_positions_of_the_whole():
    data = TinyData()
    chosen = flat(data.evaluation_loader("val", max_samples=8, seed=0))
    assert tiny_images("val").labels[chosen].bincount().tolist() == [2, 2, 2, 2]
    batch = next(iter(data.evaluation_loader("val", max_samples=8, seed=0)))
    assert torch.equal(batch.image, tiny_images("val").pixels[batch.sample_id].float() / 255)
    assert flat(data.evaluation_loader("val", max_samples=8, seed=0)) == chosen
    assert flat(data.evaluation_loader("val", max_samples=8, seed=1)) != chosen


def test_a_subset_larger_than_the_split_is_the_split():
    assert flat(TinyData().evaluation_loader("test", max_samples=100)) == list(range(13))


def test_evaluation_batches_are_sized():
    data = TinyData(batch_size=8, eval_batch_size=9)
    assert [len(batch) for batch in ids(data.evaluation_loader("val"))] == [9, 9, 3]
    assert [len(batch) for batch in ids(data.donors())] == [9, 9, 6]
    assert [len(batch) for batch in ids(data.evaluation_loader("val", batch_size=15))] == [15, 6]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_donors_are_all_images_of_their_split_in_every_process(split):
    for world_size, rank in ((1, 0), (2, 1)):
        data = TinyData(donor_split=split).on(world_size, rank)
        for _ in range(2):
            assert flat(data.donors()) == list(range(SIZES[split]))
    assert torch.equal(next(iter(data.donors())).label, tiny_images(split).labels[:8])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "Expected `batch_size` of at least 1, but got 0"),
        ({"eval_batch_size": -1}, "Expected `eval_batch_size` of at least 1, but got -1"),
        ({"max_train": 0}, r"Expected `max_train` of at least 1, but got 0\. Leave it out for all images"),
        ({"max_val": -2}, "Expected `max_val` of at least 1, but got -2"),
        ({"max_test": 0}, "Expected `max_test` of at least 1, but got 0"),
        ({"donor_split": "valid"}, "Expected `donor_split` as train, val or test, but got valid"),
    ],
)
def test_refuses_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        TinyData(**options)


@pytest.mark.parametrize(("split", "limit"), [("train", None), ("val", None), ("test", None), ("test", 5)])
def test_the_checksum_is_that_of_pixels_and_labels(split, limit):
    images = tiny_images(split)
    pixels, labels = images.pixels[:limit].numpy(), images.labels[:limit].numpy()
    expected = hashlib.sha256(str(pixels.shape).encode() + pixels.tobytes() + labels.tobytes()).hexdigest()
    assert TinyData(**{f"max_{split}": limit}).checksum(split) == expected


def test_the_checksum_depends_on_every_pixel_label_and_size():
    data = TinyData()
    found = {data.checksum("test"), data.checksum("val"), TinyData(max_test=12).checksum("test")}
    for edit in (
        lambda images: images.pixels[12, 2, 7, 7].add_(1),
        lambda images: images.labels[12].add_(1),
        lambda images: images.pixels.resize_(13, 3, 4, 16),
    ):
        other = TinyData()
        edit(other.images("test"))
        found.add(other.checksum("test"))
    assert len(found) == 6
    assert TinyData(batch_size=4, seed=3).checksum("test") == data.checksum("test")


def test_the_checksum_is_that_of_the_order_seen():
    data = TinyData()
    images = tiny_images("val")
    # A view whose bytes lie in another order.
    data._images["val"] = Images(images.pixels.transpose(2, 3).contiguous().transpose(2, 3), images.labels)
    assert not data.images("val").pixels.is_contiguous()
    assert data.checksum("val") == TinyData().checksum("val")


def test_without_a_trainer_the_processes_are_those_of_torch(monkeypatch):
    for name, value in {"is_initialized": True, "get_world_size": 3, "get_rank": 1}.items():
        monkeypatch.setattr(torch.distributed, name, lambda value=value: value)
    assert flat(TinyData().evaluation_loader("test")) == flat(TinyData().on(3, 1).evaluation_loader("test"))
    assert flat(TinyData().on(2, 0).evaluation_loader("test")) == list(range(0, 13, 2))


@pytest.mark.parametrize(
    ("pixels", "labels", "error", "message"),
    [
        (torch.zeros(2, 1, 3, 3), torch.zeros(2).long(), TypeError, "got torch.float32 and torch.int64"),
        (torch.zeros(2, 1, 3, 3).byte(), torch.zeros(2).byte(), TypeError, "got torch.uint8 and torch.uint8"),
        (torch.zeros(2, 3, 3).byte(), torch.zeros(2).long(), ValueError, r"got \(2, 3, 3\) and \(2,\)"),
        (torch.zeros(2, 1, 3, 3).byte(), torch.zeros(3).long(), ValueError, r"got \(2, 1, 3, 3\) and \(3,\)"),
    ],
)
def test_images_of_another_kind_are_refused(pixels, labels, error, message):
    with pytest.raises(error, match=message):
        Images(pixels, labels)


class Faulty(TinyData):
    """Tiny images with other labels in one split, or other pixels in its samples."""

    def __init__(self, split: str, labels=None, pixel=None, **options):
        super().__init__(**options)
        self.faulty, self.labels, self.pixel = split, labels, pixel

    def read(self, split):
        images = super().read(split)
        if split == self.faulty and self.labels is not None:
            return Images(images.pixels[: len(self.labels)], torch.tensor(self.labels, dtype=torch.long))
        return images

    def images(self, split):
        images = super().images(split)
        return Brighter(images.pixels, images.labels) if self.pixel and split == self.faulty else images


class Brighter(Images):
    def __getitem__(self, index):
        image, label, sample_id = super().__getitem__(index)
        return Batch(image + (index == 5), label, sample_id)


@pytest.mark.parametrize(
    ("split", "labels", "message"),
    [
        ("train", [], r"^Expected images in the train split, but got none\.$"),
        ("val", [], r"^Expected images in the val split, but got none\.$"),
        ("val", [0, 1, 4], r"^Expected labels in \[0, 3\], but got 4 in sample 2 of the val split\. "),
        ("train", [0, 1, 3], r"^Expected training images of all 4 classes, but got none of class 2\. "),
    ],
)
def test_a_split_that_cannot_be_trained_on_is_refused_when_it_is_read(split, labels, message):
    with pytest.raises(ValueError, match=message):
        Faulty(split, labels).setup("fit")
    with pytest.raises(ValueError, match=message):
        Faulty(split, labels).read_ahead("fit")


def test_what_is_fetched_first_is_not_read_ahead():
    class Fetched(TinyData):
        def prepare_data(self):
            self.reads.append("fetched")

    data = Fetched()
    data.read_ahead("fit")
    assert data.reads == []


def test_an_evaluation_needs_no_image_of_every_class():
    data = Faulty("test", [0, 0, 1])
    data.setup("test")
    data.read_ahead("test")
    assert data.reads == ["test"]


def test_a_limit_that_leaves_a_class_out_is_refused():
    with pytest.raises(ValueError, match=r"of all 4 classes, but got none of class .*Raise `max_train`"):
        TinyData(max_train=3).setup("fit")


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_every_loader_refuses_pixels_out_of_range(split):
    data = Faulty(split, pixel=True, donor_split=split)
    loaders = {"train": data.train_dataloader, "val": data.val_dataloader, "test": data.test_dataloader}
    message = rf"pixels in \[0, 1\], but got 1\.\d+ in sample 5 of the {split} split"
    for loader in (loaders[split](), data.evaluation_loader(split, 20), data.donors()):
        with pytest.raises(ValueError, match=message):
            list(loader)


@pytest.mark.parametrize(
    ("running", "split"), [("training", "train"), ("validating", "val"), ("testing", "test")]
)
def test_a_loader_of_the_users_own_is_checked_before_the_transfer(running, split):
    data = TinyData()
    stages = dict.fromkeys(("training", "validating", "testing"), False)
    loaders = dict.fromkeys(("train_dataloader", "val_dataloaders", "test_dataloaders"))
    data.trainer = SimpleNamespace(**{**stages, running: True}, **loaders)
    image = torch.rand(2, 3, 8, 8)
    batch = data.on_before_batch_transfer((image, torch.tensor([0, 3]), torch.arange(2)), 0)
    assert isinstance(batch, Batch)
    with pytest.raises(ValueError, match=rf"but got 4 in sample 1 of the {split} split"):
        data.on_before_batch_transfer((image, torch.tensor([0, 4]), torch.arange(2)), 0)


@pytest.mark.parametrize("workers", [0, 2])
def test_every_loader_has_its_workers_and_keeps_them(workers):
    data = TinyData()
    data.num_workers = workers
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader(), data.donors()):
        assert (loader.num_workers, loader.persistent_workers) == (workers, workers > 0)


def test_a_number_of_workers_below_0_is_refused():
    with pytest.raises(ValueError, match="Expected `num_workers` of at least 0, but got -1"):
        EmbeddedFashion(num_workers=-1)
