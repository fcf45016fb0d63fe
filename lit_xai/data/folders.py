"""Folders of classes: which files they hold, and which of these train, validate and test."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lit_xai.data.base import Split
from lit_xai.data.class_names import read_class_names

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
SPLITS: tuple[Split, ...] = ("train", "val", "test")
# What others call them; taken for classes, or passed over, they would do harm that nobody sees.
_OTHER_NAMES = {*SPLITS, "training", "valid", "validation", "dev", "testing"}
_LEAST = 3


@dataclass(frozen=True)
class Layout:
    """Where the class folders of each split are.

    Args:
        folders: For each split that has a folder of its own, that folder.
        whole: The folder that the other splits are cut from; None if there is none.
        cut: The splits that are cut from it, beside the training one.
    """

    folders: Mapping[Split, Path]
    whole: Path | None
    cut: tuple[Split, ...]

    @property
    def splits(self) -> tuple[Split, ...]:
        """The splits that there are; `val` serves as `test` where that has no folder."""
        found = {*self.folders, *self.cut, *(() if self.whole is None else SPLITS[:1])}
        found |= {"test"} if "val" in found else set()
        return tuple(split for split in SPLITS if split in found)


def find_layout(directory: Path) -> Layout:
    """Find out whether a directory holds folders `train`, `val`, `test`, or the class folders themselves.

    Raises:
        FileNotFoundError: If there is no such directory.
        ValueError: If it holds no folder, a split without any, or a name that is not quite that of a split.
    """
    if not directory.is_dir():
        raise FileNotFoundError(
            f"Expected a folder of class folders, or of train, val and test, but got {directory}, which is "
            "none. Set `data_dir`."
        )
    names = folder_names(directory)
    own: dict[Split, Path] = {
        split: directory / split for split in SPLITS if split in names and folder_names(directory / split)
    }
    if not names:
        raise ValueError(f"Expected class folders in {directory}, but got none. Set `data_dir`.")
    _check_names(directory, names, own)
    if not own:
        return Layout({}, directory, ("val", "test"))
    if "train" in own and "val" not in own:
        whole = own.pop("train")
        return Layout(own, whole, ("val",) if "test" in own else ("val", "test"))
    return Layout(own, None, ())


def _check_names(directory: Path, names: Sequence[str], own: Mapping[Split, Path]) -> None:
    named = [name for name in names if name.lower() in _OTHER_NAMES]
    # A class may be called so; then it holds pictures, and others stand beside it.
    if not own and len(named) < len(names):
        named = [name for name in named if folder_names(directory / name)]
    for name in named:
        if name not in SPLITS:
            raise ValueError(
                f"Expected folders train, val and test in {directory}, but got {name}. Rename it."
            )
        if name not in own:
            raise ValueError(
                f"Expected class folders in {directory / name}, but got none. "
                "Add them, or move the folder away."
            )


def folder_names(directory: Path) -> list[str]:
    """Return the sorted names of the folders in a directory, but for hidden ones."""
    return sorted(
        entry.name for entry in os.scandir(directory) if entry.is_dir() and not entry.name.startswith(".")
    )


def picture_files(folder: Path, known: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield the pictures of a class in the order of their names, those in folders inside it too.

    A picture is what ends as one, in upper case or lower. Hidden files and folders are passed over; links are
    followed, but not in a circle.

    Args:
        folder: Of the class.
        known: Folders that this one is in, for a link that leads back to one.
    """
    here = (*known, folder.resolve())
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path = Path(entry.path)
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if path.resolve() not in here:
                yield from picture_files(path, here)
        elif path.suffix.lower() in ENDINGS:
            yield path


def share_of(seed: int, name: str) -> float:
    """Return a number in [0, 1) that belongs to a seed and a file's name; the same on every machine."""
    digest = hashlib.sha256(f"{seed}:".encode() + os.fsencode(name)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def cut_class(names: Sequence[str], seed: int, shares: Mapping[Split, float]) -> dict[str, Split]:
    """Say which files of one class train, validate and test.

    Each file goes where its number of `share_of` falls: adding a file moves no other. Only where a split
    would get none of at least three files it gets the training one of the smallest number, or, if only one
    trains, another split's that can be spared; the file of the largest number always trains.

    Args:
        names: Of the files, relative to the folder of all classes, with `/` between the parts.
        seed: Of the cut.
        shares: Of the splits beside the training one, in [0, 1).

    Returns:
        The split of each file.
    """
    drawn = {name: share_of(seed, name) for name in names}
    ordered = sorted(names, key=lambda name: (drawn[name], name))
    result: dict[str, Split] = dict.fromkeys(ordered, "train")
    below = 0.0
    for split, share in reversed(list(shares.items())):
        for name in ordered[:-1]:
            if below <= drawn[name] < below + share:
                result[name] = split
        below += share
    for split, share in shares.items():
        if share and len(ordered) >= _LEAST and split not in result.values():
            counts = Counter(result.values())
            spare = [name for name in ordered[:-1] if counts[result[name]] > 1]
            result[min(spare, key=lambda name: result[name] != "train")] = split
    return result


@dataclass(frozen=True)
class ClassFolders:
    """The files of each split, with their labels.

    Args:
        layout: Where the class folders are.
        shares: Of the splits that are cut from `layout.whole`.
        seed: Of the cut.
        classes: File with the name of a class folder on each line, in the order of the labels; the sorted
            folders, those that train where there are any, if None.
    """

    layout: Layout
    shares: Mapping[Split, float]
    seed: int
    classes: Path | None = None

    @cached_property
    def names(self) -> list[str]:
        """Names of the classes, in the order of their labels.

        Raises:
            FileNotFoundError: If there is no such file of classes.
            ValueError: If there are fewer than two classes, or a folder that is none of them.
        """
        folders = [self.layout.whole] if self.layout.whole is not None else []
        folders += [self.layout.folders[split] for split in SPLITS if split in self.layout.folders]
        found = {folder: folder_names(folder) for folder in folders}
        if self.classes is not None:
            names = read_class_names(self.classes)
        elif self.layout.whole is not None or "train" in self.layout.folders:
            names = found[folders[0]]
        else:
            names = sorted({name for inside in found.values() for name in inside})
        if len(names) < 2:
            raise ValueError(
                f"Expected folders of at least two classes in {folders[0]}, but got {len(names)}."
            )
        for folder, inside in found.items():
            if strange := sorted(set(inside) - set(names)):
                raise ValueError(
                    f"Expected {len(names)} class folders, {names[0]} to {names[-1]}, in {folder}, but got "
                    f"{strange[0]} too. Take it out, or name all classes in a file for `classes`."
                )
        return names

    def samples(self, split: Split) -> Iterator[tuple[Path, int]]:
        """Yield the files of a split with their labels, in the order of classes and names.

        Raises:
            ValueError: If there is no such split.
        """
        if split not in self.layout.splits:
            others = ", ".join(map(str, self.layout.folders.values()))
            raise ValueError(
                f"Expected a folder {split} beside {others}, but got none. Add it, or, if only donors are "
                "missing, name another `donor_split`."
            )
        split = self.served(split)
        own = self.layout.folders.get(split)
        if own is None:
            assert self.layout.whole is not None
            yield from ((self.layout.whole / name, label) for name, label in self._cut[split])
            return
        for label, name in enumerate(self.names):
            yield from ((path, label) for path in _pictures(own / name))

    def served(self, split: Split) -> Split:
        """Return the split that serves as one: `val` as `test` where only that has a folder."""
        folders = self.layout.folders
        return "val" if split == "test" and "val" in folders and "test" not in folders else split

    @cached_property
    def _cut(self) -> Mapping[str, list[tuple[str, int]]]:
        # Once for all splits: a million names are not hashed for each.
        assert self.layout.whole is not None
        whole = self.layout.whole
        shares = {other: self.shares[other] for other in self.layout.cut}
        parts: dict[str, list[tuple[str, int]]] = {split: [] for split in SPLITS}
        for label, name in enumerate(self.names):
            files = [path.relative_to(whole).as_posix() for path in _pictures(whole / name)]
            chosen = cut_class(files, self.seed, shares)
            for file in files:
                parts[chosen[file]].append((file, label))
        return parts


def _pictures(folder: Path) -> list[Path]:
    # Not every split has every class.
    return list(picture_files(folder)) if folder.is_dir() else []
