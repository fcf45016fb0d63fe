"""Progress of a training for a file or a pipe."""

import sys
import time
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import ProgressBar


class EpochLines(ProgressBar):
    """One line for every epoch in the place of a bar, which would be drawn over and over again.

    A line has the epoch, the time it took, and what is logged for the bar, at the epoch's end: with the
    validation and the attacks on the explanations behind it.
    """

    def __init__(self) -> None:
        super().__init__()
        self._begun = 0.0

    def disable(self) -> None:
        """Stay a bar without a picture: every line is of the first process anyway."""

    def enable(self) -> None:
        """Stay a bar without a picture."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.is_global_zero:
            return
        whole = "" if trainer.max_epochs in (None, -1) else f"/{trainer.max_epochs}"
        passed = time.monotonic() - self._begun
        words = _words(self.get_metrics(trainer, pl_module))
        sys.stdout.write(f"Epoch {trainer.current_epoch + 1}{whole}: {passed:.1f} s{words}\n")
        # Whoever reads the file waits for this line.
        sys.stdout.flush()


def _words(metrics: Mapping[str, Any]) -> str:
    numbers = {name: value for name, value in metrics.items() if isinstance(value, int | float)}
    return "".join(f", {name} {value:.4g}" for name, value in numbers.items())
