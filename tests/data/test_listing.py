import csv

import numpy as np
import pytest
from PIL import Image

from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.data.image_folder import ImageFolderData
from lit_xai.data.listing import keep_split_list, write_split_list
from lit_xai.refusal import SharedError


@pytest.fixture
def folder(tmp_path):
    for split, names in {"train": ["a/1", "a/2", "b/1"], "val": ["b/x, y"], "test": ["a/7"]}.items():
        for name in names:
            path = tmp_path / "data" / split / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(path)
    return tmp_path / "data"


def test_every_file_stands_in_the_list_with_its_place_class_and_label(folder, tmp_path):
    write_split_list(ImageFolderData(folder, max_train=2), ("test", "train", "test"), tmp_path)
    with (tmp_path / "splits.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[:2] == [
        ["split", "sample_id", "file", "class", "label"],
        ["test", "0", "test/a/7.png", "a", "0"],
    ]
    assert [row[1] for row in rows[2:]] == ["0", "1"]
    assert rows[3] == ["train", "1", "train/b/1.png", "b", "1"]
    assert len(rows) == 4
    assert not list(tmp_path.glob(".*"))


def test_a_name_with_odd_characters_is_kept(folder, tmp_path):
    write_split_list(ImageFolderData(folder), ("val",), tmp_path)
    assert (tmp_path / "splits.csv").read_text().splitlines()[1] == 'val,0,"val/b/x, y.png",b,1'
    (folder / "val" / "b" / "x, y.png").rename(str(folder / "val" / "b") + "/\udcff.png")
    with pytest.warns(UserWarning, match=r"splits\.csv: the images are others than before"):
        write_split_list(ImageFolderData(folder), ("val",), tmp_path)
    assert b"val,0,val/b/\xff.png,b,1" in (tmp_path / "splits.csv").read_bytes()


def test_the_same_list_is_written_again_without_a_word(folder, tmp_path, recwarn):
    for _ in range(2):
        write_split_list(ImageFolderData(folder), ("train",), tmp_path)
    assert not recwarn.list


def test_data_without_files_have_no_list(tmp_path):
    assert EmbeddedFashion().split_list(("test",)) is None
    write_split_list(EmbeddedFashion(), ("test",), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_run_goes_on_with_the_same_files_only(folder, tmp_path):
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)
    before = (tmp_path / "splits.csv").read_bytes()
    assert before.count(b"\n") == 6
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)
    (folder / "train" / "a" / "1.png").rename(folder / "train" / "b" / "1b.png")
    message = (
        r"^Expected the files that .*, but got 1 missing and 1 new, such as train/a/1.png\. Restore them"
    )
    with pytest.raises(SharedError, match=message):
        keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)
    assert (tmp_path / "splits.csv").read_bytes() == before
    # A run that has trained nothing yet begins anew.
    with pytest.warns(UserWarning, match="the images are others than before"):
        keep_split_list(ImageFolderData(folder), tmp_path, goes_on=False)
    (folder / "val" / "b" / "x, y.png").unlink()
    Image.new("RGB", (4, 4)).save(folder / "val" / "b" / "z.png")
    with pytest.raises(SharedError, match=r"got 1 missing and 1 new, such as val/b/x, y\.png"):
        keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)


def test_a_file_that_is_gone_or_has_another_label_is_refused(folder, tmp_path):
    classes = tmp_path / "classes.txt"
    classes.write_text("a\nb\n")
    keep_split_list(ImageFolderData(folder, classes=classes), tmp_path, goes_on=False)
    classes.write_text("b\na\n")
    with pytest.raises(SharedError, match="got 4 missing and 4 new"):
        keep_split_list(ImageFolderData(folder, classes=classes), tmp_path, goes_on=True)
    (folder / "train" / "a" / "2.png").unlink()
    with pytest.raises(SharedError, match=r"got 1 missing and 0 new, such as train/a/2\.png"):
        keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)


def test_a_file_of_another_split_is_refused(tmp_path):
    for number in range(60):
        path = tmp_path / "data" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    options = {"donor_split": "test"}
    keep_split_list(ImageFolderData(tmp_path / "data", **options), tmp_path, goes_on=False)
    with pytest.raises(SharedError, match=r"got (\d+) missing and \1 new"):
        keep_split_list(ImageFolderData(tmp_path / "data", **options, split_seed=1), tmp_path, goes_on=True)


def test_files_that_only_test_may_change(folder, tmp_path):
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=False)
    (folder / "test" / "a" / "7.png").rename(folder / "test" / "a" / "8.png")
    with pytest.raises(SharedError, match=r"such as test/a/7\.png"):
        keep_split_list(ImageFolderData(folder, donor_split="test"), tmp_path, goes_on=True)
    with pytest.warns(UserWarning, match="the images are others than before"):
        keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)
    assert b"test/a/8.png" in (tmp_path / "splits.csv").read_bytes()


def test_names_are_listed_only_where_they_are_needed(folder, tmp_path, monkeypatch):
    listed, whole = [], ImageFolderData.split_list
    monkeypatch.setattr(
        ImageFolderData, "split_list", lambda data, splits: listed.append(list(splits)) or whole(data, splits)
    )
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=False)
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)
    assert listed == [["train", "val", "test"], ["train", "val"], ["train", "val", "test"]]
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=False)
    assert len(listed) == 3


def test_only_the_first_process_writes_but_all_refuse(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("lightning.pytorch.utilities.rank_zero_only.rank", 1)
    keep_split_list(ImageFolderData(folder), tmp_path, goes_on=False)
    assert not (tmp_path / "splits.csv").exists()
    (tmp_path / "splits.csv").write_text("split,sample_id,file,class,label\n")
    with pytest.raises(SharedError, match="got 0 missing and 4 new"):
        keep_split_list(ImageFolderData(folder), tmp_path, goes_on=True)
