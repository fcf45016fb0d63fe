"""How a result came about, from its card."""

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lit_xai.reporting.claims import as_number, verdict, with_interval
from lit_xai.reporting.glossary import TERMS
from lit_xai.reporting.isolation import isolated
from lit_xai.reporting.reading import Results
from lit_xai.reporting.tables import Cell, Column, Table, number

_KINDS = ("attributions", "attacks", "metrics")
_IMAGES = {"donors": "donor"}
_CELL = ("checkpoint", "attribution", "attack", "metric")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Fact(NamedTuple):
    """A named value; `code` is what a machine reads."""

    name: str
    text: str
    code: bool = False


class Settings(NamedTuple):
    """One method of the grid: its name, its class, and its options as JSON."""

    name: str
    class_path: str
    options: str


def facts(card: Mapping[str, Any]) -> list[Fact]:
    """Return what was measured, on which images, by what; what the card does not know is left out."""
    data, samples = card.get("data") or {}, card.get("samples") or {}
    checksums = (data.get("sha256") or {}).items()
    found = [
        Fact("Data", _text(data.get("class_path")), code=True),
        Fact("Split", _text(samples.get("split"))),
        Fact("Samples attacked", _count(samples.get("count"))),
        Fact("Images behind the accuracies", _count(samples.get("accuracy_count"))),
        Fact("Batch size", _count(samples.get("batch_size"))),
        Fact("Seeds", _pairs(card.get("seeds"), _text)),
        Fact("Precision of the evaluation", _text(card.get("precision"))),
        Fact("Device", _device(card.get("device") or {})),
        Fact("Passes through the networks", _pairs(card.get("passes"))),
        Fact("Time", _pairs(card.get("seconds"), lambda seconds: f"{_count(seconds)} s")),
        Fact("Measured", _text(card.get("created"))),
        Fact("Versions", _pairs(card.get("versions"))),
    ]
    machine = [
        *(
            Fact(f"SHA-256 of the {_IMAGES.get(name, name)} images", _text(checksum), code=True)
            for name, checksum in checksums
        ),
        Fact("Options of the data", _json(data["init_args"]) if data.get("init_args") else "", code=True),
        Fact("Command", shlex.join(map(str, card.get("command") or [])), code=True),
    ]
    return [fact for fact in (*found, *machine) if fact.text]


def _text(value: Any) -> str:
    return "" if value is None else str(value)


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else _text(value)


def _pairs(mapping: Mapping[str, Any] | None, worded: Callable[[Any], str] = _count) -> str:
    known = {name: value for name, value in (mapping or {}).items() if value is not None}
    return ", ".join(f"{isolated(name, [name])} {worded(value)}" for name, value in known.items())


def _device(device: Mapping[str, Any]) -> str:
    """Return the kind of device, how many processes it worked in, and whatever else is known."""
    named = {key: value for key, value in device.items() if value is not None}
    kind, processes = named.pop("type", None), named.pop("processes", None)
    count = "" if processes is None else f"{_count(processes)} process{'' if processes == 1 else 'es'}"
    return ", ".join(part for part in (_text(kind), count, _pairs(named)) if part)


def _json(value: Any) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    # As JSON writes them too: a character that turns the text behind it would turn the options around.
    return _BIDI.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def settings(card: Mapping[str, Any]) -> dict[str, list[Settings]]:
    """Return the methods of the grid by their kind."""
    return {
        kind: [
            Settings(name, str(entry["class_path"] or "–"), _json(entry.get("init_args") or {}))
            for name, entry in card[kind].items()
        ]
        for kind in _KINDS
    }


def checkpoints(results: Results) -> Table:
    """Return what the checkpoints are."""
    columns = [
        Column("checkpoint", numeric=False),
        Column("regime", numeric=False),
        Column("seed"),
        Column("epoch"),
        Column("steps"),
        Column("trained in", numeric=False, hint=TERMS["trained in"]),
        Column("model", numeric=False),
        Column("parameters"),
        Column("file", numeric=False),
        Column("SHA-256", numeric=False),
    ]
    rows = []
    for name, entry in results.card["checkpoints"].items():
        texts = (entry.get(key) for key in ("model", "file", "sha256"))
        model, file, checksum = ("–" if text is None else str(text) for text in texts)
        precision = Cell(str(entry.get("precision") or "–"))
        epoch, steps, parameters = (_whole(entry.get(key)) for key in ("epoch", "steps", "parameters"))
        # A seed is a name to be typed again, without separators.
        seed = _whole(entry.get("seed"), "d")
        regime = Cell(str(entry.get("regime") or "–"))
        model_cell = Cell(model.rpartition(".")[2])
        cells = [seed, epoch, steps, precision, model_cell, parameters, Cell(file), Cell(checksum)]
        rows.append([Cell(name), regime, *cells])
    return Table("The networks: what they are and where their weights were read.", columns, rows)


def _whole(value: Any, form: str = ",") -> Cell:
    return Cell(format(value, form), value) if isinstance(value, int) else Cell("–")


def attacks(results: Results) -> Table:
    """Return what every attack may do."""
    columns = [
        Column("attack", numeric=False),
        Column("class", numeric=False),
        Column("radius", hint=TERMS["radius"]),
        Column("gradient", numeric=False, hint=TERMS["gradient"]),
        Column("varied", numeric=False, hint=TERMS["varied"]),
    ]
    rows = [
        [
            Cell(name),
            Cell(str(entry["class_path"]).rpartition(".")[2] or "–"),
            _radius(entry.get("radius")),
            Cell({True: "yes", False: "no"}.get(entry.get("needs_gradient"), "–")),
            Cell(", ".join(f"{key} {value}" for key, value in (entry.get("values") or {}).items()) or "–"),
        ]
        for name, entry in results.card["attacks"].items()
    ]
    return Table("The attacks and how far each may move a pixel; a dash: not bounded so.", columns, rows)


def _radius(radius: float | None) -> Cell:
    if radius is None:
        return Cell("–")
    levels = 255 * radius
    near = round(levels) and math.isclose(levels, round(levels), abs_tol=0.02)
    return Cell(f"{radius:.4g}", float(radius), f"{round(levels)}/255" if near else "")


def claims(results: Results) -> Table | None:
    """Return the claims against what was measured; None if there are none."""
    if not results.card.get("claims"):
        return None
    columns = [Column(name, numeric=False) for name in _CELL]
    columns += [Column(name) for name in ("claimed", "measured", "n")] + [Column("verdict", numeric=False)]
    rows = []
    for claim in results.card["claims"]:
        names = [str(claim[key]) for key in _CELL]
        row = results.cell(*names)
        known = with_interval(claim, row)
        numbers = [_claimed(claim["claimed"]), _claimed(claim["measured"])._replace(note=_spread(known))]
        better = {1: True, -1: False}.get(results.direction(names[-1]))
        judged = Cell(verdict(known, higher_is_better=better))
        rows.append([*map(Cell, names), *numbers, _whole(claim.get("count")), judged])
    caption = (
        "Published numbers against those measured here, with 95 % intervals. Consistent: the claim lies "
        "within the interval, which says little where the samples are few."
    )
    return Table(caption, columns, rows)


def _spread(claim: Mapping[str, Any]) -> str:
    low, high, stderr = (as_number(claim.get(key)) for key in ("low", "high", "stderr"))
    if math.isfinite(high - low):
        return f"[{number(low, 4)}, {number(high, 4)}]"
    return f"± {number(stderr, 4)}" if math.isfinite(stderr) else ""


def _claimed(value: Any) -> Cell:
    found = as_number(value)
    return Cell(number(found, 4), found if math.isfinite(found) else None)
