"""What is wrong in the files of a configuration, by file and option, where the parser names neither."""

import difflib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

_ENDINGS = (".yaml", ".yml", ".json")
# Where a class that is named without its module is looked for.
_FAMILIES = ("attributions", "attacks", "regimes", "metrics", "models", "data")


@dataclass(frozen=True)
class Place:
    """A class in a file, and what it is given.

    Args:
        file: Where it stands; None for the command line.
        option: Its place in the file, with dots.
        class_path: As written.
        options: Names of what it is given.
    """

    file: Path | None
    option: str
    class_path: str
    options: tuple[str, ...] = ()


def fault(arguments: Sequence[str]) -> str | None:
    """Find the first class that does not exist, or the first option that its class does not take.

    Classes are imported, as the parser does. Files that other files name are looked into.

    Args:
        arguments: Of a command, with its files.

    Returns:
        Words for the user, None if nothing is found.
    """
    for place in _places(arguments):
        if words := _of_class(place) or _of_options(place):
            return words
    return None


def similar(name: str, names: Sequence[str]) -> str:
    """Return a question that names what is most like a name, with a space before; nothing if none is."""
    close = difflib.get_close_matches(name, sorted(set(names)), n=1, cutoff=0.6)
    return f" Did you mean {close[0]}?" if close else ""


def _places(arguments: Sequence[str]) -> Iterator[Place]:
    name = ""
    for argument in arguments:
        before, equals, value = argument.partition("=")
        if argument.startswith("-"):
            name = before.lstrip("-")
        value = value if equals and argument.startswith("-") else argument
        if value.startswith("-"):
            continue
        if value.endswith(_ENDINGS):
            yield from _in_file(Path(value), ())
        elif _is_class(value):
            yield Place(None, name, value)


def _is_class(text: str) -> bool:
    parts = text.split(".")
    return len(parts) > 1 and all(part.isidentifier() for part in parts) and parts[-1][0].isupper()


def _in_file(path: Path, above: tuple[Path, ...]) -> Iterator[Place]:
    # A file that names itself is the parser's to refuse.
    if not path.is_file() or path in above:
        return
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return
    yield from _in_value(content, path, "", above)


def _in_value(value: Any, path: Path, option: str, above: tuple[Path, ...]) -> Iterator[Place]:
    if isinstance(value, Mapping):
        class_path = value.get("class_path")
        if isinstance(class_path, str):
            given = value.get("init_args")
            options = tuple(map(str, given)) if isinstance(given, Mapping) else ()
            yield Place(path, option, class_path, options)
        for name, inner in value.items():
            own = name in ("class_path", "init_args")
            yield from _in_value(inner, path, option if own else f"{option}.{name}".lstrip("."), above)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _in_value(inner, path, f"{option}[{index}]", above)
    elif isinstance(value, str) and value.endswith(_ENDINGS):
        yield from _in_file(path.parent / value, (*above, path))


def _of_class(place: Place) -> str | None:
    if "." not in place.class_path:
        return None
    try:
        pkgutil.resolve_name(place.class_path)
    except ImportError as error:
        missing = error.name
        if missing is not None and not place.class_path.startswith(missing):
            return (
                f"Expected {place.class_path} to be importable, but got: {error}. It stands{_where(place)}."
            )
    except (AttributeError, ValueError):
        pass
    else:
        return None
    return f"Expected a class, but got {place.class_path}{_where(place)}.{_alternative(place.class_path)}"


def _where(place: Place) -> str:
    if place.file is None:
        return f" for `--{place.option}`"
    return f" for `{place.option or 'class_path'}` in {place.file}"


def _alternative(class_path: str) -> str:
    """Return a question that names what exists beside the first part of a path that does not."""
    parts = class_path.split(".")
    known = 0
    while known < len(parts) and _exists(".".join(parts[: known + 1])):
        known += 1
    if known in (0, len(parts)):
        return "" if known else f" Python finds no {parts[0]}, neither installed nor beside you."
    parent = pkgutil.resolve_name(".".join(parts[:known]))
    names = [name for name in dir(parent) if not name.startswith("_")]
    names += [module.name for module in pkgutil.iter_modules(getattr(parent, "__path__", []))]
    close = difflib.get_close_matches(parts[known], names, n=1)
    return f" Did you mean {'.'.join([*parts[:known], *close, *parts[known + 1 :]])}?" if close else ""


def _exists(path: str) -> bool:
    try:
        pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError):
        return False
    return True


def _of_options(place: Place) -> str | None:
    parameters = _parameters(place.class_path)
    if parameters is None or any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return None
    for name in place.options:
        if name not in parameters:
            words = f"Expected an option of {place.class_path}, but got `{name}`{_where(place)}."
            return f"{words}{similar(name, list(parameters))}"
    return None


def parameters_in(arguments: Sequence[str]) -> list[str]:
    """Return the names of all options of the classes that the files of a command name."""
    found: list[str] = []
    for place in _places(arguments):
        found += _parameters(place.class_path) or ()
    return found


def _parameters(path: str) -> Mapping[str, inspect.Parameter] | None:
    """Return what a class takes, None if there is no such class or Python does not know."""
    try:
        return inspect.signature(pkgutil.resolve_name(path)).parameters
    except (ImportError, AttributeError, ValueError, TypeError):
        return None


def class_names() -> dict[str, str]:
    """Return the paths of this package's components by their names."""
    found: dict[str, str] = {}
    for family in _FAMILIES:
        package = pkgutil.resolve_name(f"lit_xai.{family}")
        for module in pkgutil.iter_modules(package.__path__):
            path = f"lit_xai.{family}.{module.name}"
            for name, value in vars(pkgutil.resolve_name(path)).items():
                if inspect.isclass(value) and value.__module__ == path and not name.startswith("_"):
                    found[name] = f"{path}.{name}"
    return found
