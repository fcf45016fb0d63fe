"""List every method, network and data set with source and options, as their docstrings and signatures say.

python scripts/methods.py    writes docs/methods.md
"""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "methods.md"
NETWORKS = ROOT / "results" / "networks" / "results.csv"
FAMILIES = {
    "attributions": "Attributions",
    "attacks": "Attacks",
    "regimes": "Regimes",
    "metrics": "Metrics",
    "models": "Networks",
    "data": "Data",
}
# What stands in parentheses with a year, or that year behind authors who are part of the sentence.
_CITATION = re.compile(r" ?\(((?:[^()]|\([^()]*\))*\b(?:19|20)\d\d\b(?:[^()]|\([^()]*\))*)\)")
_AUTHORS = re.compile(r"[A-Z][\w-]+(?: et al\.| (?:and|&) [A-Z][\w-]+)?$")
_INTRODUCTION = """\
# Methods

Every class that a configuration can name: what it does, where it comes from, its options with their
defaults. `make methods` writes this page from the docstrings and signatures; a test compares them. The link
leads to the source, whose docstring gives each option's meaning and range, and every deviation from the
publication. Fragments that configure the classes are in `configs/`, one folder for each family."""
_EXPLAINED = """\
*Differentiable* methods can be attacked by gradients and trained against. *Refuses* names those of eight
untrained networks that the method cannot explain, as measured by `make networks`
(`results/networks/results.csv`): {networks}. `settings` means that the options decide; controls were not
run, for they do not look at the network."""
_ATTACKS = """\
An attack that *needs gradients* differentiates the explanation, so it takes a differentiable attribution
only. Any attack runs on any network that its attribution explains."""
_REGIMES = "A regime trains any network that the attribution inside it, if there is one, can differentiate."


def classes(family: str) -> list[type]:
    """Return the classes that the fragments of a family name, by name."""
    found = set()
    for path in (ROOT / "configs" / family).glob("*.yaml"):
        module, name = yaml.safe_load(path.read_text())["class_path"].rsplit(".", 1)
        found.add(getattr(import_module(module), name))
    return sorted(found, key=lambda kind: kind.__name__.lower())


def summary(kind: type) -> str:
    """Return the first sentence of a class's docstring, without its source."""
    return _CITATION.sub("", _first(kind)).replace("..", ".")


def source(kind: type) -> str:
    """Return the first publication that a class's docstring names, or the function that it refers to."""
    found = next((words for text in _texts(kind) if (words := _citation(text))), "")
    if _first(kind).endswith(", ours."):
        return f"ours, after {found}" if found else "ours"
    return found


def _texts(kind: type) -> Iterator[str]:
    """Where a source may stand: the first line, what the class says of itself, functions it refers to."""
    own = re.split(r"\n(?:Args|Attributes|Raises|Example):\n", inspect.getdoc(kind) or "")[0]
    functions = re.findall(r"see `(\w+)`", own)
    if not functions:
        yield _first(kind)
    for name in functions:
        yield inspect.getdoc(getattr(import_module(kind.__module__), name, None)) or ""
    yield own


def _citation(text: str) -> str:
    text = " ".join(text.split())
    found = _CITATION.search(text)
    if found is None:
        return ""
    authors = _AUTHORS.search(text[: found.start()])
    # Only a bare year needs the name before it.
    own = found[1][:4].isdigit() and authors is not None
    return f"{authors[0]}, {found[1]}" if own and authors else found[1]


def _first(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def options(kind: type) -> str:
    """Return a class's options, those without a default first, as `name` or `name=default`."""
    made = {
        field.name: field.default_factory()
        for field in (dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ())
        if field.default_factory is not dataclasses.MISSING
    }
    parameters = list(inspect.signature(kind).parameters.values())
    parameters.sort(key=lambda parameter: parameter.default is not inspect.Parameter.empty)
    return ", ".join(f"`{_option(parameter, made)}`" for parameter in parameters)


def _option(parameter: inspect.Parameter, made: dict[str, Any]) -> str:
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    return f"{parameter.name}={_value(made.get(parameter.name, parameter.default))}"


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        value = dict(value)
    if isinstance(value, float):
        return f"{value:.4g}"
    # The separator of cells.
    return repr(value).replace("|", r"\|")


def _flag(kind: type, name: str) -> str:
    value = inspect.getattr_static(kind, name)
    return "settings" if isinstance(value, property) else "yes" if value else "no"


def refusals() -> dict[str, list[str]]:
    """Return, by attribution, the networks that it refused; those that were not measured are missing."""
    measured = pd.read_csv(NETWORKS, keep_default_na=False)
    return {
        str(method): list(rows.loc[rows["outcome"] == "refused", "network"])
        for method, rows in measured.groupby("method")
    }


def _extra(family: str, kind: type, refused: dict[str, list[str]]) -> list[str]:
    if family == "attributions":
        networks = refused.get(kind.__name__)
        said = "not run" if networks is None else ", ".join(networks) or "none"
        return [_flag(kind, "differentiable"), said]
    if family == "attacks":
        return [_flag(kind, "needs_gradient")]
    if family == "metrics":
        return [_flag(kind, "higher_is_better")]
    return []


_COLUMNS = {
    "attributions": ["differentiable", "refuses"],
    "attacks": ["needs gradients"],
    "metrics": ["higher is better"],
}


def table(family: str, refused: dict[str, list[str]]) -> str:
    """Return the Markdown table of a family."""
    header = ["class", "what it does", "source", *_COLUMNS.get(family, []), "options"]
    rows = [header, ["---"] * len(header)]
    for kind in classes(family):
        link = f"[`{kind.__name__}`](../{kind.__module__.replace('.', '/')}.py)"
        cells = [link, summary(kind), source(kind), *_extra(family, kind, refused), options(kind)]
        rows.append([cell.replace("\n", " ") for cell in cells])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _sections() -> Iterator[str]:
    refused = refusals()
    networks = "; ".join(dict.fromkeys(pd.read_csv(NETWORKS)["network"]))
    words = {
        "attributions": _EXPLAINED.format(networks=networks),
        "attacks": _ATTACKS,
        "regimes": _REGIMES,
    }
    yield _INTRODUCTION
    for family, title in FAMILIES.items():
        yield f"## {title}"
        if family in words:
            yield words[family]
        yield table(family, refused)


def render() -> str:
    """Return the page."""
    return "\n\n".join(_sections()) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
