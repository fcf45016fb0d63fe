"""Which samples, in which order, on which process."""

from typing import Any

import torch
from lightning.pytorch.overrides.distributed import UnrepeatedDistributedSampler
from torch import Tensor
from torch.utils.data import Dataset, DistributedSampler, Sampler, SequentialSampler

from lit_xai.types import Batch


def training_order(dataset: Dataset[Batch], world_size: int, rank: int, seed: int) -> DistributedSampler[Any]:
    """Return a shuffled share of the data set, another order every epoch.

    The global batches are the same for any number of processes. If the data set does not divide by that
    number, up to `world_size - 1` samples, others in every epoch, are left out; none is trained on twice.
    """
    return DistributedSampler(dataset, world_size, rank, shuffle=True, seed=seed, drop_last=True)


def evaluation_order(dataset: Dataset[Batch], world_size: int, rank: int) -> Sampler[int]:
    """Return a share of the data set in its own order; over all processes every sample comes exactly once."""
    if rank >= len(dataset):  # type: ignore[arg-type]
        # Lightning's sampler refuses to give a process nothing.
        return SequentialSampler([])
    return UnrepeatedDistributedSampler(dataset, world_size, rank, shuffle=False)


def stratified(labels: Tensor, size: int, seed: int) -> list[int]:
    """Choose a subset with the classes as even as they can be.

    Args:
        labels: Class of each sample, (N,), int64.
        size: Samples to choose; all of them if there are fewer.
        seed: Of the choice.

    Returns:
        Sorted positions.

    Example:
        >>> stratified(torch.tensor([0, 0, 0, 1, 2]), 3, seed=0)[1:]
        [3, 4]
    """
    generator = torch.Generator().manual_seed(seed)
    shuffled = torch.randperm(len(labels), generator=generator)
    turn = torch.empty(len(labels), dtype=torch.long)
    for label in labels.unique():
        members = (labels[shuffled] == label).nonzero().squeeze(1)
        turn[members] = torch.arange(len(members))
    # Sorting by turn takes one sample of each class before the second of any.
    return sorted(shuffled[turn.argsort(stable=True)[:size]].tolist())
