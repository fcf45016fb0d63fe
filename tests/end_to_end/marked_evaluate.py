"""evaluate.py, but it stops at a chosen place, says so by a file, and waits to be killed there.

`python marked_evaluate.py PLACE N MARKER ARGUMENTS...`: PLACE is `attack` (the N-th call of EXIAA's or
RandomSign's `perturb`), or how a file's name ends (half of the bytes of the N-th such file are written,
wherever the package writes them).
"""

import io
import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.cli import evaluate_cli


class Half:
    """A stream that stays half-written."""

    def __init__(self, stream: Any, marker: Path) -> None:
        self.stream = stream
        self.marker = marker

    def __enter__(self) -> "Half":
        return self

    def __exit__(self, *_: object) -> None:
        self.stream.close()

    def write(self, content: Any) -> None:
        self.stream.write(content[: len(content) // 2])
        self.stream.flush()
        self.marker.touch()
        time.sleep(600)


def main(place: str, number: int, marker: Path, arguments: list[str]) -> None:
    """Evaluate until the place is reached."""
    calls = count(1)
    for attack in (EXIAA, RandomSign) if place == "attack" else ():
        original = attack.perturb

        def perturb(*given: Any, original: Any = original) -> Any:
            if next(calls) == number:
                marker.touch()
                time.sleep(600)
            return original(*given)

        attack.perturb = perturb

    opened = io.open

    def half_open(path: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        stream = opened(path, mode, *given, **named)
        # Beside its place, as `.NAME.PROCESS.part`, or at once at its place.
        name = Path(str(path)).name
        chosen = f"{place}." in name or name.endswith(place)
        return Half(stream, marker) if mode == "wb" and chosen and next(calls) == number else stream

    if place != "attack":
        # What `Path.open` and all that is made of it call.
        io.open = half_open
    evaluate_cli(arguments)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
