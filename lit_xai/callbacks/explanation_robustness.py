"""Robustness curves while training."""

import time

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from lit_xai.attacks.donors import DonorPool
from lit_xai.data.base import ImageDataModule, Split
from lit_xai.evaluation.cost import count_passes
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.scores import Row
from lit_xai.module import LitClassifier
from lit_xai.types import Batch


class ExplanationRobustness(Callback):
    """Run a grid on a fixed, stratified, seeded subset after each epoch, and log every mean to every logger.

    Keys are `robustness/<attribution>/<attack>/<metric>` with `..._count` (samples in the mean),
    `..._stderr` (its standard error, NaN for fewer than two) and `..._kept` (mean over the samples whose
    attack succeeded) beside each, `robustness/<attribution>/<attack>/failed` and `.../excluded` for each
    attack, and `robustness/time_share`, the share of the wall time since the start that went into this. While
    fitting and validating the subset comes from the validation split, while testing from the test split.
    `ModelCheckpoint` can monitor any key. Before the first epoch the cost of one evaluation is printed.

    Args:
        grid: What is measured.
        max_samples: Size of the subset, over all processes.
        every_n_epochs: Epochs from one evaluation to the next.
        batch_size: Samples attacked at once, in each process.
        seed: Of the subset.

    Raises:
        ValueError: If an option is below 1.
    """

    def __init__(
        self, grid: Grid, max_samples: int = 64, every_n_epochs: int = 1, batch_size: int = 64, seed: int = 0
    ) -> None:
        options = {"max_samples": max_samples, "every_n_epochs": every_n_epochs, "batch_size": batch_size}
        for name, value in options.items():
            if value < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {value}.")
        self.grid = grid
        self.max_samples = max_samples
        self.every_n_epochs = every_n_epochs
        self.batch_size = batch_size
        self.seed = seed
        self._started = time.monotonic()
        self._spent = 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, pl_module, "val", f"after every {self.every_n_epochs} epoch(s)")
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                for key in _keys(self.grid):
                    logger.experiment.define_metric(key, step_metric="epoch")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn == "validate":
            self._begin(trainer, pl_module, "val", "once")

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begin(trainer, pl_module, "test", "once")

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = trainer.state.fn == "validate" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if due and not trainer.sanity_checking:
            self._measure(trainer, pl_module, "val")

    def on_test_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._measure(trainer, pl_module, "test")

    def _begin(self, trainer: pl.Trainer, pl_module: pl.LightningModule, split: Split, when: str) -> None:
        self._started, self._spent = time.monotonic(), 0.0
        loader = self._loader(trainer, split)
        network = network_of(pl_module)
        self.grid.prepare(network, DonorPool(lightning_data(trainer).donors, shared=True))
        passes = count_passes(self.grid, network, next(iter(loader)))
        size = len(loader.dataset)  # type: ignore[arg-type]
        rank_zero_info(
            f"Explanation robustness {when}: {size} images, at most {size * passes.forward:,} forward and "
            f"{size * passes.backward:,} backward passes of one image."
        )

    def _measure(self, trainer: pl.Trainer, pl_module: pl.LightningModule, split: Split) -> None:
        begun = time.monotonic()
        network = network_of(pl_module)
        loader = self._loader(trainer, split)
        self.grid.prepare(network, DonorPool(lightning_data(trainer).donors, shared=True))
        bar = trainer.progress_bar_callback
        hidden = bar is None or not getattr(bar, "is_enabled", True) or trainer.global_rank > 0
        # None hides it unless somebody watches it on a terminal.
        disable = True if hidden else None
        with tqdm(total=len(loader), desc="Explanation robustness", leave=False, disable=disable) as progress:
            for batch in loader:
                self.grid.update(network, Batch(*batch))
                progress.update()
        values = _keyed(list(self.grid.rows()))
        now = time.monotonic()
        self._spent += now - begun
        values["robustness/time_share"] = self._spent / max(now - self._started, 1e-9)
        # Rows are the same in every process; the mean matters for the times only.
        pl_module.log_dict(values, on_step=False, on_epoch=True, sync_dist=True)

    def _loader(self, trainer: pl.Trainer, split: Split) -> DataLoader[Batch]:
        return lightning_data(trainer).evaluation_loader(split, self.max_samples, self.seed, self.batch_size)


def network_of(pl_module: pl.LightningModule) -> nn.Module:
    """Return the bare network of a LitClassifier.

    Raises:
        TypeError: If it is another module.
    """
    if not isinstance(pl_module, LitClassifier):
        raise TypeError(f"Expected a LitClassifier, but got {type(pl_module).__name__}.")
    return pl_module.model


def lightning_data(trainer: pl.Trainer) -> ImageDataModule:
    """Return the trainer's data module.

    Raises:
        TypeError: If it is not an ImageDataModule.
    """
    data = trainer.datamodule  # type: ignore[attr-defined]
    if not isinstance(data, ImageDataModule):
        raise TypeError(
            f"Expected an ImageDataModule, but got {type(data).__name__}. Its batches name each sample."
        )
    return data


def _keyed(rows: list[Row]) -> dict[str, float]:
    values: dict[str, float] = {}
    for row in rows:
        cell = f"robustness/{row.attribution}/{row.attack}"
        values[f"{cell}/{row.metric}"] = row.value
        values[f"{cell}/{row.metric}_count"] = float(row.count)
        values[f"{cell}/{row.metric}_stderr"] = row.stderr
        values[f"{cell}/{row.metric}_kept"] = row.kept_value
        values[f"{cell}/failed"] = float(row.failed)
        values[f"{cell}/excluded"] = float(row.excluded)
    return values


def _keys(grid: Grid) -> list[str]:
    rows = [
        Row(attribution, attack, metric, 0.0, 0.0, 0, 0, 0, 0.0, 0)
        for attribution in grid.attributions
        for attack in grid.attacks
        for metric in grid.metrics
    ]
    return [*_keyed(rows), "robustness/time_share"]
