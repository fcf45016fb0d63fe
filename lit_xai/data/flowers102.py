"""The Oxford flowers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from scipy.io import loadmat
from torch.utils.data import Dataset, DistributedSampler, Sampler
from torchvision import datasets
from torchvision.transforms import functional

from lit_xai.data.balanced import Balanced, check_per_class, same_order
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

_SPLITS = {"train": "trnid", "val": "valid", "test": "tstid"}
_LABELS = "imagelabels.mat"
_POSITIONS = "setid.mat"


def _read_table(path: Path, name: str) -> list[int]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected {path}, but got no such file. Set `data_dir`, or `download`.")
    try:
        return [int(value) for value in loadmat(path)[name].ravel()]
    # Whatever the bytes are taken for, the reader raises many kinds of errors.
    except Exception as error:
        raise ValueError(
            f"Expected a table {name} in {path}, but got {one_line(error)}. Fetch it again."
        ) from error


@dataclass(eq=False, repr=False)
class Flowers102(StoredData):
    """The Oxford 102 flowers (Nilsback and Zisserman, 2008, doi 10.1109/ICVGIP.2008.47).

    1,020 / 1,020 / 6,149 images of 102 classes, in the published splits. The shorter side is resized to
    `size` pixels, bilinear with antialiasing, then the square in the centre is cut out. The images come with
    the classes in turn, so that the first n hold as many of each as they can. `sample_id` counts within the
    split. Further options are those of `StoredData`.

    Args:
        data_dir: Directory of `jpg`, `imagelabels.mat` and `setid.mat`, or of torchvision's `flowers-102`,
            which holds them; `data` if None.
        size: Height and width of the images, in pixels. At 128 they fill 0.4 GB.
        per_class: Train on at least so many images of each class, by warped copies of those that are there
            (`Balanced`), made anew from `seed` each time they are needed; none if None. Chen et al. (2019,
            arXiv 1905.09957) have 1,000, of 17 classes. Donors are the images as they are.

    Raises:
        FileNotFoundError: If files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    batch_size: int = 16
    size: int = 128
    per_class: int | None = None
    num_classes = 102

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"Expected `size` of at least 1, but got {self.size}.")
        check_per_class(self.per_class)
        super().__post_init__()

    def fetch(self) -> None:
        with fetching("Flowers102", self.root):
            datasets.Flowers102(self.root, download=True)

    def read(self, split: Split) -> Images:
        candidates = [self.root / "flowers-102", self.root]
        directory = first_directory_with(_POSITIONS, candidates, "Set `data_dir`, or `download`.")
        classes = _read_table(directory / _LABELS, "labels")
        check_numbers("labels", classes, range(1, self.num_classes + 1), directory / _LABELS)
        numbers = _read_table(directory / _POSITIONS, _SPLITS[split])
        check_numbers("positions", numbers, range(1, len(classes) + 1), directory / _POSITIONS)
        labels = [classes[number - 1] - 1 for number in numbers]
        order = classes_in_turn(labels)
        paths = [directory / "jpg" / f"image_{numbers[place]:05d}.jpg" for place in order]
        return Images(read_pictures(paths, self._fit), torch.tensor([labels[place] for place in order]))

    def for_training(
        self, images: LabelledImages, order: DistributedSampler[Any]
    ) -> tuple[Dataset[Batch], Sampler[Any]]:
        if self.per_class is None:
            return images, order
        assert isinstance(images, Images)
        balanced = Balanced(images, self.per_class, self.seed)
        return balanced, same_order(balanced, order)

    def _fit(self, picture: Image.Image) -> Image.Image:
        square: Image.Image = functional.center_crop(functional.resize(picture, self.size), self.size)
        return square
