"""Published numbers held against measured ones."""

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Any

import pandas as pd

ROUNDING = 0.0005
_ACCURACIES = ("unattacked", "pgd")


def check_claims(
    claims: Mapping[str, Mapping[str, float]],
    checkpoints: Collection[str],
    attributions: Collection[str],
    attacks: Collection[str],
    metrics: Collection[str],
) -> None:
    """Refuse claims about anything that will not be measured.

    Args:
        claims: For every checkpoint its claimed means, under `attribution/attack/metric`. The accuracies are
            `none/unattacked/accuracy` and `none/pgd/accuracy`.
        checkpoints: Names of what is evaluated.
        attributions: Names in the grid.
        attacks: Names in the grid.
        metrics: Names in the grid.

    Raises:
        ValueError: If a name is unknown, a key does not have three parts, or a claim is not a finite number.
    """
    for checkpoint, claimed in _pairs(claims, "claims"):
        _check_known("checkpoint", checkpoint, checkpoints)
        for key, value in _pairs(claimed, f"claims of {checkpoint!r}"):
            parts = str(key).split("/")
            if len(parts) != 3:
                raise ValueError(f"Expected a claim `attribution/attack/metric`, but got {key!r}.")
            attribution, attack, metric = parts
            _check_known("attribution", attribution, [*attributions, "none"])
            without = attribution == "none"
            _check_known("attack", attack, _ACCURACIES if without else attacks)
            _check_known("metric", metric, ["accuracy"] if without else metrics)
            _check_number(key, value)


def _pairs(mapping: Any, name: str) -> Collection[tuple[Any, Any]]:
    if not isinstance(mapping, Mapping):
        raise ValueError(f"Expected `{name}` to map names to values, but got {mapping!r}.")
    return mapping.items()


def _check_known(kind: str, name: Any, known: Collection[str]) -> None:
    if name in known:
        return
    nearest = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.0)
    remedy = f" The nearest is {nearest[0]!r}." if nearest else ""
    raise ValueError(f"Expected the {kind} of a claim to be evaluated, but got {name!r}.{remedy}")


def _check_number(key: str, value: Any) -> None:
    if not math.isfinite(as_number(value)):
        raise ValueError(f"Expected a finite number as claim of {key!r}, but got {value!r}.")


def measure_claims(claims: Mapping[str, Mapping[str, float]], table: pd.DataFrame) -> list[dict[str, Any]]:
    """Set every claim beside what was measured.

    Args:
        claims: As in `check_claims`.
        table: The content of `results.csv`.

    Returns:
        Entries of checkpoint, attribution, attack, metric, claimed, measured, stderr and count, in the order
        of the claims. What has no row in the table is measured as NaN, over 0 samples.
    """
    columns = ["checkpoint", "attribution", "attack", "metric"]
    numbers = zip(table["value"], table["stderr"], table["count"], strict=True)
    measured = dict(zip(table[columns].itertuples(index=False, name=None), numbers, strict=True))
    entries = []
    for checkpoint, claimed in claims.items():
        for key, value in claimed.items():
            cell = (checkpoint, *key.split("/"))
            mean, stderr, count = measured.get(cell, (math.nan, math.nan, 0))
            entry: dict[str, Any] = dict(zip(columns, cell, strict=True))
            entry |= {"claimed": float(value), "measured": float(mean), "stderr": float(stderr)}
            entries.append({**entry, "count": int(count)})
    return entries


def with_interval(
    claim: Mapping[str, Any], row: "Mapping[Any, Any] | pd.Series[Any] | None"
) -> dict[str, Any]:
    """Return a claim with the 95 % interval of what was measured, where it is known.

    Args:
        claim: An entry of `measure_claims`.
        row: Of `results.csv`, or None. The interval of another mean is not that of the claim's.
    """
    if row is None or not math.isclose(as_number(claim.get("measured")), row["value"], rel_tol=1e-6):
        return dict(claim)
    return {**claim, "low": float(row["low"]), "high": float(row["high"])}


def verdict(claim: Mapping[str, Any], *, higher_is_better: bool | None = None) -> str:
    """Judge one claim.

    A claim is consistent if it lies within the 95 % interval of what was measured: `low` and `high` of the
    claim, or else two standard errors to each side. A distance of 0.0005, the rounding of a number with three
    digits, counts as none; a standard error that is unknown counts as 0.

    Args:
        claim: An entry of `measure_claims`, which may hold the interval too.
        higher_is_better: Direction of the claim's metric; None if it has none. Accuracy has its own.

    Returns:
        `consistent`, `better than claimed`, `worse than claimed`, `not measured`; without a direction
        `higher than claimed` or `lower than claimed`.
    """
    claimed, measured = (as_number(claim.get(key)) for key in ("claimed", "measured"))
    if not math.isfinite(claimed) or not math.isfinite(measured):
        return "not measured"
    low, high = _interval(claim, measured)
    difference = measured - claimed
    # A difference of exactly 0.0005 may come out a few bits larger.
    slack = 1e-9 * max(ROUNDING, high - low)
    if abs(difference) <= ROUNDING + slack or low - slack <= claimed <= high + slack:
        return "consistent"
    if claim.get("metric") == "accuracy":
        higher_is_better = True
    if higher_is_better is None:
        return f"{'higher' if difference > 0 else 'lower'} than claimed"
    return f"{'better' if (difference > 0) == higher_is_better else 'worse'} than claimed"


def _interval(claim: Mapping[str, Any], measured: float) -> tuple[float, float]:
    low, high = as_number(claim.get("low")), as_number(claim.get("high"))
    if math.isfinite(high - low):
        return low, high
    stderr = as_number(claim.get("stderr"))
    return (measured - 2 * stderr, measured + 2 * stderr) if math.isfinite(stderr) else (measured, measured)


def as_number(value: Any) -> float:
    """Return a number as it is, and NaN for anything else that a card may hold."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan
