"""Whether the parts of a grid fit each other."""

import re
import warnings
from collections.abc import Mapping

from torch import nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Attribution
from lit_xai.metrics.base import SampleMetric

_RESERVED = ("excluded", "failed", "none")


def check_parts(
    attributions: Mapping[str, Attribution],
    attacks: Mapping[str, Attack],
    metrics: Mapping[str, SampleMetric],
) -> None:
    """Refuse parts that make no grid, and ask for the controls that metrics need.

    Raises:
        ValueError: If a name is not made of lower-case letters, digits and underscores, a part is empty, or a
            metric scores another explanation than the grid's.
        TypeError: If an attack differentiates and an attribution is not differentiable.
    """
    for part, names in {"attributions": attributions, "metrics": metrics}.items():
        _check_names(part, list(names))
    check_attacks(attributions, attacks)
    for attribution in attributions.values():
        _check_scored(attribution, metrics)
    _ask_for_controls(metrics)


def check_attacks(attributions: Mapping[str, Attribution], attacks: Mapping[str, Attack]) -> None:
    """Refuse attacks that make no grid with these attributions.

    Raises:
        ValueError: If a name is not made of lower-case letters, digits and underscores, or there is none.
        TypeError: If an attack differentiates and an attribution is not differentiable.
    """
    _check_names("attacks", list(attacks))
    for attribution in attributions.values():
        _check_attacked(attribution, attacks)


def _check_names(part: str, names: list[str]) -> None:
    if not names:
        raise ValueError(f"Expected at least one of `{part}`, but got none.")
    for name in names:
        if name in _RESERVED or hasattr(nn.ModuleDict, name):
            raise ValueError(f"Expected a name of your own in `{part}`, but got {name}, which is reserved.")
        if not re.fullmatch(r"[a-z0-9_]+", name):
            raise ValueError(
                f"Expected names of lower-case letters, digits and _ in `{part}`, but got {name}."
            )


def _check_attacked(attribution: Attribution, attacks: Mapping[str, Attack]) -> None:
    for attack in attacks.values():
        if attack.needs_gradient and not attribution.differentiable:
            raise TypeError(
                f"Expected differentiable attributions for {type(attack).__name__}, but got "
                f"{type(attribution).__name__}. Give it a grid of its own."
            )


def _check_scored(attribution: Attribution, metrics: Mapping[str, SampleMetric]) -> None:
    for name, metric in metrics.items():
        if metric.explanation not in (None, attribution):
            raise ValueError(
                f"Expected {metric.explanation} alone, which {name} scores, but got {attribution}. "
                "Give it a grid of its own."
            )


def _ask_for_controls(metrics: Mapping[str, SampleMetric]) -> None:
    for name, metric in metrics.items():
        present = {type(other) for other in metrics.values() if other.settings == metric.settings}
        if missing := " and ".join(control.__name__ for control in metric.controls if control not in present):
            warnings.warn(
                f"Expected {missing} of the same options beside {name}: its number misleads without.",
                UserWarning,
                stacklevel=4,
            )
