"""Curves of a run that goes on: the rows up to a step are kept, none comes twice."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from lit_xai.files import write_whole


def keep_curves(loggers: Iterable[Logger], steps: int, *, resumed: bool) -> None:
    """Let every CSV logger go on with the file that is there, cut to what was logged before a step.

    Rows after it are those of the epoch that was interrupted, which is trained again.

    Args:
        loggers: Those of the trainer. Other kinds are left alone.
        steps: Steps that the run has behind it; only rows before are kept.
        resumed: Whether the run goes on. A logger that numbers its versions then takes the last one again.
    """
    for logger in loggers:
        if isinstance(logger, CSVLogger):
            if resumed and logger._version is None and logger.version:
                logger._version = int(logger.version) - 1
            logger._experiment = _Writer(logger.log_dir, steps)


class _Writer(ExperimentWriter):
    """Lightning's writer, which neither forgets what is in the file nor leaves it half-written."""

    def __init__(self, log_dir: str, steps: int) -> None:
        super().__init__(log_dir)
        path = Path(self.metrics_file_path)
        rows = _rows_before(path, steps)
        self.metrics_keys = sorted({key for row in rows for key, value in row.items() if value})
        if rows:
            write_whole(path, _table(rows, self.metrics_keys))
        else:
            path.unlink(missing_ok=True)

    def _check_log_dir_exists(self) -> None:
        """Leave the file: Lightning's own removes it."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        write_whole(path, _table(rows, fieldnames))


def _rows_before(path: Path, steps: int) -> list[dict[str, str]]:
    """Read the whole rows of a file that may have been cut short."""
    if not path.is_file():
        return []
    # In full lines only: the start of a number is a number too.
    text = path.read_text(errors="replace")
    reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), restval=None)
    rows = [row for row in reader if None not in row and None not in row.values()]
    return [row for row in rows if row.get("step", "").isdecimal() and int(row["step"]) < steps]


def _table(rows: list[dict[str, str]], keys: list[str]) -> str:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, keys, extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
