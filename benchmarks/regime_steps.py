"""What a training step costs, over the bare passes it needs and over a natural step.

The bare passes of IG-NORM and IG-SUM-NORM are what no implementation can do without: for every step and path
point of the search one double backward with frozen weights, for every path point of the objective one with
live weights. Published settings for Fashion-MNIST (20 steps of 10 points, then 50) on a narrow network.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.gate import evaluating
from lit_xai.models.small import SmallCNN
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.ig_norm import IGNorm
from lit_xai.regimes.ig_sum_norm import IGSumNorm
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD
from lit_xai.types import Batch

REPEATS = 5
BATCH = 10


def seconds(work: Callable[[], None]) -> float:
    """Return the wall time of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def double_backward(
    model: SmallCNN, image: Tensor, label: Tensor, points: int, wanted: list[Tensor] | None
) -> None:
    """Differentiate the norm of an input gradient, in the weights or, without them, in the image."""
    stacked = image.repeat(points, 1, 1, 1).requires_grad_()
    loss = functional.cross_entropy(model(stacked), label.repeat(points), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, stacked, create_graph=True)
    torch.autograd.grad(gradient.abs().sum(), wanted or stacked, allow_unused=True)


def step(model: SmallCNN, regime: Regime, batch: Batch) -> None:
    """Make one training step without the optimiser."""
    regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.backward()


def bare(model: SmallCNN, regime: Regime, batch: Batch) -> None:
    """Make the passes that no implementation of the regime can do without."""
    image, label, _ = batch
    if isinstance(regime, IGNorm | IGSumNorm):
        with evaluating(model):
            for _ in range(regime.steps):
                double_backward(model, image, label, regime.inner_path_steps, None)
        double_backward(model, image, label, regime.path_steps, list(model.parameters()))
    if isinstance(regime, PGD):
        for _ in range(regime.steps + 1):
            step(model, Natural(), batch)


def ratios(model: SmallCNN, regime: Regime, batch: Batch) -> tuple[float, float]:
    """Return the time of a step over its bare passes and over a natural step, measured side by side."""
    least = seconds(lambda: bare(model, regime, batch))
    whole = seconds(lambda: step(model, regime, batch))
    natural = seconds(lambda: step(model, Natural(), batch))
    return whole / least, whole / natural


def main() -> None:
    """Print median ratios with their range."""
    torch.manual_seed(0)
    model = SmallCNN(width=16)
    batch = Batch(*next(iter(EmbeddedFashion(batch_size=BATCH).train_dataloader())))
    for regime in (PGD(), IGNorm(), IGSumNorm()):
        measured = zip(*(ratios(model, regime, batch) for _ in range(REPEATS)), strict=True)
        parts = (
            f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f}) times {name}"
            for name, values in zip(("the bare passes", "a natural step"), measured, strict=True)
        )
        sys.stdout.write(f"{type(regime).__name__}: {', '.join(parts)}\n")


if __name__ == "__main__":
    main()
