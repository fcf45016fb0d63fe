"""Where a targeted attack moves a map to."""

import copy
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Explain, check_counts
from lit_xai.attributions.integrated_gradients import read_baseline
from lit_xai.attributions.references import check_references, draw_references
from lit_xai.metrics.maps import pixel_map
from lit_xai.noise import Noise
from lit_xai.types import Donors


class Goal(ABC):
    """A choice of the maps that iterates should come to have: frozen settings and one method."""

    def prepare(self, model: nn.Module, donors: Donors) -> Self:
        """Return a copy that knows what it needs of other images; by default, itself.

        Args:
            model: Maps pixels in [0, 1] to logits.
            donors: Returns the images that may be referred to, batch by batch, the same in every process.
        """
        return self

    def eligible(self, image: Tensor) -> Tensor:
        """Say which images (N, C, H, W) there is a goal for, (N,), bool; by default all."""
        return torch.ones(len(image), dtype=torch.bool, device=image.device)

    @abstractmethod
    def maps(self, explain: Explain, image: Tensor) -> Tensor:
        """Return the maps to reach.

        Args:
            explain: The explanation on the true network.
            image: Clean pixels in [0, 1], (N, C, H, W).

        Returns:
            Values of at least 0, of any sum, (N, H, W); all zero where there is no goal.
        """


@dataclass(frozen=True)
class OtherImage(Goal):
    """Another image's map, of its predicted class (Dombrowski et al., 2019, arXiv 1906.07983).

    Each sample draws one of the `references`, images of the data module's `donor_split` chosen once by lot,
    but never its own image nor a copy of it. The draw depends on the sample and on the run's seed alone, so
    every explanation is moved towards the same image, under the sample's own noise. A sample without another
    image is excluded and counted. Deviation: the authors' script moves every image towards the same one; so
    does this with a single donor.

    Args:
        references: Images to choose from; all donors if there are fewer.
        seed: Of the choice of references.

    Raises:
        ValueError: If an option is out of its range, the goal is used before `prepare`, or references and
            images differ in shape.
    """

    references: int = 100
    seed: int = 0
    _references: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_counts(self, "references")

    def prepare(self, model: nn.Module, donors: Donors) -> Self:
        prepared = copy.copy(self)
        references = draw_references(model, donors, self.references, self.seed)
        object.__setattr__(prepared, "_references", references)
        return prepared

    def eligible(self, image: Tensor) -> Tensor:
        return self._others(image).any(dim=1)

    def maps(self, explain: Explain, image: Tensor) -> Tensor:
        others = self._others(image)
        with torch.no_grad():
            other = self._referred(image)[_drawn(others, explain.noise.child("goal"))]
            maps = pixel_map(explain(other, explain.model(other).argmax(dim=1)))
        return maps * others.any(dim=1)[:, None, None]

    def _others(self, image: Tensor) -> Tensor:
        """Say which references differ from each image, (N, R), bool."""
        references = self._referred(image)
        others = torch.zeros(len(image), len(references), dtype=torch.bool, device=image.device)
        for row, own in enumerate(image):
            others[row] = (references != own).flatten(1).any(dim=1)
        return others

    def _referred(self, image: Tensor) -> Tensor:
        return check_references(self._references, image, type(self).__name__)


def _drawn(allowed: Tensor, noise: Noise) -> Tensor:
    """Return a column for each row, drawn among those allowed (N, R), or any where there are none."""
    lots = noise.uniform(allowed.double())
    return lots.masked_fill(~allowed, torch.inf).argmin(dim=1)


@dataclass(frozen=True)
class GivenMap(Goal):
    """One map for all samples, an image file's brightness.

    Args:
        path: An image file of the maps' size.

    Raises:
        ValueError: If the image is black; on the first image, if it has another size.
        FileNotFoundError: If the file does not exist.
    """

    path: Path

    def __post_init__(self) -> None:
        if not self.path.is_file():
            raise FileNotFoundError(f"Expected `path` as an image file, but got {self.path}.")
        if not read_baseline(self.path, 1).any():
            raise ValueError(f"Expected `path` as an image with a bright pixel, but {self.path} is black.")

    def maps(self, explain: Explain, image: Tensor) -> Tensor:
        given = read_baseline(self.path, 1).to(image)
        if given.shape[1:] != image.shape[2:]:
            raise ValueError(
                f"Expected `path` as an image of {tuple(image.shape[2:])} pixels, but got "
                f"{tuple(given.shape[1:])}. Resize the file."
            )
        return given.expand(len(image), -1, -1)


@dataclass(frozen=True)
class Frame(Goal):
    """A bright frame along the border, which explains nothing.

    Joo et al. (2023, arXiv 2211.15900) use 5 of 32 pixels, Heo et al. (2019, arXiv 1902.02041), in fooling by
    training, a seventh of the side.

    Args:
        width: Of the frame, as a share of the side, in (0, 0.5); rounded down to pixels, at least one.

    Raises:
        ValueError: If `width` is out of its range.
    """

    width: float = 5 / 32

    def __post_init__(self) -> None:
        if not 0 < self.width < 0.5:
            raise ValueError(f"Expected `width` in (0, 0.5), but got {self.width:g}.")

    def maps(self, explain: Explain, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        rows, columns = max(1, int(self.width * height)), max(1, int(self.width * width))
        frame = image.new_ones(len(image), height, width)
        frame[:, rows : height - rows, columns : width - columns] = 0
        return frame
