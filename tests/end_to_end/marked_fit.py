"""Run the training command, and wait to be killed at a certain call of a certain function.

python marked_fit.py PLACE CALL MARKER ARGUMENTS...

PLACE is `step` (of the optimiser), `attack` (inside the callback) or `checkpoint` (half of one written).
At the CALL-th call MARKER is made, and the process waits.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch

from lit_xai.attacks.top_k import TopK
from lit_xai.cli import train_cli

OPEN = Path.open


def wait(marker: Path) -> NoReturn:
    marker.touch()
    time.sleep(600)
    raise TimeoutError


def marked(function: Callable[..., Any], call: int, marker: Path) -> Callable[..., Any]:
    calls = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            wait(marker)
        return function(*arguments, **options)

    return wrapped


def half_written(call: int, marker: Path) -> Callable[..., Any]:
    """Stand for `Path.open`: who writes a checkpoint, under whatever name, is stopped after half of it."""
    calls = 0

    class Half(io.BufferedWriter):
        def write(self, content: Any) -> NoReturn:
            super().write(content[: len(content) // 2])
            self.flush()
            wait(marker)

    def opened(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += mode == "wb" and ".ckpt" in path.name
        if calls == call and mode == "wb" and ".ckpt" in path.name:
            return Half(io.FileIO(path, "w"))
        return OPEN(path, mode, *arguments, **options)

    return opened


def main(place: str, call: str, marker: str, *arguments: str) -> None:
    if place == "checkpoint":
        Path.open = half_written(int(call), Path(marker))  # type: ignore[method-assign]
    else:
        owner, name = {"step": (torch.optim.AdamW, "step"), "attack": (TopK, "perturb")}[place]
        # The schedule wraps the step of an instance, and wants a function of the class.
        setattr(owner, name, marked(getattr(owner, name), int(call), Path(marker)))
    train_cli(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
