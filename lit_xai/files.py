"""Files that are there whole or not at all."""

import os
from pathlib import Path

_PART = ".part"


def write_whole(path: Path, content: bytes | memoryview | str) -> None:
    """Write a file so that a process killed at any moment leaves the old one or the new one.

    Args:
        path: In a directory that exists.
        content: Text is written in UTF-8.

    Raises:
        OSError: If it cannot be written; nothing is left of the attempt.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_PART}")
    try:
        with temporary.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_parts(directory: Path) -> None:
    """Remove what killed processes left half-written below a directory that nobody else writes to."""
    for path in directory.rglob(f".*{_PART}"):
        path.unlink(missing_ok=True)
