"""One attack at many strengths."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from decimal import Decimal
from itertools import product
from operator import attrgetter
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from lit_xai.attacks.base import Attack


@dataclass(frozen=True)
class Sweep:
    """Versions of an attack, one for each combination of values.

    A version is named after its attack and values, as in `top_k_eps_0_05`: six digits, whole numbers in full,
    never an exponent. A version whose values are the attack's own is the attack itself. A field of an attack
    that the attack holds has its place in front, as `reference.alpha` of a `MatchedGaussian`; the version's
    name leaves it out.

    Args:
        values: Values to try, by field of the attack; all combinations, the last field varying fastest.
        scaled: Fields that stay in proportion to the first of `values`, as a `step_size` to `eps`; whole
            numbers among them are rounded.

    Raises:
        ValueError: If there is no field or no value, a value comes twice or is not finite, or a field is both
            swept and scaled.
    """

    values: dict[str, list[float]]
    scaled: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("Expected at least one field in `values`, but got none.")
        for name, values in self.values.items():
            plain = not any(isinstance(value, bool) for value in values) and all(map(math.isfinite, values))
            if not values or len(set(values)) < len(values) or not plain:
                raise ValueError(f"Expected finite values for `{name}`, each once, but got {values}.")
        _refuse_doubles("fields in `values` and `scaled`, each once", [*self.values, *self.scaled])

    def versions(self, name: str, attack: Attack) -> dict[str, tuple[Attack, dict[str, float]]]:
        """Return the versions of an attack.

        Args:
            name: Of the attack.
            attack: A dataclass; it decides everything but the swept and the scaled fields.

        Returns:
            Attack and values of the swept fields, by name.

        Raises:
            ValueError: If the attack lacks a field, a field is not a number or a value is no value for it, or
                values have one name; or whatever the attack refuses.
        """
        whole = _numbers(attack)
        for option in (*self.values, *self.scaled):
            if option not in whole:
                numbers = ", ".join(whole) or "none"
                raise ValueError(
                    f"Expected a number among the fields of {name} ({numbers}), but got {option}."
                )
        columns = [
            [_whole(option, value) if whole[option] else value for value in values]
            for option, values in self.values.items()
        ]
        chosen = [dict(zip(self.values, row, strict=True)) for row in product(*columns)]
        names = [
            "_".join([name, *(f"{_last(option)}_{_text(row[option])}" for option in row)]) for row in chosen
        ]
        _refuse_doubles("values that differ in six digits", names)
        return {key: (self._version(attack, row), row) for key, row in zip(names, chosen, strict=True)}

    def _version(self, attack: Attack, values: Mapping[str, float]) -> Attack:
        changes = {**values, **self._in_proportion(attack, values)}
        if all(attrgetter(option)(attack) == value for option, value in changes.items()):
            return attack
        version: Attack = _replaced(attack, changes)
        return version

    def _in_proportion(self, attack: Attack, values: Mapping[str, float]) -> dict[str, float]:
        if not self.scaled:
            return {}
        first = next(iter(values))
        for option in (first, *self.scaled):
            if not attrgetter(option)(attack):
                raise ValueError(
                    f"Expected a number other than 0 as `{option}` where `scaled` names it or another field, "
                    f"but got {attrgetter(option)(attack)}. Set it, or empty `scaled`."
                )
        # In this order, so that the attack's own value gives exactly the attack's own setting.
        ratio = values[first] / attrgetter(first)(attack)
        whole = _numbers(attack)
        found = {option: attrgetter(option)(attack) * ratio for option in self.scaled}
        return {option: round(value) if whole[option] else value for option, value in found.items()}


def expand(
    attacks: Mapping[str, Attack], sweeps: Mapping[str, Sweep]
) -> tuple[dict[str, Attack], dict[str, tuple[str, dict[str, float]]]]:
    """Put versions in the place of the attacks that are swept.

    Args:
        attacks: Of a grid, by name.
        sweeps: By name of the attack.

    Returns:
        The attacks, by name, and for each version the name of its attack and its values.

    Raises:
        ValueError: If a sweep's attack is not there, a version has the name of another attack, or as
            `Sweep.versions`.
    """
    for name in sweeps:
        if name not in attacks:
            raise ValueError(f"Expected `sweeps` of {', '.join(attacks)}, but got {name}.")
    entries: list[tuple[str, Attack]] = []
    families: dict[str, tuple[str, dict[str, float]]] = {}
    for name, attack in attacks.items():
        if name not in sweeps:
            entries.append((name, attack))
            continue
        for key, (version, values) in sweeps[name].versions(name, attack).items():
            entries.append((key, version))
            families[key] = name, values
    _refuse_doubles("attacks of different names", [name for name, _ in entries])
    return dict(entries), families


def _refuse_doubles(expected: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise ValueError(f"Expected {expected}, but got {name} twice.")
        seen.add(name)


def _numbers(attack: Attack) -> dict[str, bool]:
    """Return which options are numbers, of an attack and of those it holds, and whether only whole ones."""
    settings: Any = attack
    if not is_dataclass(settings):
        return {}
    hints = get_type_hints(type(settings))
    names = [option.name for option in fields(settings) if option.init]
    kinds = {name: _alternatives(hints[name]) for name in names}
    own = {name: float not in kind for name, kind in kinds.items() if kind & {int, float}}
    held = {name: getattr(settings, name) for name in names}
    inner = {
        f"{name}.{option}": whole
        for name, part in held.items()
        if isinstance(part, Attack)
        for option, whole in _numbers(part).items()
    }
    return {**own, **inner}


def _replaced(part: Any, changes: Mapping[str, float]) -> Any:
    """Return a copy of an attack with other options, its own or, behind a dot, those of one that it holds."""
    own: dict[str, Any] = {}
    held: dict[str, dict[str, float]] = {}
    for option, value in changes.items():
        name, dot, inner = option.partition(".")
        if dot:
            held.setdefault(name, {})[inner] = value
        else:
            own[name] = value
    return replace(
        part, **own, **{name: _replaced(getattr(part, name), inner) for name, inner in held.items()}
    )


def _last(option: str) -> str:
    return option.rpartition(".")[2]


def _alternatives(hint: Any) -> set[Any]:
    return set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}


def _whole(option: str, value: float) -> int:
    if not float(value).is_integer():
        raise ValueError(f"Expected whole numbers for `{option}`, but got {value:g}.")
    return int(value)


def _text(value: float) -> str:
    """Return a number in lower-case letters, digits and underscores.

    Example:
        >>> [_text(value) for value in (0.05, 0.1 + 0.2, 1e-05, 100.0, -0.5)]
        ['0_05', '0_3', '0_00001', '100', 'minus_0_5']
    """
    plain = str(int(value)) if float(value).is_integer() else f"{Decimal(f'{value:g}'):f}"
    return plain.replace("-", "minus_").replace(".", "_")
