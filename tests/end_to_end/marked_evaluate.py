"""evaluate.py, but it stops at a chosen place, says so by a file, and waits to be killed there.

`python marked_evaluate.py PLACE N MARKER ARGUMENTS...`: PLACE is `attack` (the N-th call of EXIAA's or
RandomSign's `perturb`) or `write` (half of the bytes of the N-th file are in its `.part`).
"""

import sys
import time
from itertools import count
from pathlib import Path
from typing import Any

from lit_xai import files
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.evaluation import store
from lit_xai.evaluation.cli import evaluate_cli


def main(place: str, number: int, marker: Path, arguments: list[str]) -> None:
    """Evaluate until the place is reached."""
    calls = count(1)

    def wait_if_due() -> None:
        if next(calls) == number:
            marker.touch()
            time.sleep(600)

    for attack in (EXIAA, RandomSign) if place == "attack" else ():
        original = attack.perturb

        def perturb(*given: Any, original: Any = original) -> Any:
            wait_if_due()
            return original(*given)

        attack.perturb = perturb

    def half_written(path: Path, content: bytes) -> None:
        if next(calls) == number:
            # As `write_whole` names it: the second half never comes.
            half = path.with_name(f".{path.name}.{number}.part")
            half.write_bytes(content[: len(content) // 2])
            marker.touch()
            time.sleep(600)
        files.write_whole(path, content)

    if place == "write":
        store.write_whole = half_written
    evaluate_cli(arguments)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:])
