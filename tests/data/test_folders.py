from collections import Counter
from hashlib import sha256
from itertools import chain
from pathlib import Path

import pytest

from lit_xai.data.folders import ClassFolders, Layout, cut_class, find_layout, picture_files, share_of

SHARES = {"val": 0.1, "test": 0.1}


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


def found(root: Path, split: str, **options) -> list[tuple[str, int]]:
    folders = ClassFolders(find_layout(root), SHARES, 0, **options)
    return [(path.relative_to(root).as_posix(), label) for path, label in folders.samples(split)]


def test_folders_of_splits_are_found(tmp_path):
    touch(tmp_path, *(f"{split}/{name}/1.png" for split in ("train", "val", "test") for name in "ab"))
    layout = find_layout(tmp_path)
    assert layout == Layout({split: tmp_path / split for split in ("train", "val", "test")}, None, ())
    assert layout.splits == ("train", "val", "test")
    assert found(tmp_path, "val") == [("val/a/1.png", 0), ("val/b/1.png", 1)]


@pytest.mark.parametrize(
    ("there", "whole", "cut", "splits"),
    [
        ("train test", "train", ("val",), ("train", "val", "test")),
        ("train", "train", ("val", "test"), ("train", "val", "test")),
        ("train val", None, (), ("train", "val", "test")),
        ("val test", None, (), ("val", "test")),
        ("val", None, (), ("val", "test")),
        ("test", None, (), ("test",)),
    ],
)
def test_what_is_missing_is_cut_from_what_trains_or_served(there, whole, cut, splits, tmp_path):
    touch(tmp_path, *(f"{split}/{name}/1.png" for split in there.split() for name in "ab"))
    layout = find_layout(tmp_path)
    assert layout.whole == (tmp_path / whole if whole else None)
    assert (layout.cut, layout.splits) == (cut, splits)
    assert set(layout.folders) == set(there.split()) - {whole}


def test_without_such_folders_they_are_the_classes(tmp_path):
    touch(tmp_path, "cat/1.png", "dog/1.png", ".cache/1.png", "list.txt", "train/1.png")
    # A means of transport may be a class: this `train` holds pictures, not folders.
    assert find_layout(tmp_path) == Layout({}, tmp_path, ("val", "test"))
    assert ClassFolders(find_layout(tmp_path), SHARES, 0).names == ["cat", "dog", "train"]


def test_val_serves_as_test(tmp_path):
    touch(tmp_path, "train/a/1.png", "train/b/1.png", "val/a/2.png", "val/b/3.png")
    assert found(tmp_path, "test") == [("val/a/2.png", 0), ("val/b/3.png", 1)]
    folders = ClassFolders(find_layout(tmp_path), SHARES, 0)
    assert [folders.served(split) for split in ("train", "val", "test")] == ["train", "val", "val"]


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_that_is_not_there_is_refused(split, tmp_path):
    touch(tmp_path, "test/a/1.png", "test/b/1.png")
    message = rf"^Expected a folder {split} beside \S*test, but got none\. Add it, or,"
    with pytest.raises(ValueError, match=message):
        found(tmp_path, split)


def test_a_name_that_is_not_quite_that_of_a_split_is_refused(tmp_path):
    touch(tmp_path, "train/a/1.png", "Validation/a/1.png")
    with pytest.raises(ValueError, match=r"folders train, val and test in .*, but got Validation. Rename it"):
        find_layout(tmp_path)
    touch(tmp_path / "other", "training/a/1.png", "valid/a/1.png")
    with pytest.raises(ValueError, match="but got training"):
        find_layout(tmp_path / "other")
    touch(tmp_path / "classes", "valid/1.png", "invalid/1.png")
    assert find_layout(tmp_path / "classes").whole == tmp_path / "classes"


@pytest.mark.parametrize(
    "names",
    [
        # ImageNet's validation pictures come in one folder, all that train in one for each class.
        ("train/a/1.png", "train/b/1.png", "val/1.png"),
        ("train/1.png", "train/2.png", "val/a/1.png", "val/b/1.png"),
        ("train/1.png", "val/1.png"),
        ("train/a/1.png", "train/b/1.png", "test/list.txt"),
    ],
)
def test_a_split_of_pictures_without_classes_is_neither_a_class_nor_passed_over(names, tmp_path):
    touch(tmp_path, *names)
    bare = next(name.split("/")[0] for name in names if name.count("/") == 1)
    with pytest.raises(ValueError, match=rf"^Expected class folders in \S*/{bare}, but got none\. Add them"):
        find_layout(tmp_path)


@pytest.mark.parametrize("split", ["Train", "TRAIN", "Test", "VAL", "Training"])
def test_a_split_in_other_letters_is_no_class(split, tmp_path):
    # The traffic signs come with `Meta` and `Test` of pictures beside `Train` of classes.
    touch(tmp_path, f"{split}/0/1.png", f"{split}/1/1.png", "Meta/0.png", "Other/1.png")
    with pytest.raises(
        ValueError, match=rf"^Expected folders train, val and test .*, but got {split}\. Rena"
    ):
        find_layout(tmp_path)


def test_the_names_are_drawn_once_for_all_splits(tmp_path, monkeypatch):
    touch(tmp_path, *(f"{name}/{index}.png" for name in "ab" for index in range(20)))
    drawn = []
    monkeypatch.setattr(
        "lit_xai.data.folders.share_of", lambda seed, name: drawn.append(name) or share_of(seed, name)
    )
    folders = ClassFolders(find_layout(tmp_path), SHARES, 0)
    counts = [len(list(folders.samples(split))) for split in ("train", "val", "test")]
    assert sum(counts) == len(drawn) == len(set(drawn)) == 40
    assert min(counts) >= 2


def test_a_directory_without_folders_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^Expected a folder of class folders, .*, but got .*none"):
        find_layout(tmp_path / "none")
    touch(tmp_path, "1.png")
    with pytest.raises(ValueError, match=r"^Expected class folders in .*, but got none"):
        find_layout(tmp_path)


def test_pictures_are_what_ends_as_one_wherever_it_lies(tmp_path):
    names = ["1.png", "2.JPG", "deep/er/3.jpeg", "4.webp", "5.tif", "6.bmp", "7.pgm", "8.ppm", "9.tiff"]
    touch(tmp_path, *names, ".6.png", ".thumbs/7.png", "notes.txt", "0", "deep/list.csv")
    (tmp_path / "empty").mkdir()
    paths = [path.relative_to(tmp_path).as_posix() for path in picture_files(tmp_path)]
    assert paths == sorted(names)


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path, "store/1.png", "classes/a/2.png")
    (tmp_path / "classes" / "a" / "linked.png").symlink_to(tmp_path / "store" / "1.png")
    (tmp_path / "classes" / "b").symlink_to(tmp_path / "store")
    (tmp_path / "classes" / "a" / "back").symlink_to(tmp_path / "classes" / "a")
    touch(tmp_path, "classes/a/deep/3.png")
    (tmp_path / "classes" / "a" / "deep" / "back").symlink_to(tmp_path / "classes" / "a")
    (tmp_path / "classes" / "a" / "more").symlink_to(tmp_path / "store")
    folders = ClassFolders(Layout({"test": tmp_path / "classes"}, None, ()), SHARES, 0)
    names = [
        (path.relative_to(tmp_path / "classes").as_posix(), label) for path, label in folders.samples("test")
    ]
    inside = ["2.png", "deep/3.png", "linked.png", "more/1.png"]
    assert names == [*((f"a/{name}", 0) for name in inside), ("b/1.png", 1)]


def test_the_number_of_a_file_is_the_same_on_every_machine():
    digest = sha256(b"7:cat/1.png").digest()
    assert share_of(7, "cat/1.png") == int.from_bytes(digest[:8], "big") / 2**64
    numbers = [share_of(0, f"{index}.png") for index in range(4000)]
    assert sum(numbers) / 4000 == pytest.approx(0.5, abs=0.02)


def test_the_shares_are_kept_and_nothing_is_in_two():
    names = [f"cat/{index}.png" for index in range(2000)]
    chosen = cut_class(names, 0, {"val": 0.1, "test": 0.2})
    assert list(chosen) != names
    assert set(chosen) == set(names)
    counts = Counter(chosen.values())
    assert counts["val"] == pytest.approx(200, abs=40)
    assert counts["test"] == pytest.approx(400, abs=60)
    assert cut_class(names, 1, SHARES) != chosen
    for name, split in chosen.items():
        number = share_of(0, name)
        assert split == ("test" if number < 0.2 else "val" if number < 0.3 else "train")


def test_a_file_that_is_added_moves_no_other():
    names = [f"cat/{index}.png" for index in range(60)]
    before = cut_class(names, 0, SHARES)
    after = cut_class([*names, *(f"cat/new {index}.png" for index in range(60))], 0, SHARES)
    assert {name: after[name] for name in names} == before
    assert set(before.values()) == {"train", "val", "test"}


@pytest.mark.parametrize(("size", "splits"), [(1, 1), (2, 1), (3, 3), (5, 3)])
def test_a_small_class_has_one_file_for_each_split_if_it_can(size, splits):
    for seed in range(200):
        chosen = cut_class([f"cat/{index}.png" for index in range(size)], seed, SHARES)
        found = set(chosen.values())
        assert "train" in found
        assert len(found) >= splits


def test_a_split_without_a_file_takes_the_first_that_trains():
    names = [f"cat/{index}.png" for index in range(6)]
    branches = Counter()
    for seed in range(100):
        chosen = cut_class(names, seed, {"val": 1e-9, "test": 0.5})
        ordered = sorted(names, key=lambda name, seed=seed: share_of(seed, name))
        tests = [name for name in ordered[:-1] if share_of(seed, name) < 0.5]
        trains = [name for name in ordered if name not in tests]
        if tests:
            assert [name for name in names if chosen[name] == "val"] == (trains if trains[1:] else tests)[:1]
            branches[len(trains) > 1] += 1
    assert min(branches[True], branches[False]) >= 5


def test_beside_a_folder_of_tests_nothing_else_is_left_out(tmp_path):
    names = [f"train/{name}/{index}.png" for name in "ab" for index in range(40)]
    touch(tmp_path, *names, "test/a/1.png", "test/b/1.png")
    train, val = found(tmp_path, "train"), found(tmp_path, "val")
    assert sorted(name for name, _ in (*train, *val)) == sorted(names)
    assert 2 <= len(val) < 20
    assert found(tmp_path, "test") == [("test/a/1.png", 0), ("test/b/1.png", 1)]


def test_the_cut_of_each_class_follows_from_names_inside_the_folder(tmp_path):
    names = [f"{name}/{index}.png" for name in "ab" for index in range(30)]
    touch(tmp_path / "plain", *names)
    touch(tmp_path / "split" / "train", *names)
    plain = {split: found(tmp_path / "plain", split) for split in ("train", "val", "test")}
    assert sorted(chain(*plain.values())) == sorted((name, "ab".index(name[0])) for name in names)
    for split, samples in plain.items():
        inside = found(tmp_path / "split", split)
        assert inside == [(f"train/{name}", label) for name, label in samples]
        assert {label for _, label in samples} == {0, 1}


def test_classes_are_those_that_train_sorted(tmp_path):
    touch(tmp_path, "train/n2/1.png", "train/n10/1.png", "train/B/1.png", "val/n2/2.png")
    folders = ClassFolders(find_layout(tmp_path), SHARES, 0)
    assert folders.names == ["B", "n10", "n2"]
    # Not every split has every class.
    assert found(tmp_path, "val") == [("val/n2/2.png", 2)]
    touch(tmp_path, "val/n3/1.png")
    with pytest.raises(ValueError, match=r"^Expected 3 class folders, B to n2, in \S*val, but got n3 too"):
        found(tmp_path, "val")


def test_without_training_folders_the_classes_are_all_that_there_are(tmp_path):
    touch(tmp_path, "val/a/1.png", "val/b/1.png", "test/b/1.png", "test/c/1.png")
    assert ClassFolders(find_layout(tmp_path), SHARES, 0).names == ["a", "b", "c"]
    assert found(tmp_path, "test") == [("test/b/1.png", 1), ("test/c/1.png", 2)]


def test_labels_may_be_those_of_a_larger_set(tmp_path):
    touch(tmp_path, "val/b/1.png", "val/d/1.png")
    listed = tmp_path / "classes.txt"
    listed.write_text("d\n\n c \nb\na\n")
    assert found(tmp_path, "val", classes=listed) == [("val/d/1.png", 0), ("val/b/1.png", 2)]
    assert ClassFolders(find_layout(tmp_path), SHARES, 0, listed).names == ["d", "c", "b", "a"]
    for content, message in {
        "a\nb\n": "^Expected 2 class folders, a to b, in .*, but got d too.*`classes`",
        "": "^Expected folders of at least two classes in .*, but got 0",
    }.items():
        listed.write_text(content)
        with pytest.raises(ValueError, match=message):
            found(tmp_path, "val", classes=listed)


def test_one_class_is_none(tmp_path):
    touch(tmp_path, "cat/1.png")
    with pytest.raises(ValueError, match=r"^Expected folders of at least two classes in .*, but got 1"):
        found(tmp_path, "train")
