"""What data sets share that are read from files of the user's."""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lit_xai.data.base import ImageDataModule, Split
from lit_xai.data.decoding import read_rgb

_OWN = Path("data")


@dataclass(eq=False, repr=False)
class StoredData(ImageDataModule):
    """A data set in files, read whole into memory; nothing is fetched unless asked for.

    A data set declares its own options as further fields, and other defaults by declaring a field again.

    Args:
        data_dir: Directory of the files, or the one that torchvision makes for them is in; `data` if None.
        download: Fetch the files into `data_dir`, or `data`, if they are not there.
        batch_size: Images of a training batch, over all processes.
        eval_batch_size: Images of an evaluation batch, in each process.
        max_train: Train on the first images only; None for all. `donor_split` says what that
            does to donors.
        max_val: Validate on the first images only; None for all.
        max_test: Test on the first images only; None for all.
        num_workers: Processes that load data.
        donor_split: Where attacks that inject other images find them: `train`, `val` or `test`, cut to its
            `max_train`, `max_val` or `max_test`.
        seed: Of the order of the training images.

    Raises:
        FileNotFoundError: If files are missing, when the data is set up.
        ValueError: If an option is out of its range, or a file is damaged.
    """

    data_dir: Path | None = None
    download: bool = False
    batch_size: int = 50
    eval_batch_size: int = 256
    max_train: int | None = None
    max_val: int | None = None
    max_test: int | None = None
    num_workers: int = 0
    donor_split: Split = "train"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__init__(
            batch_size=self.batch_size,
            eval_batch_size=self.eval_batch_size,
            limits={"train": self.max_train, "val": self.max_val, "test": self.max_test},
            num_workers=self.num_workers,
            donor_split=self.donor_split,
            seed=self.seed,
        )
        self.save_hyperparameters(logger=False)

    @property
    def root(self) -> Path:
        """Where the files are, or are fetched to."""
        return self.data_dir or _OWN

    @abstractmethod
    def fetch(self) -> None:
        """Download what `root` lacks."""

    def prepare_data(self) -> None:
        if self.download:
            self.fetch()

    def read_ahead(self, stage: str) -> None:
        if not self.download:
            self.setup(stage)


def first_directory_with(name: str, candidates: Iterable[Path], remedy: str) -> Path:
    """Return the first directory that holds a file, plain or gzipped.

    Raises:
        FileNotFoundError: If none does.
    """
    tried = list(candidates)
    for directory in tried:
        if (directory / name).is_file() or (directory / f"{name}.gz").is_file():
            return directory
    raise FileNotFoundError(
        f"Expected {name} in {' or '.join(map(str, tried))}, but got no such file. {remedy}"
    )


def classes_in_turn(labels: Sequence[int]) -> list[int]:
    """Return an order that takes the first sample of every class, then the second, and so on.

    Files that are sorted by class would otherwise give `max_train` images of the first classes only.

    Example:
        >>> classes_in_turn([0, 0, 0, 1, 2, 2])
        [0, 3, 4, 1, 5, 2]
    """
    seen: dict[int, int] = {}
    turns = []
    for label in labels:
        turns.append(seen.get(label, 0))
        seen[label] = turns[-1] + 1
    return sorted(range(len(turns)), key=lambda position: (turns[position], labels[position]))


def read_pictures(paths: Sequence[Path], fit: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Read pictures as RGB.

    Args:
        paths: At least one file.
        fit: Brings each to the one size.

    Returns:
        Pixels (N, 3, H, W), uint8.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is no picture, of more than 8 bits, or neither in RGB nor gray.
    """
    return torch.stack([torch.from_numpy(_read_picture(path, fit)) for path in paths])


def _read_picture(path: Path, fit: Callable[[Image.Image], Image.Image]) -> np.ndarray:
    # Transparency would be dropped, the inks of a print be read the wrong way round.
    return np.array(fit(read_rgb(path, "Fetch the data again.", ("RGB", "L")))).transpose(2, 0, 1)


def check_numbers(what: str, numbers: Sequence[int], allowed: range, path: Path) -> None:
    """Refuse a file of labels or positions that holds none, or one that the data set does not have.

    Args:
        what: What the numbers are, for the message.
        numbers: As the file has them.
        allowed: The numbers that may occur.
        path: The file, for the message.

    Raises:
        ValueError: If there is no number, or one is not allowed.
    """
    if not numbers:
        raise ValueError(f"Expected {what} in {path}, but got none. Fetch it again.")
    wrong = next((number for number in numbers if number not in allowed), None)
    if wrong is not None:
        bounds = f"[{allowed[0]}, {allowed[-1]}]"
        raise ValueError(f"Expected {what} in {bounds} in {path}, but got {wrong}. Fetch it again.")
