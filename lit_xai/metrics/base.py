"""The interface of metrics: a score for each sample first, a mean second."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
import torchmetrics
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.metrics.maps import check_finite
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


class Summary(NamedTuple):
    """A mean that says what it is made of.

    Attributes:
        value: Mean of the defined scores; NaN if there is none.
        stderr: Standard error of that mean; NaN for fewer than two scores.
        count: Number of defined scores.
        undefined: Number of scores that are NaN.
    """

    value: float
    stderr: float
    count: int  # type: ignore[assignment]
    undefined: int


def summarize(scores: Tensor) -> Summary:
    """Return the mean of scores (N,), its standard error and the counts, computed in double precision.

    Example:
        >>> summarize(torch.tensor([1.0, 3.0, float("nan")]))
        Summary(value=2.0, stderr=1.0, count=2, undefined=1)
    """
    defined = scores[~scores.isnan()].double()
    count, undefined = len(defined), len(scores) - len(defined)
    value = defined.mean().item() if count else float("nan")
    stderr = defined.std().item() / count**0.5 if count > 1 else float("nan")
    return Summary(value, stderr, count, undefined)


def _summary(total: Tensor, total_squared: Tensor, count: int, undefined: int) -> Summary:
    if not count:
        return Summary(float("nan"), float("nan"), 0, undefined)
    mean = total.item() / count
    if count == 1:
        return Summary(mean, float("nan"), 1, undefined)
    excess = total_squared.item() - count * mean**2
    # Below the rounding of the sums there is no telling the scores apart.
    rounding = 2.0**-52 * count * total_squared.item()
    variance = excess / (count - 1) if excess > rounding else 0.0
    return Summary(mean, (variance / count) ** 0.5, count, undefined)


class SampleMetric(torchmetrics.Metric, ABC):
    """The mean of a score that every sample has by itself, exact over any number of processes.

    `compute` returns the mean, `summary` the mean with its standard error and counts. Undefined scores (NaN)
    are left out of the mean and counted.

    Attributes:
        controls: Metrics without which its number misleads; a grid asks for them, of the same `settings`.
        compares_maps: Whether its score is a function of the two maps alone, whatever the unit of each, so
            that it also compares two explanations of one image.
    """

    controls: ClassVar[tuple[type["SampleMetric"], ...]] = ()
    compares_maps: ClassVar[bool] = False

    full_state_update = False
    is_differentiable = False
    total: Tensor
    total_squared: Tensor
    count: Tensor
    undefined: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("total", "total_squared"):
            self.add_state(name, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        for name in ("count", "undefined"):
            self.add_state(name, torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def explanation(self) -> Attribution | None:
        """The only explanation whose maps it can score; any if None."""
        return None

    @property
    def settings(self) -> tuple[object, ...]:
        """The options that a metric shares with its controls."""
        return ()

    @abstractmethod
    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        """Score each sample.

        Args:
            model: The attacked network, in evaluation mode.
            result: N samples before and after the attack.
            noise: The attack's randomness, keyed by sample: its child `attribution` gives the draws of the
                explanations; metrics draw from children of their own.

        Returns:
            Scores, (N,), NaN where undefined.
        """

    def update(self, model: nn.Module, result: AttackResult, noise: Noise) -> None:
        """Add the scores of N samples.

        Raises:
            ValueError: If a map is not finite; the sample is named.
        """
        for maps in (result.attribution, result.attribution_adv):
            check_finite(maps, result.sample_id)
        scores = self.scores(model, result, noise).double()
        defined = scores[~scores.isnan()]
        # Not in place: a state reset in inference mode must stay usable outside it.
        self.total = self.total + defined.sum()
        self.total_squared = self.total_squared + defined.square().sum()
        self.count = self.count + len(defined)
        self.undefined = self.undefined + (len(scores) - len(defined))

    def compute(self) -> Tensor:
        """Return the mean of the defined scores of all processes, a float64 scalar, NaN if there is none."""
        return self.total / self.count

    def summary(self) -> Summary:
        """Return the mean of all processes with its standard error and counts."""
        with self.sync_context(should_sync=self._to_sync, should_unsync=True):
            return _summary(self.total, self.total_squared, int(self.count), int(self.undefined))
