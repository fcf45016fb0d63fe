import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from lit_xai.data.balanced import Balanced, equalized
from lit_xai.data.gtsrb import GTSRB, samples_by_track

TRACKS = {0: 21, 1: 1, 2: 2, 3: 24, 4: 26}
TEST_LABELS = [42, 0, 7, 7, 16]


def save(path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    size = generator.integers(20, 60, 2)
    colour = generator.integers(0, 206, 3)
    pixels = colour + generator.integers(0, 50, (*size, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)


def write(directory: Path) -> Path:
    """Write 43 classes of 3 tracks (some of more or fewer) of 2 frames, and 5 test images."""
    for label in range(43):
        folder = directory / "GTSRB" / "Training" / f"{label:05d}"
        folder.mkdir(parents=True)
        for track in range(TRACKS.get(label, 3)):
            for frame in range(2):
                save(folder / f"{track:05d}_{frame:05d}.ppm", 10_000 * label + 100 * track + frame)
        (folder / f"GT-{label:05d}.csv").write_text("Filename;Width;Height;ClassId\n")
    test = directory / "GTSRB" / "Final_Test" / "Images"
    test.mkdir(parents=True)
    rows = ["Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"]
    for place, label in enumerate(TEST_LABELS):
        save(test / f"{place:05d}.ppm", 10**6 + place)
        rows.append(f"{place:05d}.ppm;53;54;6;5;48;49;{label}")
    (directory / "GT-final_test.csv").write_text("\r\n".join(rows) + "\r\n")
    return directory


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("signs")
    write(root / "gtsrb")
    return root


@pytest.fixture(scope="module")
def data(files) -> GTSRB:
    return GTSRB(data_dir=files)


@pytest.fixture
def linked(files, tmp_path) -> Path:
    """The same files, each folder of which can be exchanged."""
    training = tmp_path / "gtsrb" / "GTSRB" / "Training"
    training.mkdir(parents=True)
    for folder in (files / "gtsrb" / "GTSRB" / "Training").iterdir():
        (training / folder.name).symlink_to(folder)
    (tmp_path / "gtsrb" / "GTSRB" / "Final_Test").symlink_to(files / "gtsrb" / "GTSRB" / "Final_Test")
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_bytes(
        (files / "gtsrb" / "GT-final_test.csv").read_bytes()
    )
    return tmp_path


def names(samples) -> list[tuple[int, str]]:
    return [(label, path.name) for path, label in samples]


def test_histograms_are_equalised_if_asked(files, data):
    even = GTSRB(data_dir=files, equalize=True)
    for split in ("train", "val", "test"):
        assert torch.equal(even.images(split).pixels, equalized(data.images(split).pixels))
    assert not torch.equal(even.images("test").pixels, data.images("test").pixels)


def test_training_is_balanced_by_copies_if_asked(files, data):
    found = GTSRB(data_dir=files, equalize=True, per_class=30, max_train=90, seed=4, batch_size=430)
    expected = Balanced(data.images("train").first(90), 30, seed=4, equalize=True)
    found.setup("fit")
    batches = list(found.train_dataloader())
    assert torch.cat([batch.label for batch in batches]).bincount().tolist() == [30] * 43
    batch = batches[0]
    for place in range(8):
        assert torch.equal(batch.image[place], expected[batch.sample_id[place].item()].image)
    assert len(found.images("train")) == 90
    with pytest.raises(ValueError, match="Expected `per_class` of at least 1, but got 0"):
        GTSRB(per_class=0)


def test_a_tenth_of_the_tracks_of_each_class_validates_whole(files):
    train, val = samples_by_track(files / "gtsrb" / "GTSRB" / "Training")
    assert names(train) == sorted(names(train))
    assert names(val) == sorted(names(val))
    assert len(train) + len(val) == 2 * (sum(TRACKS.values()) + 3 * 38)
    tracks = [{(label, name[:5]) for label, name in names(part)} for part in (train, val)]
    assert not tracks[0] & tracks[1]
    assert all(len(part) == 2 * len(found) for part, found in zip((train, val), tracks, strict=True))
    counts = [sum(label == place for label, _ in tracks[1]) for place in range(43)]
    assert counts == [2, 0, 1, 2, 3, *[1] * 38]


def test_the_tracks_that_validate_are_drawn_for_each_class_and_the_same_every_time(files):
    _, val = samples_by_track(files / "gtsrb" / "GTSRB" / "Training")
    _, again = samples_by_track(files / "gtsrb" / "GTSRB" / "Training")
    assert names(val) == names(again)
    chosen = [int(name[:5]) for label, name in names(val) if label > 4]
    assert set(chosen) == {0, 1, 2}
    seeded = GTSRB(data_dir=files, seed=5).images("val")
    assert torch.equal(seeded.labels, GTSRB(data_dir=files).images("val").labels)


def test_pixels_and_classes_are_torchvisions(files, data):
    def resized(picture):
        return np.array(picture.resize((32, 32), Image.Resampling.BILINEAR)).transpose(2, 0, 1)

    reference = {
        split: [(resized(picture), label) for picture, label in datasets.GTSRB(files, split)]
        for split in ("train", "test")
    }
    test = data.images("test")
    assert test.labels.tolist() == TEST_LABELS == [label for _, label in reference["test"]]
    assert np.array_equal(test.pixels.numpy(), np.stack([picture for picture, _ in reference["test"]]))
    expected = sorted((label, picture.tobytes()) for picture, label in reference["train"])
    parts = [data.images("train"), data.images("val")]
    found = [
        (label, picture.numpy().tobytes())
        for part in parts
        for picture, label in zip(part.pixels, part.labels.tolist(), strict=True)
    ]
    assert sorted(found) == expected


def test_antialiasing_averages_what_is_made_small(tmp_path):
    checks = np.indices((128, 128)).sum(0) % 2 * np.uint8(254)
    directory = tmp_path / "GTSRB" / "Final_Test" / "Images"
    directory.mkdir(parents=True)
    Image.fromarray(np.stack([checks] * 3, 2).astype(np.uint8)).save(directory / "a.ppm")
    (tmp_path / "GT-final_test.csv").write_text("Filename;ClassId\na.ppm;3\n")
    pixels = GTSRB(data_dir=tmp_path).images("test").pixels
    assert pixels.shape == (1, 3, 32, 32)
    assert ((pixels.int() - 127).abs() <= 2).all()


def test_batches_carry_positions_and_the_first_hold_every_class(files):
    data = GTSRB(data_dir=files, max_train=43, max_val=42)
    (batch,) = data.evaluation_loader("train")
    assert batch.sample_id.tolist() == batch.label.tolist() == list(range(43))
    assert batch.image.shape == (43, 3, 32, 32)
    (batch,) = data.evaluation_loader("val")
    assert batch.label.tolist() == [label for label in range(43) if label != 1]
    whole = GTSRB(data_dir=files).images("train")
    assert torch.equal(data.images("train").pixels, whole.pixels[:43])
    assert len(whole) == 2 * (sum(TRACKS.values()) + 3 * 38 - 46)


def test_files_outside_torchvisions_folder_are_found(files, data):
    assert torch.equal(GTSRB(data_dir=files / "gtsrb").images("test").pixels, data.images("test").pixels)


@pytest.mark.parametrize("split", ["train", "test"])
def test_missing_files_are_named(tmp_path, split):
    mark = {"train": "GTSRB/Training/00000/00000_00000.ppm", "test": "GT-final_test.csv"}[split]
    message = (
        f"Expected {mark} in {tmp_path / 'gtsrb'} or {tmp_path}, but got no such file. "
        "Set `data_dir`, or `download`."
    )
    with pytest.raises(FileNotFoundError, match=f"^{re.escape(message)}$"):
        GTSRB(data_dir=tmp_path).images(split)


@pytest.mark.parametrize("change", ["00042", "00043"])
def test_a_missing_or_a_strange_folder_is_refused(linked, change):
    folder = linked / "gtsrb" / "GTSRB" / "Training" / change
    folder.unlink() if change == "00042" else folder.mkdir()
    message = (
        f"Expected folders 00000 to 00042 in {folder.parent}, but got a difference in {change}. "
        "Fetch the data again."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        GTSRB(data_dir=linked).setup("fit")


def test_an_empty_folder_is_refused(linked):
    folder = linked / "gtsrb" / "GTSRB" / "Training" / "00007"
    folder.unlink()
    folder.mkdir()
    with pytest.raises(
        ValueError, match=rf"^Expected \.ppm files in {folder}, but got none\. Fetch the data"
    ):
        GTSRB(data_dir=linked).setup("fit")


def test_a_damaged_picture_is_refused_by_name(linked):
    folder = linked / "gtsrb" / "GTSRB" / "Training" / "00042"
    folder.unlink()
    folder.mkdir()
    (folder / "00000_00000.ppm").write_bytes(b"P6\n30 30\n255\nshort")
    with pytest.raises(
        ValueError, match=rf"^Expected a picture, but got {folder / '00000_00000.ppm'}: .*\.$"
    ):
        GTSRB(data_dir=linked).setup("fit")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "Expected labels in {}, but got none. Fetch it again."),
        ("Filename;Label\na;3\n", "Expected columns Filename and ClassId in {}, but got 'ClassId'."),
        ("Filename;ClassId\na\n", "Expected columns Filename and ClassId in {}, but got int() argument"),
        ("Filename;ClassId\na;b\n", "Expected columns Filename and ClassId in {}, but got invalid literal"),
        ("Filename;ClassId\na;43\n", "Expected labels in [0, 42] in {}, but got 43. Fetch it again."),
        ("\u00ff", "Expected columns Filename and ClassId in {}, but got 'ascii' codec"),
    ],
)
def test_a_damaged_table_is_refused_by_name(linked, table, message):
    path = linked / "gtsrb" / "GT-final_test.csv"
    path.write_text(table)
    with pytest.raises(ValueError, match=f"^{re.escape(message.format(path))}") as found:
        GTSRB(data_dir=linked).setup("test")
    assert str(found.value).endswith(". Fetch it again.")


def test_a_picture_that_the_table_names_must_be_there(linked):
    (linked / "gtsrb" / "GT-final_test.csv").write_text("Filename;ClassId\n9.ppm;3\n")
    with pytest.raises(
        FileNotFoundError, match=r"^Expected a picture, but got .*Final_Test/Images/9\.ppm, which does not"
    ):
        GTSRB(data_dir=linked).setup("test")


def test_a_download_fetches_both_splits_where_they_are_read(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(datasets, "GTSRB", lambda *args, **options: calls.append((args, options)))
    GTSRB(data_dir=tmp_path, download=True).prepare_data()
    assert calls == [((tmp_path, split), {"download": True}) for split in ("train", "test")]
