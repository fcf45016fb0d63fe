"""Stop a training that costs too much accuracy."""

from collections.abc import Mapping
from itertools import islice
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn

from lit_xai.callbacks.explanation_robustness import network_of
from lit_xai.gate import evaluating, on_network
from lit_xai.module import LitClassifier
from lit_xai.types import Batch

# Accuracies are logged in single precision.
_ROUNDING = 1e-6


class AccuracyGate(Callback):
    """Restore the last acceptable weights and stop, once the validation accuracy has fallen too far.

    The accuracy of the starting network is measured before the first step, on the images of validation. After
    each validation `val/accuracy` is compared with it: inside the gate the weights are remembered, on the
    CPU; outside, the network gets the remembered ones back, training stops and a warning gives both numbers.
    Checkpoints of that moment hold the restored weights, logs the accuracy that was refused. What the gate
    remembers is part of checkpoints, so a resumed run is compared with its first start. Lightning does not
    stop before its own `min_epochs` and `min_steps`.

    Args:
        max_drop: Largest drop of the validation accuracy that is accepted, as a share of the images, in
            (0, 1); by default the 2 points that Heo et al. (2019, arXiv 1902.02041) report at most.

    Raises:
        ValueError: If `max_drop` is out of its range; at the start of training, if there is no validation.
    """

    def __init__(self, max_drop: float = 0.02) -> None:
        if not 0 < max_drop < 1:
            raise ValueError(f"Expected `max_drop` in (0, 1), but got {max_drop:g}. Write 2 points as 0.02.")
        self.max_drop = max_drop
        self._start: float | None = None
        self._weights: dict[str, Tensor] = {}
        self._closed = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        # Before a checkpoint is read, if one is: another run of the same callback starts anew.
        if stage == "fit":
            self._start, self._weights, self._closed = None, {}, False

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.enable_validation:
            raise ValueError("Expected validation images for the AccuracyGate, but validation is off.")
        if self._start is None:
            self._weights = _copied(network_of(pl_module))
            assert isinstance(pl_module, LitClassifier)
            self._start = _accuracy(trainer, pl_module)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.state.fn != "fit" or trainer.sanity_checking or self._start is None:
            return
        network, accuracy = network_of(pl_module), trainer.callback_metrics["val/accuracy"].item()
        if self._start - accuracy <= self.max_drop + _ROUNDING:
            self._weights = _copied(network)
            return
        network.load_state_dict(self._weights)
        trainer.should_stop = self._closed = True
        rank_zero_warn(
            f"Validation accuracy fell from {self._start:.4f} to {accuracy:.4f}, by more than "
            f"{self.max_drop:g}: training stops with the last weights inside the gate."
        )

    def state_dict(self) -> dict[str, Any]:
        return {"start": self._start, "weights": self._weights, "closed": self._closed}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        self._start, self._weights = state_dict["start"], dict(state_dict["weights"])
        self._closed = state_dict["closed"]


def _copied(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().to("cpu", copy=True) for name, value in network.state_dict().items()}


@torch.no_grad()
def _accuracy(trainer: pl.Trainer, module: LitClassifier) -> float:
    """Return the accuracy on what validation sees, over all processes and in its precision."""
    if trainer.val_dataloaders is None:
        trainer.fit_loop.epoch_loop.val_loop.setup_data()
    assert trainer.val_dataloaders is not None
    counted = module.val_accuracy.clone()
    counted.reset()
    with evaluating(module), trainer.precision_plugin.val_step_context():
        for batch in islice(trainer.val_dataloaders, int(trainer.num_val_batches[0])):
            image, label, _ = on_network(module.model, Batch(*batch))
            counted.update(module(image), label)
    return float(counted.compute())
