from itertools import product

import lightning.pytorch as pl
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler

from lit_xai.data.augmented import Augmented, EpochOrder, crop_and_flip
from lit_xai.data.samplers import training_order
from lit_xai.noise import Noise
from tests.data.test_base import TinyData, tiny_images

IMAGES = tiny_images("train")


class AugmentedData(TinyData):
    def for_training(self, images, order):
        return Augmented(images, self.seed), EpochOrder(order)


def crops(image: torch.Tensor, margin: int) -> dict[tuple[int, int, bool], torch.Tensor]:
    """Return every crop of an image with a black margin, by hand, as it is and mirrored."""
    height, width = image.shape[1:]
    found = {}
    for top, left in product(range(2 * margin + 1), repeat=2):
        crop = torch.zeros_like(image)
        for row, column in product(range(height), range(width)):
            from_row, from_column = row + top - margin, column + left - margin
            if 0 <= from_row < height and 0 <= from_column < width:
                crop[:, row, column] = image[:, from_row, from_column]
        found[top, left, False] = crop
        found[top, left, True] = crop[:, :, list(range(width))[::-1]]
    return found


def test_every_crop_and_its_mirror_image_comes_as_often():
    image = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = crops(image, 1)
    counts = dict.fromkeys(expected, 0)
    for sample in range(900):
        found = crop_and_flip(image, Noise(0, torch.tensor([sample])), 1)
        counts[next(key for key, crop in expected.items() if torch.equal(crop, found))] += 1
    assert len(counts) == 18
    # 50 expected of each, of standard deviation 7.
    assert min(counts.values()) >= 22
    assert max(counts.values()) <= 78


def test_a_sample_is_a_crop_with_its_label_and_position():
    dataset = Augmented(IMAGES, seed=0)
    assert len(dataset) == 24
    expected = crops(IMAGES[5].image, 4)
    found = dataset[2, 5]
    assert any(torch.equal(crop, found.image) for crop in expected.values())
    assert any(
        torch.equal(dataset[epoch, 5].image, expected[8, left, mirrored])
        for epoch in range(40)
        for left in range(9)
        for mirrored in (False, True)
    )
    assert (found.label.item(), found.sample_id.item()) == (IMAGES[5].label.item(), 5)


def test_no_margin_leaves_the_mirror():
    dataset = Augmented(IMAGES, seed=0, margin=0)
    mirrored = [torch.equal(dataset[0, index].image, IMAGES[index].image.flip(2)) for index in range(24)]
    kept = [torch.equal(dataset[0, index].image, IMAGES[index].image) for index in range(24)]
    assert [one != other for one, other in zip(mirrored, kept, strict=True)] == [True] * 24
    assert 5 < sum(mirrored) < 19


def test_seed_epoch_and_sample_decide_and_nothing_else():
    def draws(seed, epoch, order=range(24)):
        torch.manual_seed(len(list(order)))
        dataset = Augmented(IMAGES, seed)
        return {index: dataset[epoch, index].image for index in order}

    first, again = draws(0, 0), draws(0, 0, order=(7, 3, 20))
    assert all(torch.equal(again[index], first[index]) for index in (7, 3, 20))
    for other in (draws(1, 0), draws(0, 1)):
        assert sum(torch.equal(other[index], first[index]) for index in first) <= 3


@pytest.mark.parametrize("world_size", [1, 5])
def test_the_order_of_an_epoch_comes_with_its_number(world_size):
    plain = training_order(IMAGES, world_size, world_size - 1, 7)
    order = EpochOrder(training_order(IMAGES, world_size, world_size - 1, 7))
    assert isinstance(order, DistributedSampler)
    for epoch in (0, 4):
        plain.set_epoch(epoch)
        order.set_epoch(epoch)
        assert list(order) == [(epoch, index) for index in plain]
        assert len(order) == len(plain) == 24 // world_size


def test_an_order_that_has_begun_keeps_its_epoch():
    order = EpochOrder(training_order(IMAGES, 1, 0, 0))
    begun = iter(order)
    order.set_epoch(1)
    assert {epoch for epoch, _ in begun} == {0}


def by_sample(loader: DataLoader) -> dict[int, torch.Tensor]:
    return {
        sample_id: image
        for batch in loader
        for sample_id, image in zip(batch.sample_id.tolist(), batch.image, strict=True)
    }


def test_workers_and_processes_do_not_change_an_image():
    alone = AugmentedData()
    shares = [AugmentedData(batch_size=4).on(2, rank) for rank in (0, 1)]
    shares[1].num_workers = 1
    loaders = [data.train_dataloader() for data in (alone, *shares)]
    epochs = []
    for epoch in (0, 1):
        for loader in loaders:
            loader.sampler.set_epoch(epoch)
        whole, *parts = map(by_sample, loaders)
        together = {**parts[0], **parts[1]}
        assert whole.keys() == together.keys() == set(range(24))
        assert all(torch.equal(whole[index], together[index]) for index in whole)
        epochs.append(whole)
    assert not all(torch.equal(epochs[0][index], epochs[1][index]) for index in range(24))


class Recorder(pl.LightningModule):
    """Remember what training sees."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.seen: list[dict[int, torch.Tensor]] = []

    def on_train_epoch_start(self):
        self.seen.append({})

    def training_step(self, batch):
        self.seen[-1].update(zip(batch.sample_id.tolist(), batch.image, strict=True))

    def configure_optimizers(self):
        return None


@pytest.mark.filterwarnings("ignore")
def test_lightning_tells_the_epoch():
    recorder = Recorder()
    quiet = dict.fromkeys(
        ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
    )
    trainer = pl.Trainer(max_epochs=2, accelerator="cpu", limit_val_batches=0, **quiet)
    trainer.fit(recorder, AugmentedData())
    expected = Augmented(IMAGES, 0)
    for epoch, seen in enumerate(recorder.seen):
        assert seen.keys() == set(range(24))
        assert all(torch.equal(image, expected[epoch, index].image) for index, image in seen.items())


def test_evaluation_and_donors_see_the_images_as_they_are():
    data = AugmentedData()
    for loader in (data.donors(), data.evaluation_loader("train")):
        assert all(torch.equal(image, IMAGES[index].image) for index, image in by_sample(loader).items())
