"""Measured pieces on disk, found again by what decided them."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from pyarrow import ArrowException

from lit_xai.files import write_whole

_MAIN = "scores"


def identity(*parts: Any) -> str:
    """Return a name for settings: equal for equal plain values, different for any others.

    Example:
        >>> identity({"eps": 0.1, "k": 1}) == identity({"k": 1, "eps": 0.1}) != identity({"eps": 0.1, "k": 2})
        True
    """
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


@contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Word the errors of writing into a directory: no room, or none of the right to.

    Raises:
        ValueError: For such an error.
    """
    try:
        yield
    except OSError as error:
        raise ValueError(
            f"Expected to write to {directory}, but got: {error.strerror or error}. What is finished is kept "
            "there; once that is mended, the same command continues it."
        ) from error


class Store:
    """Tables by the identity of their settings, each piece there whole or not at all.

    Args:
        directory: Where the files lie; made with the first piece.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def __contains__(self, key: str) -> bool:
        table = self._read(key, _MAIN)
        return table is not None and all(
            self._read(key, name) is not None for name in table.attrs.get("beside", [])
        )

    def scores(self, key: str) -> pd.DataFrame:
        """Return the scores of a piece.

        Raises:
            KeyError: If it was not measured.
        """
        table = self._main(key)
        table.attrs.clear()
        return table

    def seconds(self, key: str) -> float:
        """Return the time that a piece took.

        Raises:
            KeyError: If it was not measured.
        """
        return float(self._main(key).attrs.get("seconds", 0.0))

    def beside(self, key: str, name: str) -> pd.DataFrame | None:
        """Return a table that was written beside the scores; None if there is none."""
        return self._read(key, name)

    def write(
        self, key: str, scores: pd.DataFrame, beside: Mapping[str, pd.DataFrame], seconds: float = 0.0
    ) -> None:
        """Write a piece and the time that it took; it exists once its scores do.

        Raises:
            ValueError: If it cannot be written; the pieces that are there stay.
        """
        main = scores.copy(deep=False)
        main.attrs = {"beside": list(beside), "seconds": seconds}
        with writing(self._directory):
            self._directory.mkdir(parents=True, exist_ok=True)
            for name, table in {**beside, _MAIN: main}.items():
                write_whole(self._path(key, name), to_parquet(table))

    def _main(self, key: str) -> pd.DataFrame:
        table = self._read(key, _MAIN)
        if table is None:
            raise KeyError(key)
        return table

    def _read(self, key: str, name: str) -> pd.DataFrame | None:
        path = self._path(key, name)
        if not path.is_file():
            return None
        try:
            return pd.read_parquet(path)
        except (OSError, ValueError, ArrowException):
            # Damaged from outside: it is measured again.
            return None

    def _path(self, key: str, name: str) -> Path:
        return self._directory / f"{key}.{name}.parquet"


def to_parquet(table: pd.DataFrame) -> bytes:
    """Return the bytes of a Parquet file, the same for the same table."""
    stream = io.BytesIO()
    table.to_parquet(stream, index=False)
    return stream.getvalue()
