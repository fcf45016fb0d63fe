"""The directory of an evaluation: continued if it was stopped, never overwritten."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from lit_xai.files import write_whole
from lit_xai.runs import new_run_directory

CARD = "card.json"
_SETTINGS = "evaluation.json"
_LOCK = ".lock"


@contextmanager
def claimed(output: Path | None, runs: Path, settings: str) -> Iterator[Path]:
    """Hold the directory of an evaluation, for as long as nobody else does.

    Args:
        output: The directory; None for the newest one in `runs/evaluate` that an evaluation of the same
            settings was stopped in, or else a new one there.
        runs: Directory of all runs.
        settings: The name of everything that decides the results.

    Yields:
        The directory. It keeps the settings' name, so that an evaluation can be found and continued.

    Raises:
        ValueError: If it cannot be made, holds results of other settings, or is in use.
    """
    if output is None:
        output = _stopped(runs / "evaluate", settings) or new_run_directory(runs, "evaluate")
    else:
        _check(output, settings)
    lock = FileLock(output / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise ValueError(
            f"Expected a directory that no evaluation is writing to, but got {output}. "
            "Wait for it, or give another `--output`."
        ) from error
    try:
        write_whole(output / _SETTINGS, json.dumps({"settings": settings}) + "\n")
        yield output
    finally:
        lock.release()


def _check(output: Path, settings: str) -> None:
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"Expected a directory for `output`, but got {output}: {error.strerror}.") from error
    finished = (output / CARD).exists() or (output / "results.csv").exists()
    if finished and _settings(output) != settings:
        raise ValueError(
            f"Expected a new `output` directory, but got {output}, which holds results of other settings."
        )


def _stopped(parent: Path, settings: str) -> Path | None:
    """Find where an evaluation of these settings was stopped."""
    numbered = [path for path in parent.glob("*") if path.name.isdigit() and path.is_dir()]
    for path in sorted(numbered, key=lambda path: int(path.name), reverse=True):
        if _settings(path) != settings or (path / CARD).exists():
            continue
        try:
            FileLock(path / _LOCK).acquire(blocking=False).lock.release()
        except Timeout:
            continue
        sys.stdout.write(f"Continuing the evaluation in {path}.\n")
        return path
    return None


def _settings(output: Path) -> str | None:
    try:
        content = json.loads((output / _SETTINGS).read_text())
    except (OSError, ValueError):
        return None
    found = content.get("settings") if isinstance(content, dict) else None
    return found if isinstance(found, str) else None
