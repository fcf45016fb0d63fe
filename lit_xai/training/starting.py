"""What networks begin with, where a checkpoint replaces it."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from lit_xai.models.library import LibraryClassifier, read_sources
from lit_xai.module import LitClassifier


def read_starts(
    classifier: LitClassifier, unread: Iterable[LibraryClassifier], subcommand: str, other: str | Path | None
) -> None:
    """Let networks read what they begin with, but for a trained one that nothing compares with its start.

    Args:
        classifier: Whose weights a checkpoint replaces.
        unread: Networks that were built while `rebuilding`.
        subcommand: Of the training command.
        other: The checkpoint, if it may be somebody else's: it does not decide what is read or fetched. None
            for a run that goes on, or begins.

    Raises:
        ValueError: If the regime compares with a start that such a checkpoint names.
    """
    networks, own = list(unread), set(classifier.model.modules())
    again = subcommand == "fit" and classifier.regime.compares_with_start
    if again and other:
        named = [source for network in networks if network in own for source in _sources(network)]
        named += [] if classifier.warm_start is None else [f"`warm_start` {classifier.warm_start}"]
        if named:
            raise ValueError(
                f"Expected a run that goes on with `--resume`, since {type(classifier.regime).__name__} "
                f"compares with the network that training began with, but got {other}, which names "
                f"{', '.join(named)} for it. Give the checkpoint as `--model.warm_start` of a new run "
                "instead."
            )
    read_sources(network for network in networks if again or network not in own)


def _sources(network: LibraryClassifier) -> Iterator[str]:
    if network.weights is not None:
        yield f"`weights` {network.weights}"
    if network.pretrained:
        yield f"`pretrained` of {network.name}"
