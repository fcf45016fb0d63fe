"""The configuration files that come with the package, wherever a command is run."""

import difflib
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

_INSTALLED = Path(__file__).parent / "configs"
# They are part of the package where it is installed, and beside it in a checkout.
CONFIGS = _INSTALLED if _INSTALLED.is_dir() else _INSTALLED.parents[1] / "configs"
_FOLDER = "configs/"
# As many files that begin alike are named one by one.
_FEW = 2
# The files that beginners need, by folder.
_FIRST = {"evaluate": "quick", "experiments": "embedded_natural"}


def with_shipped(arguments: Sequence[str]) -> list[str]:
    """Return arguments in which a file of `configs/` that is not here is the one that comes with the package.

    Args:
        arguments: Of a command: `configs/...`, alone or after `=`.
    """
    return [_found(argument) for argument in arguments]


def _found(argument: str) -> str:
    before, equals, path = argument.rpartition("=")
    inside = CONFIGS / path.removeprefix(_FOLDER)
    if not path.startswith(_FOLDER) or Path(path).exists() or not inside.is_file():
        return argument
    return f"{before}{equals}{inside}"


def evaluation_file(*, color: bool) -> str:
    """Return the file that begins an evaluation of images, which have smaller radii in colour."""
    return f"{_FOLDER}evaluate/{'color' if color else 'quick'}.yaml"


def shipped(folder: str) -> str:
    """Return words that name all files of a folder, what beginners need first, those that begin alike as one.

    Args:
        folder: Such as `evaluate`.
    """
    names = sorted(path.stem for path in (CONFIGS / folder).glob("*.yaml"))
    first = _FIRST.get(folder)
    groups = groupby((name for name in names if name != first), key=lambda name: name.split("_")[0])
    families = ", ".join(_family(list(group)) for _, group in groups)
    place = f"{_FOLDER}{folder}"
    here = "" if Path(place).is_dir() else f" They lie in {CONFIGS / folder}."
    if first is None:
        return f"In {place} are: {families}.{here}"
    return f"Take {place}/{first}.yaml, or beside it: {families}.{here}"


def shipped_beside(path: Path) -> str | None:
    """Return words that name what comes with the package in the folder of a path, None if nothing does."""
    folder = str(path.parent).removeprefix(_FOLDER)
    if not str(path).startswith(_FOLDER) or not (CONFIGS / folder).is_dir():
        return None
    return shipped(folder)


def _family(names: Sequence[str]) -> str:
    if len(names) <= _FEW:
        return ", ".join(names)
    *words, last = names[0].split("_")
    while not all(name.startswith("_".join([*words, last])) for name in names):
        *words, last = words
    common = "_".join([*words, last])
    return f"{common}{'' if common in names else '_'}* ({len(names)})"


def similar_file(path: Path) -> Path | None:
    """Return the file whose name is most like that of one that does not exist, here or in the package."""
    folders = [path.parent]
    if str(path).startswith(_FOLDER):
        folders.append(CONFIGS / str(path.parent).removeprefix(_FOLDER))
    for folder in folders:
        names = [found.stem for found in folder.glob(f"*{path.suffix}")] if folder.is_dir() else []
        if close := difflib.get_close_matches(path.stem, names, n=1):
            return path.parent / f"{close[0]}{path.suffix}"
    return None
