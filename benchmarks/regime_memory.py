"""What a training step of IG-SUM-NORM costs in memory and in time when its path does not fit at once.

A narrow network on batches of 64 images, 320 images in flight: five points of the path. Memory is by how much
a step raises the highest resident size, in a process of its own that returns freed memory at once
(MALLOC_MMAP_THRESHOLD_), with 5 and with 50 points; beside it with 50 points at once. The gradients of the
two are compared in double precision.
The bare passes are what the step cannot do without in that memory: for the step of the search a double
backward in the image; for each chunk of the path a gradient, since the norm is known after all of them only,
and a double backward in the weights; a forward and backward pass of the cross-entropy.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lit_xai.gate import evaluating, explaining
from lit_xai.models.small import SmallCNN
from lit_xai.noise import Noise
from lit_xai.regimes.ig_sum_norm import IGSumNorm
from lit_xai.types import Batch
from scripts.regime_tables import RESULTS, TABLES, render

REPEATS = 5
IMAGES = 64
FEW, MANY = 5, 50
CHUNK = IMAGES * FEW
REGIME = IGSumNorm(steps=1, inner_path_steps=FEW, path_steps=MANY, max_batch=CHUNK)


def batch() -> Batch:
    """Return random images."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(IMAGES, 1, 28, 28, generator=generator)
    return Batch(image, torch.randint(10, (IMAGES,), generator=generator), torch.arange(IMAGES))


def step(model: SmallCNN, regime: IGSumNorm, given: Batch) -> Tensor:
    """Make one training step without the optimiser and return the gradient."""
    model.zero_grad()
    regime.loss(model, given.image, given.label, Noise(0, given.sample_id)).total.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def pass_of(model: SmallCNN, given: Batch, wanted: list[Tensor] | None, *, twice: bool) -> None:
    """Differentiate the loss of a chunk in its images, and if asked that gradient once more."""
    points = given.image.repeat(FEW, 1, 1, 1).requires_grad_()
    loss = functional.cross_entropy(model(points), given.label.repeat(FEW), reduction="sum")
    (gradient,) = torch.autograd.grad(loss, points, create_graph=twice)
    if twice:
        torch.autograd.grad(gradient.abs().sum(), wanted or points, allow_unused=True)


def bare(model: SmallCNN, given: Batch) -> None:
    """Make the passes that a step needs."""
    with evaluating(model):
        pass_of(model, given, None, twice=True)
        functional.cross_entropy(model(given.image.clone().requires_grad_()), given.label).backward()
    weights = list(model.parameters())
    with explaining(model):
        for twice in (False, True):
            for _ in range(MANY // FEW):
                pass_of(model, given, weights, twice=twice)
    functional.cross_entropy(model(given.image), given.label).backward()


def status(name: str) -> int:
    """Return a memory figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def peak(points: int, max_batch: int) -> None:
    """Print by how much two steps raise this process's memory, in KiB."""
    model, given = SmallCNN(width=8), batch()
    before = status("VmRSS")
    for _ in range(2):
        step(model, replace(REGIME, path_steps=points, max_batch=max_batch), given)
    sys.stdout.write(f"{status('VmHWM') - before}\n")


def memory(points: int, max_batch: int) -> int:
    """Return what `peak` prints in a process of its own."""
    command = [sys.executable, __file__, str(points), str(max_batch)]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measured() -> dict[str, list[float]]:
    """Return ratios of memory and of time."""
    few, many, whole = (
        [memory(points, size) for _ in range(3)]
        for points, size in ((FEW, CHUNK), (MANY, CHUNK), (MANY, MANY * IMAGES))
    )
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, given = SmallCNN(width=8), batch()
    at_once = replace(REGIME, max_batch=MANY * IMAGES)
    for warm_up in (REGIME, at_once):
        step(model, warm_up, given)
    ours, least, others = [], [], []
    for _ in range(REPEATS):
        ours.append(seconds(lambda: step(model, REGIME, given)))
        least.append(seconds(lambda: bare(model, given)))
        others.append(seconds(lambda: step(model, at_once, given)))
    return {
        "memory over that of 5 points": ratios(many, few),
        "memory with all points at once over that of 5 points": ratios(whole, few),
        "time over the bare passes": ratios(ours, least),
        "time over that with all points at once": ratios(ours, others),
    }


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Return quotients, pair by pair."""
    return [one / other for one, other in zip(above, below, strict=True)]


def main() -> None:
    """Print and keep medians with their range, and compare the gradients."""
    rows = [
        {"name": name, "median": statistics.median(values), "least": min(values), "most": max(values)}
        for name, values in measured().items()
    ]
    pd.DataFrame(rows).to_csv(RESULTS / "memory.csv", index=False)
    render("regimes_memory")
    sys.stdout.write(TABLES["regimes_memory"]() + "\n")
    model, given = SmallCNN(width=8).double(), batch()
    given = given._replace(image=given.image.double())
    one, other = (step(model, regime, given) for regime in (REGIME, replace(REGIME, max_batch=MANY * IMAGES)))
    sys.stdout.write(f"largest difference of the gradients: {(one - other).abs().max():.1e}\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(*map(int, sys.argv[1:]))
    else:
        main()
