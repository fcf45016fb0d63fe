"""What a finished evaluation says of itself, read and checked."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORMAT = 1
# What a card may leave out, and how that is read.
_UNKNOWN: dict[str, dict[str, Any]] = {
    "checkpoints": {"regime": None, "group": None, "seed": None, "epoch": None, "precision": None},
    "attributions": {"class_path": ""},
    "attacks": {"class_path": "", "radius": None, "sweep": None, "values": {}},
    "metrics": {"class_path": "", "higher_is_better": None, "description": ""},
}


def read_card(path: Path) -> dict[str, Any]:
    """Read `card.json`; what it may leave out is filled in as unknown.

    Raises:
        FileNotFoundError: If it is missing.
        ValueError: If it is damaged or of another format.
    """
    with damage(path):
        card = json.loads(path.read_text(encoding="utf-8"))
    found = card.get("format", "none") if isinstance(card, dict) else "none"
    if found != FORMAT:
        raise ValueError(
            f"Expected a card of format {FORMAT}, but got {found!r} in {path}. Evaluate again with this "
            "version."
        )
    for section, unknown in _UNKNOWN.items():
        entries = card.get(section)
        if not (isinstance(entries, dict) and entries and all(isinstance(e, dict) for e in entries.values())):
            raise ValueError(
                f"Expected a card with `{section}` by name, but got {path} without. Evaluate again."
            )
        card[section] = {name: {**unknown, **entry} for name, entry in entries.items()}
    return {"claims": [], **card}


@contextmanager
def damage(path: Path) -> Iterator[None]:
    """Word the errors of reading a file."""
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"Expected {path.name} in {path.parent}, but got a directory without it."
        ) from error
    # JSON nested too deeply recurses; pyarrow does not implement what damaged Parquet seems to ask for.
    except (OSError, ValueError, RecursionError, NotImplementedError) as error:
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise ValueError(
            f"Expected a readable {path.name}, but got {path}, which is damaged: {reason}"
        ) from error
