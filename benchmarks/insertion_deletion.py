"""What insertion and deletion cost, over the bare forward passes they need, in time and in memory.

Both games with 28 steps on 16 images of 224 x 224 for a ResNet-18 with random weights, 32 images in flight.
The bare passes are as many forward passes of ready batches of the same size. Memory is the highest resident
size above that before, each measured in a process of its own, which returns freed memory at once
(MALLOC_MMAP_THRESHOLD_): left to itself glibc's allocator keeps more or less of it from pass to pass.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torchvision.models import resnet18

from lit_xai.gate import evaluating
from lit_xai.metrics.insertion_deletion import deletion, insertion
from lit_xai.noise import Noise

REPEATS = 5
SAMPLES, SIZE, STEPS, MAX_BATCH = 16, 224, 28, 32


def status(name: str) -> int:
    """Return a memory figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def work() -> dict[str, Callable[[], None]]:
    """Return both games, their bare forward passes, and one such pass."""
    torch.manual_seed(0)
    model: nn.Module = resnet18()
    noise = Noise(0, torch.arange(SAMPLES))
    image = noise.uniform(torch.empty(SAMPLES, 3, SIZE, SIZE))
    maps, target = noise.child("maps").uniform(image[:, 0]), torch.zeros(SAMPLES, dtype=torch.int64)

    def games() -> None:
        for game in (insertion, deletion):
            game(model, image, maps, target, step_size=SIZE * SIZE // STEPS, max_batch=MAX_BATCH)

    def bare() -> None:
        images, ready = 2 * SAMPLES * (STEPS + 1), image.repeat(MAX_BATCH // SAMPLES, 1, 1, 1)
        with evaluating(model), torch.no_grad():
            for begin in range(0, images, MAX_BATCH):
                model(ready[: min(MAX_BATCH, images - begin)])

    def once() -> None:
        with evaluating(model), torch.no_grad():
            model(image.repeat(MAX_BATCH // SAMPLES, 1, 1, 1))

    return {"games": games, "bare": bare, "once": once}


def peak(name: str) -> None:
    """Print by how much a kind of work raises this process's memory, in KiB."""
    chosen = work()[name]
    before = status("VmRSS")
    chosen()
    sys.stdout.write(f"{status('VmHWM') - before}\n")


def seconds(job: Callable[[], None]) -> float:
    """Return the wall time of a call."""
    begun = time.perf_counter()
    job()
    return time.perf_counter() - begun


def memory(name: str) -> int:
    """Return what `peak` prints in a process of its own."""
    command = [sys.executable, __file__, name]
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def report(name: str, ratios: list[float]) -> None:
    """Print ratios by their median and range."""
    sys.stdout.write(f"{name}: {statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})\n")


def main() -> None:
    """Print median ratios with their range."""
    jobs = work()
    jobs["once"]()
    times = [seconds(jobs["games"]) / seconds(jobs["bare"]) for _ in range(REPEATS)]
    report("insertion and deletion over the bare forward passes, time", times)
    sizes = [memory("games") / memory("once") for _ in range(REPEATS)]
    report("insertion and deletion over one bare forward pass, peak memory", sizes)


if __name__ == "__main__":
    peak(sys.argv[1]) if len(sys.argv) > 1 else main()
