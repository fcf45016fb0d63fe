"""Options that grow during training."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from torch import Tensor, nn

from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.types import Donors, RegimeLoss


@dataclass(frozen=True)
class Ramp:
    """A straight line from a share of an option's value to the whole of it.

    Args:
        first: Share of the value until the ramp begins, in (0, 1).
        begin: Where it begins, as a share of the training, in [0, 1).
        end: Where it ends, as a share of the training, in (`begin`, 1].

    Raises:
        ValueError: If an option is out of its range.

    Example:
        >>> [Ramp(first=0.5, end=0.5).share(progress) for progress in (0.0, 0.25, 1.0)]
        [0.5, 0.75, 1.0]
    """

    first: float = 0.1
    begin: float = 0.0
    end: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.first < 1:
            raise ValueError(
                f"Expected `first` in (0, 1), but got {self.first:g}. Leave out what does not grow."
            )
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(
                f"Expected `begin` below `end`, both in [0, 1], but got {self.begin:g} and {self.end:g}."
            )

    def share(self, progress: float) -> float:
        """Return the share of the value after a share of the training, both in [0, 1]."""
        done = min(max((progress - self.begin) / (self.end - self.begin), 0.0), 1.0)
        return self.first + (1 - self.first) * done


@dataclass(frozen=True)
class Scheduled(Regime):
    """Train by another regime while some of its numbers grow to their values.

    Starting with a small radius or weight keeps a hard regime from getting stuck at the outset. Progress
    counts optimiser steps, from 0 to 1.

    Args:
        regime: Whose options grow.
        ramps: How, by the option's name: `eps`, `weight`, or with dots that of a part, `robust.eps`. An `eps`
            should grow with its `step_size`.

    Raises:
        ValueError: If there is no ramp, or no such number among the options.
    """

    regime: Regime
    ramps: Mapping[str, Ramp]

    def __post_init__(self) -> None:
        if not self.ramps:
            raise ValueError("Expected `ramps` of at least one option, but got none.")
        self.at(0.0)

    def prepare(self, model: nn.Module, donors: Donors) -> "Scheduled":
        return Scheduled(self.regime.prepare(model, donors), self.ramps)

    @property
    def compares_with_start(self) -> bool:
        return type(self).prepare is not Scheduled.prepare or self.regime.compares_with_start

    def at(self, progress: float) -> Regime:
        regime = self.regime.at(progress)
        for name, ramp in self.ramps.items():
            regime = _scaled(regime, name, ramp.share(progress))
        return regime

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        return self.at(1.0).loss(model, image, label, noise)


def _scaled(method: Any, name: str, share: float) -> Any:
    option, _, inner = name.partition(".")
    part = getattr(method, option, None)
    if inner and is_dataclass(part):
        value = _scaled(part, inner, share)
    elif name in _numbers(method):
        value = getattr(method, name) * share
    else:
        raise ValueError(
            f"Expected a number of {type(method).__name__} in `ramps`, but got {name}. "
            f"It has {', '.join(_numbers(method)) or 'none'}."
        )
    # Not `replace`, which would lose what was prepared.
    changed = copy.copy(method)
    object.__setattr__(changed, option, value)
    if hasattr(changed, "__post_init__"):
        changed.__post_init__()
    return changed


def _numbers(method: Any) -> list[str]:
    # By the declared type: a weight written as 6 can grow, a number of steps cannot.
    options = fields(method) if is_dataclass(method) else ()
    return [option.name for option in options if option.init and option.type in (float, "float")]
