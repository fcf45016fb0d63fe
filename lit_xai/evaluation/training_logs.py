"""What a run logged while it trained."""

import csv
from pathlib import Path

import pandas as pd
from lightning.pytorch.utilities import rank_zero_warn

from lit_xai.evaluation.checkpoints import finished_epochs, read_checkpoint

_PREFIXES = ("val/", "robustness/")


def training_log(checkpoint: Path, epochs: int | None = None) -> pd.DataFrame:
    """Return what was logged after each epoch up to a checkpoint.

    Accuracies (`val/...`) and explanations (`robustness/...`) are taken from the file `csv/metrics.csv` of
    the run directory. Of an epoch that was trained twice the last value counts; a value that was NaN is left
    out. A damaged file ends in a warning.

    Args:
        checkpoint: The file. Unless it lies in the `checkpoints` of a run directory, nothing is returned.
        epochs: How many epochs it has behind it, if known; read from it otherwise.

    Returns:
        Columns `epoch`, counted from 1, `key` and `value`, sorted by the first two.

    Raises:
        ValueError: If the checkpoint is read and is none.
    """
    run = run_directory(checkpoint)
    log = run / "csv" / "metrics.csv" if run else None
    found: dict[tuple[int, str], float] = {}
    if log is not None and log.is_file():
        last = finished_epochs(read_checkpoint(checkpoint)) if epochs is None else epochs
        try:
            found = {place: value for place, value in _read(log).items() if place[0] <= last}
        except (OSError, ValueError, csv.Error) as error:
            reason = " ".join(str(error).split())[:120]
            rank_zero_warn(f"Expected a log of training, but got {log}: {reason}. Its curves are left out.")
    # A value that is not equal to itself is NaN.
    rows = [(*place, value) for place, value in sorted(found.items()) if value == value]
    table = pd.DataFrame(rows, columns=["epoch", "key", "value"])
    return table.astype({"epoch": "int64", "key": "str", "value": "float64"})


def run_directory(checkpoint: Path) -> Path | None:
    """Return the run directory that a checkpoint lies in; None if it lies elsewhere."""
    place = checkpoint.resolve().parent
    return place.parent if place.name == "checkpoints" else None


def _read(log: Path) -> dict[tuple[int, str], float]:
    """Return values by epoch, counted from 1, and key."""
    found = {}
    with log.open(newline="", encoding="utf-8") as stream:
        rows = csv.reader(stream)
        header = next(rows, [])
        if "epoch" not in header:
            raise ValueError("Expected a column `epoch`, but got none")
        epoch = header.index("epoch")
        places = [(place, key) for place, key in enumerate(header) if key.startswith(_PREFIXES)]
        for row in rows:
            if len(row) > len(header):
                raise ValueError(f"Expected {len(header)} columns, but got a row of {len(row)}")
            # The last row of a run that was killed may be cut off.
            cells = [*row, *[""] * (len(header) - len(row))]
            if cells[epoch]:
                number = int(cells[epoch]) + 1
                found.update({(number, key): float(cells[place]) for place, key in places if cells[place]})
    return found
