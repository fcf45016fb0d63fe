"""How alike two maps are, differentiably: what regimes that align explanations maximise."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from lit_xai.attributions.base import check_counts
from lit_xai.noise import Noise

_ZERO = 1e-35


def alignment(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of the angle between two maps, which can be trained: no map makes it NaN.

    Args:
        first: Values, (N, ...).
        second: Values, (N, ...).

    Returns:
        Cosines in [-1, 1] up to rounding, (N,); 0, with no derivative, where a map is below 1e-35 everywhere.

    Example:
        >>> alignment(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), torch.tensor([[3.0, 4.0], [3.0, 4.0]]))
        tensor([0.6000, 0.0000])
    """
    return (_unit(first.flatten(1)) * _unit(second.flatten(1))).sum(dim=1)


class Similarity(ABC):
    """A similarity of maps, the same whatever their scale: frozen settings and one method.

    Defined for every pair: a map that says nothing is not like any other, similarity 0, and has no gradient.
    """

    @abstractmethod
    def similarity(self, first: Tensor, second: Tensor, noise: Noise) -> Tensor:
        """Return how alike two maps are, for each sample.

        Args:
            first: Signed maps, (N, C, H, W).
            second: Signed maps, (N, C, H, W).
            noise: The randomness, keyed by sample.

        Returns:
            Similarities in [-1, 1], (N,), differentiable in both maps.
        """


@dataclass(frozen=True)
class Cosine(Similarity):
    """The cosine of the angle between two maps; a map below 1e-35 everywhere says nothing."""

    def similarity(self, first: Tensor, second: Tensor, noise: Noise) -> Tensor:
        return alignment(first, second)


@dataclass(frozen=True)
class Pearson(Similarity):
    """Pearson's correlation of two maps: their cosine after subtraction of the mean."""

    def similarity(self, first: Tensor, second: Tensor, noise: Noise) -> Tensor:
        return alignment(_centred(first.flatten(1)), _centred(second.flatten(1)))


@dataclass(frozen=True)
class _Pairwise(Similarity):
    """Compare the order of pairs of pixels.

    Args:
        sharpness: How many times a difference of one standard deviation of the map enters the tanh.
        samples: Pixels drawn at random of each image, every time anew, the same of both maps; all of them if
            there are no more. Memory is that of `samples` squared values for each map.

    Raises:
        ValueError: If an option is out of its range.
    """

    sharpness: float = 10.0
    samples: int = 256

    def __post_init__(self) -> None:
        if not 0 < self.sharpness < math.inf:
            raise ValueError(f"Expected `sharpness` above 0 and finite, but got {self.sharpness:g}.")
        check_counts(self, "samples", least=2)

    def similarity(self, first: Tensor, second: Tensor, noise: Noise) -> Tensor:
        chosen = self._chosen(first.flatten(1), noise)
        return alignment(*(self.compared(self._signs(maps.flatten(1), chosen)) for maps in (first, second)))

    @abstractmethod
    def compared(self, signs: Tensor) -> Tensor:
        """Return the values whose cosine is the similarity, (N, m), from the soft signs, (N, n, n)."""

    def _chosen(self, values: Tensor, noise: Noise) -> Tensor | None:
        if values.shape[1] <= self.samples:
            return None
        return noise.child("pixels").uniform(values).argsort(dim=1)[:, : self.samples]

    def _signs(self, values: Tensor, chosen: Tensor | None) -> Tensor:
        standard = _unit(_centred(values)) * values.shape[1] ** 0.5
        if chosen is not None:
            standard = standard.gather(1, chosen)
        return torch.tanh(self.sharpness * (standard[:, :, None] - standard[:, None, :]))


@dataclass(frozen=True)
class SoftKendall(_Pairwise):
    """Kendall's rank correlation with soft signs.

    The cosine of tanh(sharpness * (a_i - a_j)) over all pairs of pixels, the maps standardised. The limit of
    high sharpness is tau-b, ties included; equal maps have similarity 1 at any sharpness.

    Args:
        sharpness: How many times a difference of one standard deviation of the map enters the tanh.
        samples: Pixels drawn at random of each image, every time anew, the same of both maps; all of them if
            there are no more. Memory is that of `samples` squared values for each map.

    Raises:
        ValueError: If an option is out of its range.
    """

    def compared(self, signs: Tensor) -> Tensor:
        return signs.flatten(1)


@dataclass(frozen=True)
class SoftSpearman(_Pairwise):
    """Spearman's rank correlation with soft ranks.

    The correlation of the ranks sum_j sigmoid(2 * sharpness * (a_i - a_j)), the maps standardised. The limit
    of high sharpness has mean ranks for ties; equal maps have similarity 1 at any sharpness.

    Args:
        sharpness: Half of what a difference of one standard deviation of the map is multiplied by.
        samples: Pixels drawn at random of each image, every time anew, the same of both maps; all of them if
            there are no more. Memory is that of `samples` squared values for each map.

    Raises:
        ValueError: If an option is out of its range.
    """

    def compared(self, signs: Tensor) -> Tensor:
        # A sigmoid is half of 1 + tanh, so these are twice the ranks less their mean.
        return signs.sum(dim=2)


def _centred(values: Tensor) -> Tensor:
    constant = (values == values[:, :1]).all(dim=1, keepdim=True)
    # The mean of equal values may miss them by rounding.
    return (values - values.mean(dim=1, keepdim=True)).masked_fill(constant, 0.0)


def _unit(values: Tensor) -> Tensor:
    """Return rows of length one, zero without a gradient where a row is zero."""
    largest = values.detach().abs().amax(dim=1, keepdim=True)
    zero = largest < _ZERO
    # Relative to the largest value, whose square neither underflows nor overflows.
    scaled = torch.where(zero, 1.0, values / torch.where(zero, 1.0, largest))
    return (scaled / scaled.square().sum(dim=1, keepdim=True).sqrt()).masked_fill(zero, 0.0)
