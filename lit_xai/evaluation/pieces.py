"""The pieces that an evaluation is made of: each is measured as a whole and written when it is done."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pandas as pd
from torch import nn
from torch.utils.data import DataLoader, default_collate

from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.base import check_counts
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.accuracy import accuracy_scores
from lit_xai.evaluation.agreement import agreement_scores
from lit_xai.evaluation.cost import Passes, count_passes, counting
from lit_xai.evaluation.examples import Extremes
from lit_xai.evaluation.gathering import gathered_table
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.memory import Memory
from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.regimes.pgd import PGD
from lit_xai.types import Batch

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Subset:
    """The images that the grid runs on: a stratified, seeded part of the test split.

    Args:
        data: The images.
        max_samples: Size, over all processes.
        seed: Of the choice.
        batch_size: Samples attacked at once, in each process.

    Raises:
        ValueError: If a size is below 1.
    """

    data: ImageDataModule
    max_samples: int
    seed: int
    batch_size: int

    def __post_init__(self) -> None:
        check_counts(self, "max_samples", "batch_size")

    def loader(self) -> DataLoader[Batch]:
        """Return this process's share."""
        return self.data.evaluation_loader("test", self.max_samples, self.seed, self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return (Batch(*batch) for batch in self.loader())

    def __len__(self) -> int:
        return len(self.loader().dataset)  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class Measured:
    """What came of a piece: single scores, and the samples worth looking at, if there are any."""

    scores: pd.DataFrame
    examples: pd.DataFrame | None = None


class Piece(ABC):
    """Something that is measured on one network.

    Attributes:
        key: The name of everything that decides its scores.
    """

    key: str

    @abstractmethod
    def images(self) -> int:
        """Return how many images it takes, over all processes."""

    @abstractmethod
    def passes(self, network: nn.Module) -> Passes:
        """Count the passes of one image."""

    @abstractmethod
    def measure(self, network: nn.Module, memory: Memory, advance: Advance) -> Measured:
        """Measure it, in every process.

        Args:
            network: Maps pixels in [0, 1] to logits; the grid is prepared for it.
            memory: What the pieces of this network share.
            advance: Called with the number of images that are done.
        """


@dataclass(frozen=True, eq=False)
class Accuracy(Piece):
    """Whether each test image is classified correctly, as it is and under an adversary."""

    key: str
    data: ImageDataModule
    adversary: PGD | None
    noise_seed: int

    def images(self) -> int:
        return len(self.data.images("test"))

    def passes(self, network: nn.Module) -> Passes:
        with counting(network) as passes:
            accuracy_scores(network, _one_image(self.data), self.adversary, self.noise_seed)
        return passes

    def measure(self, network: nn.Module, memory: Memory, advance: Advance) -> Measured:
        frames = []
        for batch in self.data.test_dataloader():
            frames.append(accuracy_scores(network, Batch(*batch), self.adversary, self.noise_seed))
            advance(len(batch[1]))
        return Measured(gathered_table(frames, ["attack"]))


@dataclass(frozen=True, eq=False)
class Cell(Piece):
    """One attribution under one attack, scored by every metric."""

    key: str
    grid: Grid
    subset: Subset
    attribution: str
    attack: str
    examples: int

    def images(self) -> int:
        return len(self.subset)

    def passes(self, network: nn.Module) -> Passes:
        cell = {(self.attribution, self.attack)}
        return count_passes(self.grid, network, _one_image(self.subset.data), cell)

    def measure(self, network: nn.Module, memory: Memory, advance: Advance) -> Measured:
        name, metric = next(iter(self.grid.metrics.items()))
        size = 0 if isinstance(self.grid.attacks[self.attack], Unattacked) else self.examples
        extremes = Extremes(name, metric.higher_is_better, size)  # type: ignore[arg-type]
        self.grid.reset()
        for batch in self.subset:
            self.grid.update(
                network,
                batch,
                cells={(self.attribution, self.attack)},
                memory=memory,
                observe=lambda result, scores: extremes.add(result, scores[name]),
            )
            advance(len(batch.label))
        scores = self.grid.records()[["metric", "sample_id", "value"]]
        self.grid.reset()
        return Measured(scores, extremes.frame())


@dataclass(frozen=True, eq=False)
class Agreement(Piece):
    """How much the maps of different attributions of one image agree."""

    key: str
    grid: Grid
    subset: Subset

    def images(self) -> int:
        return len(self.subset)

    def passes(self, network: nn.Module) -> Passes:
        # The maps are those that the cells start from.
        return Passes(forward=2)

    def measure(self, network: nn.Module, memory: Memory, advance: Advance) -> Measured:
        metrics: dict[str, SampleMetric] = dict(self.grid.metrics.items())  # type: ignore[arg-type]
        frames = []
        for batch in self.subset:
            correct, maps = self.grid.clean_maps(network, batch, memory)
            noise = Noise(self.grid.seed, correct.sample_id)
            frames.append(agreement_scores(network, metrics, maps, correct, noise))
            advance(len(batch.label))
        return Measured(gathered_table(frames, ["first", "second", "metric"]))


def _one_image(data: ImageDataModule) -> Batch:
    # Not by a loader: a process may have no share of so few.
    return Batch(*default_collate([data.images("test")[0]]))
