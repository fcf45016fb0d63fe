import shutil
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from PIL import Image
from torchvision import transforms
from torchvision.transforms import InterpolationMode

from lit_xai.data.augmented import EpochOrder
from lit_xai.data.base import ImageDataModule
from lit_xai.data.image_folder import ImageFolderData
from lit_xai.data.pictures import CroppedPictures
from lit_xai.evaluation.options import evaluation_parser
from lit_xai.models.preprocessing import Preprocessing
from lit_xai.refusal import one_line_errors

PLACES = ("a/010", "a/011", "b/012", "b/013")


def write(folder, number, size=(9, 12)):
    """Write a picture whose red is its number."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.full((*size, 3), 40, np.uint8)
    pixels[..., 0] = number
    Image.fromarray(pixels).save(folder / f"{number:03d}.png")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A directory of class folders, two classes of 30 and 12 pictures."""
    root = tmp_path_factory.mktemp("whole")
    for number in range(42):
        write(root / ("cat" if number < 30 else "dog"), number)
    return root


@pytest.fixture
def split(tmp_path):
    """A directory of folders for each split, two pictures for each of two classes."""
    for place, name in enumerate(("train", "val", "test")):
        for number in range(4):
            write(tmp_path / name / "ab"[number // 2], 10 * place + number)
    return tmp_path


def data(root, **options) -> ImageFolderData:
    return ImageFolderData(root, **{"size": 8, "num_workers": 0, **options})


def reds(loader) -> list[int]:
    return [round(red) for batch in loader for red in (batch.image[:, 0, 0, 0] * 255).tolist()]


def test_folders_of_splits_are_read_in_the_order_of_classes_and_names(split):
    found = data(split)
    assert found.num_classes == 2
    assert found.class_names == ["a", "b"]
    for place, loader in enumerate((found.donors(), found.val_dataloader(), found.test_dataloader())):
        batch = next(iter(loader))
        assert batch.image.shape == (4, 3, 8, 8)
        assert batch.label.tolist() == [0, 0, 1, 1]
        assert batch.sample_id.tolist() == [0, 1, 2, 3]
        assert reds([batch]) == [10 * place + number for number in range(4)]
        assert batch.image[:, 1:].unique().tolist() == [np.float32(40) / np.float32(255)]


def test_the_splits_of_class_folders_are_the_whole_and_do_not_overlap(whole):
    found = data(whole)
    parts = [reds(loader) for loader in (found.donors(), found.val_dataloader(), found.test_dataloader())]
    assert sorted(chain(*parts)) == list(range(42))
    assert all(len(part) >= 2 for part in parts)
    assert reds(data(whole, split_seed=1).val_dataloader()) != parts[1]
    assert reds(data(whole, val_share=0.4).val_dataloader()) != parts[1]
    assert reds(data(whole, test_share=0.4).test_dataloader()) != parts[2]
    assert sorted(reds(found.train_dataloader())) == parts[0]


def test_subsets_are_stratified_and_seeded(whole):
    found = data(whole, max_train=10, max_val=2)
    assert found.images("train").labels.bincount().tolist() == [5, 5]
    assert found.images("val").labels.tolist() == [0, 1]
    chosen = reds(found.donors())
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(reds(data(whole).donors()))
    assert reds(data(whole, max_train=10, split_seed=0, seed=5).donors()) == chosen
    assert next(iter(found.donors())).sample_id.tolist() == list(range(10))


def test_the_seed_of_a_subset_is_that_of_the_shares(tmp_path):
    for number in range(30):
        write(tmp_path / "val" / "ab"[number % 2], number)
    subsets = [reds(data(tmp_path, max_val=8, split_seed=seed).val_dataloader()) for seed in (0, 0, 1)]
    assert subsets[0] == subsets[1] != subsets[2]


def test_the_options_reach_the_loaders(split):
    options = {"batch_size": 2, "eval_batch_size": 3, "num_workers": 1}
    found = data(split, **options)
    for loader, size in (
        (found.train_dataloader(), 2),
        (found.val_dataloader(), 3),
        (found.test_dataloader(), 3),
        (found.donors(), 3),
    ):
        assert (loader.batch_size, loader.num_workers) == (size, 1)
    orders = [list(data(split, seed=seed).train_dataloader().sampler) for seed in range(5)]
    assert len(set(map(tuple, orders))) > 1


def test_a_file_may_name_the_classes(split):
    (split / "classes.txt").write_text("c\nb\na\n")
    found = data(split, classes=str(split / "classes.txt"))
    assert found.class_names == ["c", "b", "a"]
    assert found.num_classes == 3
    (batch,) = found.val_dataloader()
    assert batch.label.tolist() == [1, 1, 2, 2]
    assert reds([batch]) == [12, 13, 10, 11]


@pytest.mark.parametrize("place", ["train", "val", "test"])
def test_a_picture_that_is_not_augmented_is_resized_then_cut_as_torchvision_does_it(split, place):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 41, 3), dtype=np.uint8)
    for path in (split / place).rglob("*.png"):
        Image.fromarray(pixels).save(path)
    fit = transforms.Compose(
        [transforms.Resize(12, InterpolationMode.BICUBIC), transforms.CenterCrop(8), transforms.ToTensor()]
    )
    found = data(split, resize=12, interpolation="bicubic", augment=True)
    for image in next(iter(found.evaluation_loader(place))).image:
        torch.testing.assert_close(image, fit(Image.fromarray(pixels)), rtol=0, atol=1e-7)


def test_worker_processes_give_the_same_images(whole):
    alone, helped = data(whole, max_test=4), data(whole, max_test=4, num_workers=1, eval_batch_size=2)
    assert torch.equal(
        next(iter(alone.test_dataloader())).image,
        torch.cat([batch.image for batch in helped.test_dataloader()]),
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_ends_the_run_with_one_line(workers, split, capsys):
    (split / "val" / "b" / "013.png").write_bytes(b"\x89PNG no more")
    found = data(split, num_workers=workers)
    assert len(found.images("val")) == 4
    with pytest.raises(SystemExit) as ending, one_line_errors():
        list(found.val_dataloader())
    assert ending.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith(f"error: Expected a picture, but got {split}/val/b/013.png: ")


def test_a_file_that_is_gone_is_named_by_a_worker_too(split, capsys):
    found = data(split, num_workers=1)
    loader = found.val_dataloader()
    (split / "val" / "b" / "013.png").unlink()
    with pytest.raises(SystemExit), one_line_errors():
        list(loader)
    assert capsys.readouterr().err.startswith(
        f"error: Expected a picture, but got {split}/val/b/013.png, which"
    )


def test_the_options_of_a_network_fill_what_is_left_open(whole):
    assert ImageFolderData(whole).preprocessing == Preprocessing(224, 256, "bilinear")
    assert ImageFolderData(whole, size=64).preprocessing == Preprocessing(64, 73, "bilinear")
    named = {"network": "timm/resnet18.a1_in1k"}
    assert ImageFolderData(whole, **named).preprocessing == Preprocessing(224, 235, "bicubic")
    assert ImageFolderData(whole, **named, size=112).preprocessing == Preprocessing(112, 117, "bicubic")
    squashed = {"network": "timm/coat_lite_medium_384.in1k"}
    assert ImageFolderData(whole, **squashed).preprocessing == Preprocessing(384, 384, "bicubic", True)
    own = ImageFolderData(whole, **named, resize=300, interpolation="nearest").preprocessing
    assert own == Preprocessing(224, 300, "nearest")
    assert ImageFolderData(whole, network="torchvision/resnet50").preprocessing.resize == 232


def test_donors_are_those_of_the_split_that_is_named(split, tmp_path):
    assert data(split).donor_split == "train"
    for number in range(4):
        write(tmp_path / "other" / "test" / "ab"[number // 2], number)
    assert reds(data(tmp_path / "other", donor_split="test").donors()) == [0, 1, 2, 3]
    # Another split is not taken without a word.
    with pytest.raises(
        ValueError, match=r"^Expected a folder train .*none\. Add it, .* another `donor_split`"
    ):
        data(tmp_path / "other").donors()


def test_without_training_images_one_can_evaluate_only(tmp_path):
    for number in range(4):
        write(tmp_path / "val" / "ab"[number // 2], number)
    found = data(tmp_path)
    with pytest.warns(UserWarning, match=r"^Expected a folder test in \S+, but got none: val serves as test"):
        found.setup("test")
    with pytest.raises(ValueError, match=r"^Expected a folder train beside .*val, but got none"):
        found.setup("fit")


def test_training_needs_a_picture_of_every_class(split):
    for path in (split / "train" / "b").iterdir():
        path.unlink()
    assert data(split).num_classes == 2
    with pytest.raises(ValueError, match="images of all 2 classes, but got none of class 1"):
        data(split).setup("fit")


def test_augmented_pictures_train_and_nothing_else(split):
    generator = np.random.default_rng(0)
    for path in sorted((split / "train").rglob("*.png")):
        pixels = generator.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        pixels[..., 0] = int(path.stem)
        Image.fromarray(pixels).save(path)
    found = data(split, augment=True, seed=3, batch_size=4)
    loader = found.train_dataloader()
    assert isinstance(loader.sampler, EpochOrder)
    loader.sampler.set_epoch(2)
    batch = next(iter(loader))
    expected = CroppedPictures(found.images("train"), 3)
    assert sorted(batch.sample_id.tolist()) == [0, 1, 2, 3]
    for image, index in zip(batch.image, batch.sample_id.tolist(), strict=True):
        assert torch.equal(image, expected[2, index].image)
    assert reds(found.donors()) == [0, 1, 2, 3]


def test_the_list_names_the_files_of_every_split_that_there_is(whole, tmp_path):
    table = data(whole).split_list(("train", "val", "test"))
    rows = [line.split(",") for line in table.splitlines()[1:]]
    assert Counter(row[3] for row in rows) == {"cat": 30, "dog": 12}
    cut = data(whole, max_train=4, max_val=3, max_test=2).split_list(("train", "val", "test"))
    splits = Counter(line.split(",")[0] for line in cut.splitlines()[1:])
    assert splits == {"train": 4, "val": 3, "test": 2}
    assert len({row[2] for row in rows}) == 42
    assert all((whole / row[2]).is_file() and row[4] == str(int(row[3] == "dog")) for row in rows)
    for number in range(4):
        write(tmp_path / "test" / "ab"[number // 2], number)
    table = data(tmp_path).split_list(("train", "val", "test"))
    assert [line.split(",")[0] for line in table.splitlines()] == ["split", *["test"] * 4]


def test_what_is_only_listed_need_not_be_fit_for_use(split, recwarn):
    for path in (split / "test").rglob("*.png"):
        path.unlink()
    found = data(split)
    found.setup("fit")
    table = found.split_list(("train", "val", "test"))
    assert Counter(line.split(",")[0] for line in table.splitlines()) == {"split": 1, "train": 4, "val": 4}
    with pytest.raises(ValueError, match="Expected images in the test split, but got none"):
        found.setup("test")
    shutil.rmtree(split / "test")
    table = data(split).split_list(("train", "val", "test"))
    rows = [line.split(",")[::2] for line in table.splitlines()[-4:]]
    assert rows == [["test", f"val/{name}.png", label] for name, label in zip(PLACES, "0011", strict=True)]
    cut = data(split, max_val=3, max_test=2).split_list(("val", "test"))
    assert [line.split(",")[0] for line in cut.splitlines()[1:]] == ["val"] * 3 + ["test"] * 2
    assert not recwarn.list


def test_the_directory_has_to_be_named(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        evaluation_parser().parse_args(
            ["-c", "configs/evaluate/quick.yaml", "--data=configs/data/image_folder.yaml"]
        )
    assert "data_dir" in capsys.readouterr().err


def test_the_checksum_is_that_of_files_and_options(whole):
    first = data(whole, max_test=3).checksum("test")
    assert data(whole, max_test=3, batch_size=3, num_workers=1).checksum("test") == first
    others = [data(whole, max_test=3, size=7), data(whole), data(whole, max_test=3, split_seed=2)]
    assert len({first, *(other.checksum("test") for other in others)}) == 4


def test_the_command_line_builds_it_and_a_checkpoint_keeps_its_options(whole):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(ImageDataModule, "data")
    config = parser.parse_args(
        ["--data=lit_xai.data.image_folder.ImageFolderData", f"--data.data_dir={whole}", "--data.size=8"]
    )
    built = parser.instantiate(config).data
    assert built.num_classes == 2
    assert {name: built.hparams[name] for name in ("size", "donor_split", "max_train")} == {
        "size": 8,
        "donor_split": "train",
        "max_train": None,
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val_share": 0}, r"Expected `val_share` in \(0, 1\), but got 0"),
        ({"test_share": 1.2}, r"Expected `test_share` in \(0, 1\), but got 1\.2"),
        ({"val_share": 0.5, "test_share": 0.5}, "leave images to train on, but got 0.5 and 0.5"),
        ({"size": -3}, "Expected `size` of at least 1, but got -3"),
        ({"size": 0}, "Expected `size` of at least 1, but got 0"),
        ({"resize": 0}, "Expected `resize` of at least 1, but got 0"),
        ({"max_val": 0}, "Expected `max_val` of at least 1, but got 0"),
        ({"network": "resnet18"}, "Expected `network` as timm/NAME or torchvision/NAME"),
    ],
)
def test_refuses_options_out_of_range(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        ImageFolderData(tmp_path / "none", **options)


def test_a_missing_directory_is_said_when_it_is_needed(tmp_path):
    found = ImageFolderData(tmp_path / "none")
    with pytest.raises(
        FileNotFoundError, match=r"^Expected a folder of class folders, .*none.*Set `data_dir`"
    ):
        _ = found.num_classes
