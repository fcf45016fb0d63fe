"""The code that numbers come from, known by its content."""

import hashlib
import importlib.util
from collections.abc import Iterable
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
# What is installed is known by its version.
_INSTALLED = ("lit_xai", "torch", "torchvision", "timm", "captum", "lightning", "builtins")


@cache
def package_digest() -> str:
    """Return the SHA-256 of this package's sources, but for the reports, which change no score."""
    digest = hashlib.sha256()
    for path in sorted(set(_PACKAGE.rglob("*.py")) - set((_PACKAGE / "reporting").rglob("*.py"))):
        digest.update(f"{path.relative_to(_PACKAGE)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def source_digests(modules: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of the source files of a user's own modules.

    Args:
        modules: Names; those of packages that results name by version, and those without a source file, are
            left out.
    """
    digests = {}
    for module in sorted(set(modules)):
        if module.partition(".")[0] in _INSTALLED:
            continue
        try:
            found = importlib.util.find_spec(module)
        except (ImportError, ValueError):
            continue
        source = None if found is None else found.origin
        if source is not None and Path(source).is_file():
            digests[module] = hashlib.sha256(Path(source).read_bytes()).hexdigest()
    return digests
