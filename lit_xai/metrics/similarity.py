"""How alike two explanations point, whatever their scale."""

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import Reduce, check_pair, check_reduce, map_pair
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def cosine(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of the angle between two attributions.

    Args:
        first: Values, (N, ...).
        second: Values, (N, ...).

    Returns:
        Cosines in [-1, 1], (N,), float64; NaN where one of them is all zero.

    Raises:
        ValueError: If the shapes differ or a value is not finite.

    Example:
        >>> import torch
        >>> cosine(torch.tensor([[1.0, 0.0]]), torch.tensor([[3.0, 4.0]]))
        tensor([0.6000], dtype=torch.float64)
    """
    check_pair(first, second)
    return _cosine(first.flatten(1).double(), second.flatten(1).double())


def pearson(first: Tensor, second: Tensor) -> Tensor:
    """Return Pearson's correlation of two attributions over their values.

    Args:
        first: Values, (N, ...).
        second: Values, (N, ...).

    Returns:
        Correlations in [-1, 1], (N,), float64; NaN where one of them is constant.

    Raises:
        ValueError: If the shapes differ or a value is not finite.
    """
    check_pair(first, second)
    centred = []
    for maps in (first, second):
        values = maps.flatten(1).double()
        constant = (values == values[:, :1]).all(dim=1, keepdim=True)
        centred.append((values - values.mean(dim=1, keepdim=True)).masked_fill(constant, 0.0))
    return _cosine(*centred)


def _cosine(first: Tensor, second: Tensor) -> Tensor:
    # Relative to the largest value, whose square cannot underflow; all zero becomes 0 / 0, which is NaN.
    first, second = (values / values.abs().amax(dim=1, keepdim=True) for values in (first, second))
    lengths = (first.square().sum(dim=1) * second.square().sum(dim=1)).sqrt()
    return ((first * second).sum(dim=1) / lengths).clamp(-1.0, 1.0)


class Cosine(SampleMetric):
    """Mean cosine of the attributions before and after an attack (Wang & Kong, 2022, arXiv 2205.07279).

    Args:
        reduce: From channels to pixels, as in `pixel_map`; by default signed values of every channel are
            compared, as in the source.

    Raises:
        ValueError: If `reduce` is unknown.
    """

    higher_is_better = True
    compares_maps = True

    def __init__(self, reduce: Reduce | None = None) -> None:
        super().__init__()
        if reduce is not None:
            check_reduce(reduce)
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return cosine(*map_pair(result, self.reduce))


class Pearson(SampleMetric):
    """Mean Pearson correlation of the maps before and after an attack (Dombrowski et al., 2019).

    The paper is arXiv 1906.07983.

    Args:
        reduce: From channels to pixels, as in `pixel_map`; None compares signed values of every channel.

    Raises:
        ValueError: If `reduce` is unknown.
    """

    higher_is_better = True
    compares_maps = True

    def __init__(self, reduce: Reduce | None = "abs_sum") -> None:
        super().__init__()
        if reduce is not None:
            check_reduce(reduce)
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return pearson(*map_pair(result, self.reduce))
