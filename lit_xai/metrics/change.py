"""How much of an explanation an attack replaces."""

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import Reduce, check_pair, check_reduce, map_pair
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def explanation_change(first: Tensor, second: Tensor) -> Tensor:
    """Return the change of an attribution relative to its size (Pesce et al., 2025, arXiv 2511.10088).

    Args:
        first: Signed attributions of the clean images, (N, ...).
        second: Signed attributions of the attacked images, (N, ...).

    Returns:
        Percent, 100 * sum |first - second| / sum |first|, (N,), float64. It can exceed 100; NaN where the
        first is all zero.

    Raises:
        ValueError: If the shapes differ or a value is not finite.

    Example:
        >>> import torch
        >>> explanation_change(torch.tensor([[1.0, -1.0]]), torch.tensor([[1.0, 1.0]]))
        tensor([100.], dtype=torch.float64)
    """
    check_pair(first, second)
    before, after = first.flatten(1).double(), second.flatten(1).double()
    size = before.abs().sum(dim=1)
    change = 100 * (before - after).abs().sum(dim=1) / size
    return change.masked_fill(size == 0, float("nan"))


class ExplanationChange(SampleMetric):
    """Mean change of the attribution, in percent (Pesce et al., 2025, arXiv 2511.10088).

    Args:
        reduce: From channels to pixels, as in `pixel_map`; by default signed values of every channel are
            compared, as in the paper.

    Raises:
        ValueError: If `reduce` is unknown.
    """

    higher_is_better = False

    def __init__(self, reduce: Reduce | None = None) -> None:
        super().__init__()
        if reduce is not None:
            check_reduce(reduce)
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return explanation_change(*map_pair(result, self.reduce))
