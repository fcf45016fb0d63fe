"""What an evaluation measures, and what decides each piece of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.pieces import Accuracy, Agreement, Cell, Piece, Subset
from lit_xai.evaluation.store import identity
from lit_xai.evaluation.subjects import Subject

# How data are brought; their content is known by its checksum.
_IDLE = ("num_workers", "download")


@dataclass(frozen=True, eq=False)
class Settings:
    """Everything but the network that decides a number to the last bit, as plain values.

    Attributes:
        environment: Versions, kind of device, number of processes and precision.
        data: Checksums of the images and of the donors, the subset, its seed, and the batch sizes.
        attributions: Class and options, by name.
        attacks: Class and options, by name.
        metrics: Class and options, by name.
        examples: Samples kept with their images at each end of a cell.
    """

    environment: Mapping[str, Any]
    data: Mapping[str, Any]
    attributions: Mapping[str, Any]
    attacks: Mapping[str, Any]
    metrics: Mapping[str, Any]
    examples: int


@dataclass(frozen=True, eq=False)
class Plan:
    """The pieces of one network, in the order in which they are measured.

    Attributes:
        subject: The network.
        grid: What is measured.
        subset: On which images.
        accuracy: Its accuracies.
        cells: Each attribution under each attack, an attribution after the other.
        agreement: Between attributions; None if there is nothing to compare.
    """

    subject: Subject
    grid: Grid
    subset: Subset
    accuracy: Accuracy
    cells: tuple[Cell, ...]
    agreement: Agreement | None

    @property
    def pieces(self) -> list[Piece]:
        """All pieces."""
        return [self.accuracy, *self.cells, *([] if self.agreement is None else [self.agreement])]


def planned(subject: Subject, grid: Grid, subset: Subset, settings: Settings) -> Plan:
    """Plan the pieces of one network."""
    shared = (dict(subject.identity), dict(settings.environment), _deciding(settings.data))
    accuracy = identity("accuracy", *shared, repr(subject.adversary), subject.noise_seed)
    cells = tuple(
        Cell(
            identity(
                "cell",
                *shared,
                grid.seed,
                settings.attributions[attribution],
                settings.attacks[attack],
                # A list: the first metric chooses the examples, and rows come in this order.
                list(settings.metrics.items()),
                settings.examples,
            ),
            grid,
            subset,
            attribution,
            attack,
            settings.examples,
        )
        for attribution in grid.attributions
        for attack in grid.attacks
    )
    agreement = None
    if len(grid.attributions) > 1 and any(metric.compares_maps for metric in grid.metrics.values()):
        parts = (grid.seed, list(settings.attributions.items()), list(settings.metrics.items()))
        agreement = Agreement(identity("agreement", *shared, *parts), grid, subset)
    accuracies = Accuracy(accuracy, subset.data, subject.adversary, subject.noise_seed)
    return Plan(subject, grid, subset, accuracies, cells, agreement)


def _deciding(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is said of the data, without the options that change no number."""
    options = {name: value for name, value in data.get("init_args", {}).items() if name not in _IDLE}
    return {**data, "init_args": options}
