"""What the settings in a checkpoint may build: parts of a classifier, and nothing else."""

import inspect
import pkgutil
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

_KINDS = (nn.Module, Optimizer, LRScheduler)
# Of this package, and only here: a command is a class too.
_FAMILIES = tuple(
    f"lit_xai.{family}." for family in ("attributions", "attacks", "regimes", "metrics", "models", "data")
)
# A class of theirs that is a part of a classifier stands in these folders.
_FOLDERS = {"torch": ("torch.nn.", "torch.optim.")}
_STANDARD = {*sys.stdlib_module_names, "jsonargparse"}
# Importing one of these acts: a browser opens, a text is printed, a window opens.
_ACTING = {"antigravity", "this", "idlelib", "turtledemo", "__main__"}
_LONGEST_FILE = 1_000_000
_INSTALLED = {
    Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib", "purelib", "platlib")
} | {Path(__file__).resolve().parents[1]}
# The same in C, if PyYAML was built with it: a file may be long.
_Loader = getattr(yaml, "CBaseLoader", yaml.BaseLoader)


def check_components(settings: Any, path: Path) -> None:
    """Refuse settings that would call anything but the classes of a classifier's parts.

    Settings are plain values, but values of the form `{class_path: ..., init_args: ...}` are built when a
    classifier is. A class path of the standard library is refused unseen. Any other is imported, which runs
    the module that it names, as `import` does: only modules installed on this machine, or on its path, can be
    named. What is found there is not called unless it is the class of a network, an optimiser, a schedule, or
    anything that this package's attributions, attacks, regimes and data modules are made of, or is of a
    module of the user's own, which is not among the installed packages. Texts are looked into too: they may
    hold settings, name a file of settings, or name a function of the standard library.

    Args:
        settings: Plain values, as a checkpoint holds them.
        path: Of the checkpoint, for the message.

    Raises:
        ValueError: If they would build anything else.
    """
    try:
        found = next(_refused(settings), None)
    except RecursionError:
        found = "settings inside themselves"
    if found is not None:
        raise ValueError(
            f"Expected settings that build parts of a classifier only, but got {path}, which names "
            f"{' '.join(found.split())[:200]}. Nothing of it was run. A class of your own may wrap it."
        )


def _refused(value: Any) -> Iterator[str]:
    """Yield what must not be built."""
    if isinstance(value, str):
        yield from _refused_text(value)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("class_path", "_class_path"):
                yield from _refused_class(inner)
            # Lightning has a list of what may stand here.
            elif name != "_instantiator":
                yield from _refused(inner)
    elif isinstance(value, list | tuple | set | frozenset):
        for inner in value:
            yield from _refused(inner)


def _refused_class(class_path: Any) -> Iterator[str]:
    parts = class_path.split(".") if isinstance(class_path, str) else []
    if not parts or parts[0] in _STANDARD or "__main__" in parts[1:]:
        yield str(class_path)
        return
    try:
        found = pkgutil.resolve_name(class_path)
    except (ImportError, AttributeError, ValueError):
        # There is no such class, or a bare name that is looked for among the kinds; neither can be called.
        return
    folder = class_path.startswith(_FOLDERS.get(parts[0], ""))
    if not (folder and inspect.isclass(found) and _is_part(found)) and not _is_own(found):
        yield class_path


def _is_own(found: Any) -> bool:
    """Whether a class or function is of a user's own module, which runs when it is imported anyway."""
    file = getattr(sys.modules.get(getattr(found, "__module__", None) or ""), "__file__", None)
    if file is None or not (inspect.isclass(found) or inspect.isfunction(found)):
        return False
    return not any(Path(file).resolve().is_relative_to(place) for place in _INSTALLED)


def _is_part(found: type) -> bool:
    # A user's own attack or data module is one by what it inherits from.
    return issubclass(found, _KINDS) or any(base.__module__.startswith(_FAMILIES) for base in found.__mro__)


def _refused_text(text: str) -> Iterator[str]:
    if _names_standard_function(text):
        yield text
    # The parser of settings takes such texts for what is written in them.
    for written in (text, _content(text)):
        settings = _parsed(written)
        if isinstance(settings, Mapping | list):
            yield from _refused(settings)


def _names_standard_function(text: str) -> bool:
    """Return whether a text is the path of a function, which an option may take in the place of a class."""
    parts = text.split(".")
    if len(parts) == 1 or not all(part.isidentifier() for part in parts):
        return False
    if parts[0] in _ACTING:
        return True
    # Otherwise the name of a layer, such as `features.conv`, could import a module.
    if parts[0] not in _STANDARD and parts[0] not in sys.modules:
        return False
    try:
        found = pkgutil.resolve_name(text)
    except (ImportError, AttributeError, ValueError):
        return False
    return callable(found) and str(found.__module__).partition(".")[0] in _STANDARD


def _parsed(text: str) -> Any:
    try:
        # Every scalar stays a text, so that no value in it can end the reading early.
        return yaml.load(text, Loader=_Loader)
    except (yaml.YAMLError, ValueError) as error:
        # Other readers build what is inside itself.
        if "recursive" in str(error):
            raise RecursionError from error
        return None


def _content(text: str) -> str:
    path = Path(text)
    try:
        return path.read_text() if path.is_file() and path.stat().st_size <= _LONGEST_FILE else ""
    except (OSError, ValueError):
        return ""
