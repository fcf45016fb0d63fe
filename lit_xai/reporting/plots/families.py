"""What the card says about attacks: controls, and families of one attack."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lit_xai.reporting.reading import Results

CONTROLS = ("RandomSign", "GaussianInjection", "MatchedGaussian")
# Fields that say which of several equals was taken, such as the donor of an injection: these are averaged.
AVERAGED = ("rank",)


class Family(NamedTuple):
    """The attacks of one sweep, by name, with the values of the fields that were varied."""

    name: str
    attacks: dict[str, dict[str, Any]]
    kind: str

    @property
    def is_control(self) -> bool:
        """Whether the attack does not look at the explanation."""
        return self.kind in CONTROLS


def class_name(entry: Mapping[str, Any]) -> str:
    """Return the class of an attack or metric of the card, without its modules."""
    return str(entry.get("class_path", "")).rpartition(".")[2]


def is_control(results: Results, attack: str) -> bool:
    """Return whether an attack is a control; the unattacked image is one."""
    entry = results.card["attacks"][attack]
    return attack == "unattacked" or class_name(entry) in (*CONTROLS, "Unattacked")


def swept(results: Results, fields: int) -> list[Family]:
    """Return the sweeps over exactly so many fields, in the card's order.

    Args:
        results: Of an evaluation.
        fields: How many were varied at once, not counting those of `AVERAGED`: attacks that differ in these
            alone have the same values.
    """
    found: dict[tuple[str, tuple[str, ...]], Family] = {}
    for name, entry in results.card["attacks"].items():
        values = {name: value for name, value in (entry.get("values") or {}).items() if name not in AVERAGED}
        if not entry.get("sweep") or len(values) != fields:
            continue
        key = (entry["sweep"], tuple(sorted(values)))
        family = found.setdefault(key, Family(entry["sweep"], {}, class_name(entry)))
        family.attacks[name] = dict(values)
    return list(found.values())
