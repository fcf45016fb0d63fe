"""Run the training command, and wait to be killed at a certain call of a certain function.

python marked_fit.py PLACE CALL MARKER ARGUMENTS...

PLACE is `step` (of the optimiser), `attack` (inside the callback) or `checkpoint` (half of it written).
At the CALL-th call MARKER is made, and the process waits.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lit_xai.attacks.top_k import TopK
from lit_xai.cli import train_cli
from lit_xai.training import checkpoint_io

# What is put in its place goes by the same name.
WRITE_WHOLE = checkpoint_io.write_whole


def marked(function: Callable[..., Any], call: int, marker: Path) -> Callable[..., Any]:
    calls = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            if function is WRITE_WHOLE:
                half_written(*arguments)
            marker.touch()
            time.sleep(600)
        return function(*arguments, **options)

    return wrapped


def half_written(path: Path, content: memoryview) -> None:
    """Leave what `write_whole` leaves when it is killed in its middle."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content[: len(content) // 2])


def main(place: str, call: str, marker: str, *arguments: str) -> None:
    owner, name = {
        "step": (torch.optim.AdamW, "step"),
        "attack": (TopK, "perturb"),
        "checkpoint": (checkpoint_io, "write_whole"),
    }[place]
    replacement = marked(getattr(owner, name), int(call), Path(marker))
    # The schedule wraps the step of an instance, and wants a function of the class.
    setattr(owner, name, replacement)
    train_cli(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
