"""Checkpoints that are written whole, and read without running what they hold."""

import os
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.checkpoint_io import CheckpointIO

from lit_xai.files import write_whole
from lit_xai.models.weights import read_plain

_Path = str | os.PathLike[str]


class WholeFiles(CheckpointIO):
    """Write each checkpoint beside its place and move it there; read tensors and plain values only.

    A process killed at any moment, or a disk that is full, leaves the earlier checkpoint as it was.
    Lightning's own writes to the directory for temporary files first, and copies from there if that is
    another disk: a copy can be cut short.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: _Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint.

        Args:
            checkpoint: What `torch.save` takes.
            path: The file; its directory is made.
            storage_options: None.

        Raises:
            TypeError: If there are storage options.
            OSError: If it cannot be written; nothing is left of the attempt.
        """
        if storage_options is not None:
            raise TypeError("Expected no `storage_options` for a checkpoint in a file, but got some.")
        # In memory first: written straight to the file, a full disk would be some error of torch's writer.
        content = BytesIO()
        torch.save(checkpoint, content)
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            write_whole(Path(path), content.getbuffer())
        except OSError as error:
            size = f"{content.getbuffer().nbytes / 1e6:,.1f} MB"
            raise OSError(
                f"Expected room for {size} of checkpoint {path}, but got: {error.strerror}."
            ) from error

    def load_checkpoint(
        self,
        path: _Path,
        map_location: Callable[..., Any] | None = None,
        weights_only: bool | None = None,  # noqa: FBT001 - Lightning's own interface
    ) -> dict[str, Any]:
        """Read a checkpoint into the CPU's memory, tensors and plain values only, whatever is asked for.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it is no checkpoint, or holds anything that would run code.
        """
        content = read_plain(Path(path), "a checkpoint of plain tensors")
        if not isinstance(content, dict):
            raise ValueError(f"Expected a checkpoint, but got {path}, which holds something else.")
        return content

    def remove_checkpoint(self, path: _Path) -> None:
        """Remove a checkpoint, if it is there."""
        Path(path).unlink(missing_ok=True)
