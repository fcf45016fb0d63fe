"""The directory of an evaluation: continued if it was stopped, never overwritten."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lit_xai.files import remove_parts, write_whole
from lit_xai.runs import new_run_directory

CARD = "card.json"
_STATE = "evaluation.json"
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
        The directory. It keeps the settings' name, and whether the end was reached, so that an evaluation
        can be found and continued.

    Raises:
        ValueError: If it cannot be written to, holds results of other settings, or is in use.
    """
    directory = output or runs / "evaluate"
    try:
        if output is None:
            output = _stopped(directory, settings) or new_run_directory(runs, "evaluate")
        else:
            _check(output, settings)
        # The lock cannot tell a file that it may not make from one that another process holds.
        (output / _LOCK).touch()
        lock = FileLock(output / _LOCK)
        lock.acquire(blocking=False)
        remove_parts(output)
        _write(output, settings, finished=False)
    except Timeout as error:
        raise ValueError(
            f"Expected a directory that no evaluation is writing to, but got {output}. "
            "Wait for it, or give another `--output`."
        ) from error
    except OSError as error:
        raise ValueError(
            f"Expected a directory for `output` to write to, but got {directory}: {error.strerror}."
        ) from error
    try:
        yield output
        _write(output, settings, finished=True)
    finally:
        lock.release()


def _check(output: Path, settings: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    has_results = (output / CARD).exists() or (output / "results.csv").exists()
    if has_results and _state(output).get("settings") != settings:
        raise ValueError(
            f"Expected a new `output` directory, but got {output}, which holds results of other settings."
        )


def _stopped(parent: Path, settings: str) -> Path | None:
    """Find where an evaluation of these settings was stopped."""
    numbered = [path for path in parent.glob("*") if path.name.isdigit() and path.is_dir()]
    for path in sorted(numbered, key=lambda path: int(path.name), reverse=True):
        state = _state(path)
        if state.get("settings") != settings or state.get("finished"):
            continue
        try:
            FileLock(path / _LOCK).acquire(blocking=False).lock.release()
        except Timeout:
            continue
        sys.stdout.write(f"Continuing the evaluation in {path}.\n")
        return path
    return None


def _write(output: Path, settings: str, *, finished: bool) -> None:
    write_whole(output / _STATE, json.dumps({"settings": settings, "finished": finished}) + "\n")


def _state(output: Path) -> Mapping[str, Any]:
    try:
        content = json.loads((output / _STATE).read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
