"""What each explanation costs, over the bare passes that it needs, in time and in memory.

A ResNet-18 with random weights on images of 64 x 64, one thread, batches of 1 and of 16; few points and
draws. A first run of each method records the batches that it sends through the network.
The bare passes are forward and backward passes of ready batches of the same sizes, with as many backward
passes as the formula has for each forward pass (relevance: one pass for the values, one forward and backward
for the shares, two more of the first layer for its box). Where a method sends more images than its formula
needs, the bare passes count for less; where that depends on the image, all that it sends count as needed.
What relevance takes above them goes into folding and clipping the weights, what DeepLIFT takes into captum's
copies of the input and output of every unit and into a first pass that finds the units.
Memory is the highest resident size above that before, in a process of its own that returns freed memory at
once (MALLOC_MMAP_THRESHOLD_) and keeps one kernel only (oneDNN caches one for each batch size, and the number
of images that AttEXplore resizes differs from chunk to chunk), with 10 and with 200 points and 32 images in
flight.
"""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from lit_xai.attributions.adversarial_ig import AdversarialIG
from lit_xai.attributions.attexplore import AttEXplore
from lit_xai.attributions.attexplore_variants import (
    AttEXploreDI,
    AttEXploreMI,
    AttEXploreNAA,
    AttEXplorePGD,
    AttEXplorePlain,
    AttEXploreSINI,
    AttEXploreTI,
)
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.boundary_ig import BoundaryIG
from lit_xai.attributions.deep_lift import DeepLift, DeepLiftShap
from lit_xai.attributions.expected_gradients import ExpectedGradients
from lit_xai.attributions.fast_ig import FastIG
from lit_xai.attributions.grad_cam import GradCAM
from lit_xai.attributions.guided_backprop import GuidedBackprop
from lit_xai.attributions.guided_ig import GuidedIG
from lit_xai.attributions.input_x_gradient import InputXGradient
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance
from lit_xai.attributions.mean_of import MeanOf, VarianceWeightedMean
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.attributions.softened import Softened
from lit_xai.gate import evaluating
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import Batch

REPEATS, SIZE, BATCHES = 5, 64, (1, 16)


@dataclass(frozen=True)
class Job:
    """A method, and what its formula needs for each image.

    Attributes:
        method: The method.
        needs: Images through the network; None if that depends on the image.
        backwards: Backward passes for each forward pass.
        forwards: Forward passes for each of them that need no backward pass.
        firsts: Forward and backward passes of the first layer for each of them.
        twin: Whether the network is run with softplus.
        skip: Forward passes at the beginning that only ask for the number of classes.
    """

    method: Attribution
    needs: float | None
    backwards: int = 1
    forwards: int = 0
    firsts: int = 0
    twin: bool = False
    skip: int = 0


GRADIENTS = (Saliency(), GuidedBackprop())
JOBS: Mapping[str, Job] = {
    "Saliency": Job(Saliency(), 1),
    "InputXGradient": Job(InputXGradient(), 1),
    "FastIG": Job(FastIG(), 1),
    "SmoothGrad, 20 samples": Job(SmoothGrad(samples=20), 20),
    "IntegratedGradients, 20 points": Job(IntegratedGradients(path_steps=20), 20),
    "ExpectedGradients, 20 samples": Job(ExpectedGradients(samples=20, references=4), 20),
    "GuidedIG, 20 points": Job(GuidedIG(path_steps=20), 20),
    "BoundaryIG, 10 steps, 10 points": Job(BoundaryIG(steps=10, path_steps=10), None),
    "AdversarialIG, 2 classes, 4 steps": Job(AdversarialIG(classes=2, steps=4), None, backwards=2, skip=1),
    "AttEXplore, 2 steps, 10 samples": Job(AttEXplore(steps=2, samples=10), 20),
    "AttEXplorePlain, 4 steps": Job(AttEXplorePlain(steps=4), 4),
    "AttEXplorePGD, 4 steps": Job(AttEXplorePGD(steps=4), 4),
    "AttEXploreMI, 4 steps": Job(AttEXploreMI(steps=4), 4),
    "AttEXploreDI, 4 steps": Job(AttEXploreDI(steps=4), 4),
    "AttEXploreTI, 4 steps": Job(AttEXploreTI(steps=4), 4),
    "AttEXploreSINI, 4 steps": Job(AttEXploreSINI(steps=4), 20),
    "AttEXploreNAA, 4 steps, 10 samples": Job(AttEXploreNAA(steps=4, samples=10), 14),
    "LayerwiseRelevance": Job(LayerwiseRelevance(), 1, forwards=1, firsts=2),
    "GuidedBackprop": Job(GuidedBackprop(), 1),
    "GradCAM": Job(GradCAM(), 1),
    "DeepLift": Job(DeepLift(), 2),
    "DeepLiftShap, 4 references": Job(DeepLiftShap(references=4), 8),
    "MeanOf Saliency and GuidedBackprop": Job(MeanOf(GRADIENTS), 2),
    "VarianceWeightedMean of the same": Job(VarianceWeightedMean(GRADIENTS), 2),
    "Softened Saliency": Job(Softened(Saliency()), 1, twin=True),
}
PATHS: Mapping[str, Callable[[int], Attribution]] = {
    "SmoothGrad": lambda points: SmoothGrad(samples=points, max_batch=32),
    "IntegratedGradients": lambda points: IntegratedGradients(path_steps=points, max_batch=32),
    "ExpectedGradients": lambda points: ExpectedGradients(samples=points, references=4, max_batch=32),
    "GuidedIG": lambda points: GuidedIG(path_steps=points),
    "BoundaryIG": lambda points: BoundaryIG(steps=2, path_steps=points, max_batch=32),
    "AttEXplore": lambda points: AttEXplore(steps=1, samples=points, max_batch=32),
}


def network() -> nn.Module:
    """Return a network whose biases and statistics are not those of a fresh one."""
    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    return model.eval()


def images(number: int) -> Batch:
    """Return random images."""
    noise = Noise(0, torch.arange(number))
    return Batch(noise.uniform(torch.empty(number, 3, SIZE, SIZE)), noise.integers(10), torch.arange(number))


def explain(method: Attribution, model: nn.Module, batch: Batch) -> None:
    """Explain a batch, without a graph."""
    with evaluating(model), torch.no_grad():
        method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id))


def sent(method: Attribution, model: nn.Module, batch: Batch) -> list[Tensor]:
    """Return ready batches of the sizes that a method sends through the network."""
    shapes: list[torch.Size] = []
    with model.conv1.register_forward_pre_hook(lambda _, given: shapes.append(given[0].shape)):
        explain(method, model, batch)
    return [torch.rand(shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]


def bare(job: Job, model: nn.Module, batches: list[Tensor]) -> None:
    """Make the passes that a method's formula needs, and nothing else."""
    with evaluating(model):
        for ready in batches:
            leaf = ready.requires_grad_()
            for _ in range(job.forwards):
                model(leaf)
            for _ in range(job.firsts):
                torch.autograd.grad(model.conv1(leaf).sum(), leaf)
            logits = (SoftplusTwin(model, 10.0) if job.twin else model)(leaf)
            for output in range(job.backwards):
                torch.autograd.grad(logits[:, output].sum(), leaf, retain_graph=output + 1 < job.backwards)


def seconds(work: Callable[[], None]) -> float:
    """Return the wall time of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def report(name: str, ratios: list[float], after: str = "") -> None:
    """Print ratios by their median and range."""
    text = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    sys.stdout.write(f"{name}: {text}{after}\n")
    sys.stdout.flush()


def compare_time(name: str, job: Job, model: nn.Module, number: int) -> None:
    """Print the time of a method over that of its bare passes, for a batch of a number of images."""
    method = job.method.prepare(model, lambda: [images(4)])
    batch = images(number)
    batches = sent(method, model, batch)[job.skip :]
    passed = sum(len(ready) for ready in batches) / number
    inner = max(1, round(8 / (passed * number)))

    def whole() -> None:
        for _ in range(inner):
            explain(method, model, batch)

    def least() -> None:
        for _ in range(inner):
            bare(job, model, batches)

    needs = job.needs or passed
    ratios = [seconds(whole) / seconds(least) * passed / needs for _ in range(REPEATS)]
    known = f", {needs:g} needed" if job.needs else ""
    report(f"{name}, batch {number}", ratios, f"; {passed:g} images sent{known}")


def peak(name: str, points: str) -> None:
    """Print by how much a method raises this process's memory, in KiB."""
    model = network()
    method = PATHS[name](int(points)).prepare(model, lambda: [images(4)])
    batch = images(4)
    before = status("VmRSS")
    explain(method, model, batch)
    sys.stdout.write(f"{status('VmHWM') - before}\n")


def status(name: str) -> int:
    """Return a memory figure of this process, in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))


def memory(name: str, points: int) -> int:
    """Return what `peak` prints in a process of its own."""
    command = [sys.executable, __file__, name, str(points)]
    settings = {
        "MALLOC_MMAP_THRESHOLD_": "65536",
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "1",
        "OMP_NUM_THREADS": "1",
    }
    environment = {**os.environ, **settings}
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


def compare_memory() -> None:
    """Print the peak memory with 200 points over that with 10."""
    for name in PATHS:
        ratios = [memory(name, 200) / memory(name, 10) for _ in range(3)]
        report(f"{name}, peak memory of 200 points over 10", ratios)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        peak(*sys.argv[1:])
    else:
        torch.set_num_threads(1)
        chosen = network()
        for title, one in JOBS.items():
            for size in BATCHES:
                compare_time(title, one, chosen, size)
        compare_memory()
