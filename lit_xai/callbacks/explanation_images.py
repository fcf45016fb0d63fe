"""What the explanations look like while training."""

from pathlib import Path

import lightning.pytorch as pl
import numpy as np
from lightning.pytorch.callbacks import Callback
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from torch import Tensor
from torch.utils.data import default_collate

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.donors import DonorPool
from lit_xai.attributions.base import Attribution
from lit_xai.callbacks.explanation_robustness import lightning_data, network_of
from lit_xai.data.samplers import stratified
from lit_xai.metrics.maps import pixel_map
from lit_xai.types import AttackResult, Batch

_COLUMNS = ("image", "map", "attacked image", "its map", "difference of maps")


def panel(result: AttackResult) -> np.ndarray:
    """Draw each sample as a row: image, map, attacked image, its map, difference of the maps.

    Both maps of a row share one colour scale from 0, the difference is centred at 0.

    Args:
        result: N samples before and after the attack.

    Returns:
        RGB pixels, (height, width, 3), uint8.
    """
    rows = len(result.label)
    figure = Figure(figsize=(1.6 * len(_COLUMNS), 1.7 * rows + 0.3), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(rows, len(_COLUMNS), squeeze=False)
    before, after = (pixel_map(maps).cpu().numpy() for maps in (result.attribution, result.attribution_adv))
    for row in range(rows):
        top = max(before[row].max().item(), after[row].max().item(), 1e-12)
        axes[row, 0].imshow(_displayed(result.image[row]), cmap="gray", vmin=0, vmax=1)
        axes[row, 1].imshow(before[row], cmap="inferno", vmin=0, vmax=top)
        axes[row, 2].imshow(_displayed(result.image_adv[row]), cmap="gray", vmin=0, vmax=1)
        axes[row, 3].imshow(after[row], cmap="inferno", vmin=0, vmax=top)
        axes[row, 4].imshow(after[row] - before[row], cmap="RdBu_r", vmin=-top, vmax=top)
        kept = "kept" if result.kept[row] else "changed"
        axes[row, 0].set_ylabel(f"#{result.sample_id[row].item()}\nprediction {kept}", fontsize=7)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    for axis, title in zip(axes[0], _COLUMNS, strict=True):
        axis.set_title(title, fontsize=9)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _displayed(image: Tensor) -> np.ndarray:
    return image.cpu().permute(1, 2, 0).squeeze(-1).numpy()


class ExplanationImages(Callback):
    """Draw one fixed panel of images and maps before and after an attack, after each epoch.

    The panel goes to every logger that takes images (W&B), under `explanations`, and as a PNG file into
    `explanations/` in the run directory. Images come from the validation split, the same ones every time,
    whether classified correctly or not.

    Args:
        attribution: The explanation.
        attack: The attack on it.
        max_samples: Rows of the panel.
        every_n_epochs: Epochs from one panel to the next.
        seed: Of the choice of images and of the attack.

    Raises:
        ValueError: If an option is below 1.
        TypeError: If the attack differentiates and the attribution is not differentiable.
    """

    def __init__(
        self,
        attribution: Attribution,
        attack: Attack,
        max_samples: int = 6,
        every_n_epochs: int = 1,
        seed: int = 0,
    ) -> None:
        for name, value in {"max_samples": max_samples, "every_n_epochs": every_n_epochs}.items():
            if value < 1:
                raise ValueError(f"Expected `{name}` of at least 1, but got {value}.")
        if attack.needs_gradient and not attribution.differentiable:
            raise TypeError(f"Expected a differentiable `attribution`, but got {type(attribution).__name__}.")
        self.attribution = attribution
        self.attack = attack
        self.max_samples = max_samples
        self.every_n_epochs = every_n_epochs
        self.seed = seed

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # An attack that cannot run on these images fails here, not after an epoch.
        self._attacked(trainer, pl_module, 1)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        due = trainer.state.fn == "validate" or (trainer.current_epoch + 1) % self.every_n_epochs == 0
        if trainer.sanity_checking or not due:
            return
        # In every process, so that an error ends them all.
        result = self._attacked(trainer, pl_module, self.max_samples)
        if not trainer.is_global_zero:
            return
        pixels = panel(result)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("explanations", [pixels], step=trainer.global_step)
        directory = Path(trainer.default_root_dir) / "explanations"
        directory.mkdir(parents=True, exist_ok=True)
        imsave(directory / f"epoch_{trainer.current_epoch + 1:03d}.png", pixels)

    def _attacked(self, trainer: pl.Trainer, pl_module: pl.LightningModule, samples: int) -> AttackResult:
        network, data = network_of(pl_module), lightning_data(trainer)
        images = data.images("val")
        chosen = stratified(images.labels, samples, self.seed)
        batch = Batch(*default_collate([images[index] for index in chosen]))
        donors = DonorPool(data.donors, shared=True)
        attribution = self.attribution.prepare(network, donors)
        attack = self.attack.prepare(network, donors)
        return run_attack(network, attribution, attack, batch, self.seed)
