"""What `test_ddp.py` runs in so many processes: `ddp_program.py PROCESSES OUTPUT [padded | folder]`."""

import sys
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from torch.utils.data import DistributedSampler

from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.callbacks.explanation_robustness import ExplanationRobustness
from lit_xai.data import base
from lit_xai.data.base import ImageDataModule
from lit_xai.data.image_folder import ImageFolderData
from lit_xai.data.images import Images
from lit_xai.data.listing import keep_split_list
from lit_xai.evaluation.gathering import of_all_processes
from lit_xai.evaluation.grid import Grid
from lit_xai.metrics.change import ExplanationChange
from lit_xai.metrics.rank import Kendall
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.module import LitClassifier
from lit_xai.regimes.ig_sum_norm import IGSumNorm
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD
from tests.conftest import tiny_network


class Stripes(ImageDataModule):
    """24 training and 13 evaluation images of four kinds of stripes."""

    num_classes = 4

    def __init__(self) -> None:
        super().__init__(
            batch_size=8, eval_batch_size=4, limits=dict.fromkeys(("train", "val", "test")), num_workers=0,
            donor_split="train", seed=0,
        )  # fmt: skip

    def read(self, split: str) -> Images:
        size = 24 if split == "train" else 13
        generator = np.random.default_rng(len(split))
        labels = np.arange(size) % 4
        pixels = generator.integers(0, 120, (size, 2, 8, 8))
        for index, label in enumerate(labels):
            pixels[index, :, label::4] += 130
        return Images.from_bytes(pixels.astype(np.uint8), labels)


def logged(trainer: pl.Trainer) -> dict[str, float]:
    """Return what was logged of whole splits, without times; every process must have logged the same."""
    values = {key: value.item() for key, value in trainer.callback_metrics.items() if "time" not in key}
    shares = of_all_processes({key: value for key, value in values.items() if not key.startswith("train/")})
    assert all(repr(share) == repr(shares[0]) for share in shares)
    return values


def main(processes: int, output: Path) -> None:
    """Train two epochs, test, and write every number."""
    names = {"eps": 0.1, "step_size": 0.03, "steps": 3}
    regime = IGSumNorm(**names, path_steps=3, inner_path_steps=2)
    classifier = LitClassifier(
        tiny_network(),
        regime,
        4,
        optimizer=lambda parameters: torch.optim.SGD(parameters, 0.1),
        adversary=PGD(**names),
    )
    grid = Grid(
        {"smooth_grad": SmoothGrad(3), "integrated_gradients": IntegratedGradients(3)},
        {"top_k": TopK(**names, k=10, restarts=2), "exiaa": EXIAA(alpha=0.3)},
        {"top_k": TopKIntersection(10), "kendall": Kendall(), "change": ExplanationChange()},
    )
    data = Stripes()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        precision="64-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ExplanationRobustness(grid, max_samples=13, batch_size=3)],
    )
    trainer.fit(classifier, data)
    fitted = logged(trainer)
    weights = torch.cat([parameter.detach().flatten() for parameter in classifier.parameters()])
    trainer.test(classifier, data, verbose=False)
    tested, records = logged(trainer), grid.records()
    if trainer.is_global_zero:
        torch.save({"fitted": fitted, "tested": tested, "weights": weights}, output)
        records.to_csv(output.with_suffix(".csv"), index=False)


def main_folder(processes: int, output: Path) -> None:
    """Train three epochs on random parts of the pictures in `pictures` beside the output."""
    data = ImageFolderData(
        output.parent / "pictures", size=8, augment=True, batch_size=8, num_workers=0, seed=3
    )
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(192, 8), torch.nn.Tanh(), torch.nn.Linear(8, 2)
    )
    classifier = LitClassifier(
        network, Natural(), 2, optimizer=lambda parameters: torch.optim.SGD(parameters, 0.3), adversary=None
    )
    trainer = pl.Trainer(
        max_epochs=3, accelerator="cpu", devices=processes, strategy="ddp" if processes > 1 else "auto",
        precision="64-true", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(classifier, data)
    directory = output.with_suffix("")
    directory.mkdir(exist_ok=True)
    keep_split_list(data, directory, goes_on=False)
    weights = torch.cat([parameter.detach().flatten() for parameter in classifier.parameters()])
    if trainer.is_global_zero:
        torch.save({"weights": weights, "tested": logged(trainer)}, output)
    else:
        logged(trainer)


if __name__ == "__main__":
    if sys.argv[3:] == ["folder"]:
        main_folder(int(sys.argv[1]), Path(sys.argv[2]))
        sys.exit()
    if sys.argv[3:] == ["padded"]:
        base.evaluation_order = lambda dataset, size, rank: DistributedSampler(
            dataset, size, rank, shuffle=False
        )
    main(int(sys.argv[1]), Path(sys.argv[2]))
