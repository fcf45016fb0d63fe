"""The one LightningModule."""

import copy
import math
import os
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal, Self

import lightning.pytorch as pl
import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy

from lit_xai.attacks.donors import DonorPool
from lit_xai.data.base import ImageDataModule, Split
from lit_xai.models.fitting import check_finite, check_fits, check_weights
from lit_xai.models.library import follow_classes, is_rebuilding, rebuilding
from lit_xai.models.weights import load_weights
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.pgd import PGD
from lit_xai.regimes.scheduled import Scheduled
from lit_xai.training.steps import (
    check_loss,
    check_strategy,
    last_checkpoint,
    own_draws,
    warn_of_own_statistics,
    weight_options,
)
from lit_xai.types import Batch

SEED_KEY = "lit_xai_seed"
TRAINER_KEY = "lit_xai_trainer"
SPLITS: dict[str, Split] = {"fit": "train", "validate": "val", "test": "test"}


class LitClassifier(pl.LightningModule):
    """A classifier and the regime that trains it.

    Logs `train/loss`, the regime's parts and `train/accuracy` (of the logits the regime's cross-entropy saw)
    while training; `val/accuracy` and `val/pgd_accuracy`, or `test/...`, on whole splits. Checkpoints hold
    the global seed that training began with, None if there was none, under `lit_xai_seed`, and the options of
    the trainer that change the weights under `lit_xai_trainer`.

    What the network itself draws in a training step, such as dropout, follows from `noise_seed`, epoch, batch
    and process. Training stops before a step of a loss that is not finite, and before weights that are not
    finite are saved.

    Args:
        model: Maps pixels in [0, 1], (N, C, H, W), to logits, (N, num_classes).
        regime: The way of training.
        num_classes: Number of classes. A network of timm or torchvision that leaves its own number open
            takes on this one.
        optimizer: Takes the parameters, returns the optimiser.
        scheduler: Takes the optimiser, returns a learning-rate schedule.
        adversary: Attack behind the adversarial accuracy, the same for every regime; by default that of Chen
            et al. (2019, arXiv 1905.09957) for Fashion-MNIST. None to leave it out.
        noise_seed: Of all draws made for training and validation, those of the network included.
        warm_start: Weights that training starts from: a checkpoint of the training command or a saved
            `state_dict`. A resumed run goes on with its own, and so does a classifier that is read back, but
            both read the file for regimes that compare with the network they started from.
        scheduler_interval: Whether the schedule is stepped after every `epoch` or every `step`.

    Raises:
        TypeError: When training starts, if the whole of it was compiled; compile the network alone.
        FileNotFoundError: When training starts, if there is no such file.
        ValueError: If there is an interval but no schedule; when training starts, if the file holds no
            weights, or those of another network, or if a regime is scheduled without an end; when any stage
            starts, if weights are not finite, if the network does not take the images or has not one logit
            for each class, or if a strategy would split it among processes.
    """

    def __init__(
        self,
        model: nn.Module,
        regime: Regime,
        num_classes: int,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        scheduler: LRSchedulerCallable | None = None,
        adversary: PGD | None = PGD(),  # noqa: B008 - frozen
        noise_seed: int = 0,
        warm_start: Path | None = None,
        scheduler_interval: Literal["epoch", "step"] = "epoch",
    ) -> None:
        super().__init__()
        if scheduler is None and scheduler_interval != "epoch":
            raise ValueError(
                f"Expected a `scheduler` for `scheduler_interval` {scheduler_interval}, but got none."
            )
        with warnings.catch_warnings():
            # The configuration of the network belongs to the checkpoint: it is rebuilt from it.
            warnings.filterwarnings("ignore", message=".*is an instance of `nn.Module`")
            self.save_hyperparameters(logger=False)
        follow_classes(model, num_classes)
        self.model = model
        self.num_classes = num_classes
        self.regime = regime
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.adversary = adversary
        self.noise_seed = noise_seed
        self.warm_start = warm_start
        self.scheduler_interval = scheduler_interval
        self._prepared: Regime | None = None
        self._rebuilt = is_rebuilding()
        self._seed = _global_seed()
        self.train_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.val_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.val_pgd_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_accuracy = MulticlassAccuracy(num_classes, average="micro")
        self.test_pgd_accuracy = MulticlassAccuracy(num_classes, average="micro")

    # The arguments are Lightning's own.
    @classmethod
    def load_from_checkpoint(cls, *arguments: Any, **options: Any) -> Self:
        """Do as Lightning; weights that the network was to begin with are neither read nor fetched."""
        with rebuilding():
            classifier: Self = super().load_from_checkpoint(*arguments, **options)
        return classifier

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        logits: Tensor = self.model(image)
        return logits

    def setup(self, stage: str) -> None:
        check_strategy(self.trainer.strategy)
        if stage == "fit" and self._compiler_ctx is not None:
            raise TypeError(
                "Expected a LitClassifier that is not compiled, but got a compiled one, whose searches and "
                "regularisers have no derivatives. Compile its `model` alone."
            )
        check_weights(self.model, "in the network")
        begins = stage == "fit" and self._prepared is None
        if begins:
            self._seed = _global_seed()
        with self._at_start() if begins else nullcontext():
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            if isinstance(data, ImageDataModule):
                image = data.images(SPLITS[stage])[0].image
                check_fits(self.model, image, self.num_classes, type(self.model).__name__, exactly=True)
            if stage == "fit" and self.regime is not self._prepared:
                self.model.to(self.trainer.strategy.root_device)
                self.regime = self._prepared = self.regime.prepare(
                    self.model, DonorPool(self._donors, shared=True)
                )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Not in place of the last good one.
        self._check_state(checkpoint, f"after epoch {self.current_epoch + 1}", last_checkpoint(self.trainer))
        checkpoint[SEED_KEY] = self._seed
        checkpoint[TRAINER_KEY] = weight_options(self.trainer)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # After `setup`: a resumed run keeps the seed that it was begun with.
        self._seed = checkpoint.get(SEED_KEY)
        if self._trainer is not None:
            self._check_state(checkpoint, f"in {self._trainer.ckpt_path}", "")

    def on_train_start(self) -> None:
        warn_of_own_statistics(self.model, self.trainer.world_size)
        if isinstance(self.regime, Scheduled) and math.isinf(self.trainer.estimated_stepping_batches):
            raise ValueError(
                "Expected `max_epochs` or `max_steps` for a Scheduled regime, but got neither: it has no end."
            )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        progress = self.trainer.global_step / max(self.trainer.estimated_stepping_batches, 1)
        noise = Noise(self.noise_seed, batch.sample_id).child("train").child(self.current_epoch)
        own = noise.child("network").child(batch_idx).child(self.global_rank)
        with own_draws(own.seed, self.device):
            loss = self.regime.at(progress).loss(self.model, batch.image, batch.label, noise)
        check_loss(loss, self.trainer)
        self.train_accuracy.update(loss.logits.detach(), batch.label)
        self.log("train/loss", loss.total.detach(), prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in loss.parts.items()})
        self.log("train/accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        return loss.total

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("val", batch, self.val_accuracy, self.val_pgd_accuracy)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        self._evaluate("test", batch, self.test_accuracy, self.test_pgd_accuracy)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        if self.scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.scheduler(optimizer), "interval": self.scheduler_interval},
        }

    @contextmanager
    def _at_start(self) -> Iterator[None]:
        """Take the warm start, if it is needed; what a classifier was read back with, it gets again."""
        # Before a checkpoint is restored: what a regime learns of the starting network, it learns again.
        if self.warm_start is None or (self._rebuilt and not self.regime.compares_with_start):
            yield
            return
        own = copy.deepcopy(self.model.state_dict()) if self._rebuilt else None
        try:
            load_weights(self.model, Path(self.warm_start))
            check_weights(self.model, f"in {self.warm_start}")
            yield
        finally:
            if own is not None:
                self.model.load_state_dict(own)

    def _check_state(self, checkpoint: dict[str, Any], where: str, remedy: str) -> None:
        names = {name for name, _ in self.named_parameters(remove_duplicate=False)}
        check_finite(checkpoint["state_dict"], names, where, remedy)

    def _donors(self) -> Iterable[Batch]:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None:
            raise TypeError("Expected an ImageDataModule with donors, but got plain data loaders.")
        donors: Iterable[Batch] = data.donors()
        return donors

    def _evaluate(self, split: str, batch: Batch, accuracy: Metric, pgd_accuracy: Metric) -> None:
        accuracy.update(self.model(batch.image), batch.label)
        self.log(f"{split}/accuracy", accuracy, on_step=False, on_epoch=True, prog_bar=True)
        if self.adversary is not None:
            noise = Noise(self.noise_seed, batch.sample_id).child("adversary")
            image_adv = self.adversary.attack(self.model, batch.image, batch.label, noise)
            pgd_accuracy.update(self.model(image_adv), batch.label)
            self.log(f"{split}/pgd_accuracy", pgd_accuracy, on_step=False, on_epoch=True, prog_bar=True)


def _global_seed() -> int | None:
    """Return what `seed_everything` was last given."""
    seed = os.environ.get("PL_GLOBAL_SEED", "")
    return int(seed) if seed.isdecimal() else None
