"""The German traffic signs."""

import csv
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset, DistributedSampler, Sampler
from torchvision import datasets

from lit_xai.data.balanced import Balanced, check_per_class, equalized, same_order
from lit_xai.data.base import Split
from lit_xai.data.decoding import one_line
from lit_xai.data.fetching import fetching
from lit_xai.data.images import Images, LabelledImages
from lit_xai.data.stored import (
    StoredData,
    check_numbers,
    classes_in_turn,
    first_directory_with,
    read_pictures,
)
from lit_xai.types import Batch

_SIZE = 32
_TRAIN = "GTSRB/Training"
_TEST = "GTSRB/Final_Test/Images"
_MARKS = {"train": f"{_TRAIN}/00000/00000_00000.ppm", "test": "GT-final_test.csv"}
Sample = tuple[Path, int]


def samples_by_track(directory: Path) -> tuple[list[Sample], list[Sample]]:
    """Return the files and classes that train and those that validate.

    About 30 frames of one sign (a track) look alike and share the first half of their name: no track is in
    both. Of each class a tenth of the tracks validates, at least one where there are two; which ones is the
    same for every seed.

    Args:
        directory: Holds a folder for each of the 43 classes.

    Raises:
        ValueError: If a folder is missing or empty, or there is another one.
    """
    expected = [f"{label:05d}" for label in range(GTSRB.num_classes)]
    found = sorted(path.name for path in directory.iterdir() if path.is_dir())
    if found != expected:
        strange = sorted(set(found) ^ set(expected))[0]
        raise ValueError(
            f"Expected folders 00000 to 00042 in {directory}, but got a difference in {strange}. "
            "Fetch the data again."
        )
    train: list[Sample] = []
    val: list[Sample] = []
    for label, name in enumerate(expected):
        paths = sorted((directory / name).glob("*.ppm"))
        if not paths:
            raise ValueError(
                f"Expected .ppm files in {directory / name}, but got none. Fetch the data again."
            )
        tracks = [list(frames) for _, frames in groupby(paths, lambda path: path.name.partition("_")[0])]
        order = torch.randperm(len(tracks), generator=torch.Generator().manual_seed(label)).tolist()
        chosen = set(order[: max(round(len(tracks) / 10), 1 if len(tracks) > 1 else 0)])
        for place, frames in enumerate(tracks):
            (val if place in chosen else train).extend((path, label) for path in frames)
    return train, val


def listed_samples(directory: Path) -> list[Sample]:
    """Return the files and classes of the test split, in the order of its table.

    Args:
        directory: Holds `GT-final_test.csv` and `GTSRB/Final_Test/Images`.

    Raises:
        ValueError: If the table is damaged.
    """
    path = directory / _MARKS["test"]
    try:
        with path.open(newline="", encoding="ascii") as table:
            rows = list(csv.DictReader(table, delimiter=";"))
        samples = [(directory / _TEST / row["Filename"], int(row["ClassId"])) for row in rows]
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise ValueError(
            f"Expected columns Filename and ClassId in {path}, but got {one_line(error)}. Fetch it again."
        ) from error
    check_numbers("labels", [label for _, label in samples], range(GTSRB.num_classes), path)
    return samples


@dataclass(eq=False, repr=False)
class GTSRB(StoredData):
    """German traffic signs, 43 classes (Stallkamp et al., 2012, doi 10.1016/j.neunet.2012.02.016).

    The files are those that torchvision fetches: 26,640 training images, of which a tenth
    validates, tracks of frames kept together, and 12,630 test images. Whole frames are resized to 32 x 32
    pixels, bilinear with antialiasing; regions of interest are not cut out. Chen et al. (2019,
    arXiv 1905.09957) equalise the histograms and train on 10,000 images of each class: `equalize` and
    `per_class`; they begin with 39,209 training images, all of them to train on.
    Training and validation images come with the classes in turn, so that the first n hold all classes.
    `sample_id` counts within the split. Further options are those of `StoredData`.

    Args:
        data_dir: Directory of `GTSRB` and `GT-final_test.csv`, or of torchvision's `gtsrb`, which holds them;
            `data` if None.
        equalize: Whether the histogram of each channel of every image is equalised, after resizing
            (`equalized`).
        per_class: Train on at least so many images of each class, by warped copies of those that are there
            (`Balanced`), made anew from `seed` each time they are needed; none if None. Donors are the images
            as they are, equalised or not.

    Raises:
        FileNotFoundError: If files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    batch_size: int = 64
    equalize: bool = False
    per_class: int | None = None
    num_classes = 43

    def __post_init__(self) -> None:
        check_per_class(self.per_class)
        super().__post_init__()

    def fetch(self) -> None:
        for split in ("train", "test"):
            with fetching("GTSRB", self.root):
                datasets.GTSRB(self.root, split, download=True)

    def read(self, split: Split) -> Images:
        mark = _MARKS["test" if split == "test" else "train"]
        candidates = [self.root / "gtsrb", self.root]
        directory = first_directory_with(mark, candidates, "Set `data_dir`, or `download`.")
        if split == "test":
            samples = listed_samples(directory)
        else:
            train, val = samples_by_track(directory / _TRAIN)
            samples = train if split == "train" else val
            samples = [samples[place] for place in classes_in_turn([label for _, label in samples])]
        paths, labels = zip(*samples, strict=True)
        images = Images(read_pictures(paths, _resize), torch.tensor(labels))
        if split == "train":
            # Copies are warped before they are equalised.
            self._originals = images
        return Images(equalized(images.pixels), images.labels) if self.equalize else images

    def for_training(
        self, images: LabelledImages, order: DistributedSampler[Any]
    ) -> tuple[Dataset[Batch], Sampler[Any]]:
        if self.per_class is None:
            return images, order
        originals = self._originals.first(len(images))
        balanced = Balanced(originals, self.per_class, self.seed, self.equalize)
        return balanced, same_order(balanced, order)


def _resize(picture: Image.Image) -> Image.Image:
    return picture.resize((_SIZE, _SIZE), Image.Resampling.BILINEAR)
