"""What the whole LENS set costs, on the CPU, over a plain loop and over the explanation it scores.

Top-k intersection, and precision and recall, plain and diverse, for windows of 3, 5 and 7 pixels and k = 1000
of 32 pairs of maps of 224 x 224: integrated gradients of a ResNet-18 with random weights on random images,
with noise. Integrated gradients (50 points, 32 images in flight) are timed on 4 images and counted 8 times.
The plain loop is Python on one pixel after the other. All run in one thread.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor
from torchvision.models import resnet18

from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.gate import evaluating
from lit_xai.metrics.lens import lens_precision, lens_recall
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.top_k import top_k_intersection
from lit_xai.noise import Noise

REPEATS = 5
SAMPLES, EXPLAINED, SIZE, K, WINDOWS = 32, 4, 224, 1000, (1, 2, 3)

Result = TypeVar("Result")
Pixels = set[tuple[int, int]]


def timed(work: Callable[[], Result]) -> tuple[float, Result]:
    """Return the wall time of a call, in seconds, and its result."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def ordered(values: np.ndarray) -> list[tuple[int, int]]:
    """Return pixels by value, the largest first, ties by lowest flat index."""
    flat = values.ravel().tolist()
    return [
        divmod(index, SIZE) for index in sorted(range(len(flat)), key=lambda index: (-flat[index], index))
    ]


def window(pixel: tuple[int, int], w: int) -> Iterable[tuple[int, int]]:
    """Yield the pixels of a window, cut at the border."""
    for row in range(max(0, pixel[0] - w), min(SIZE, pixel[0] + w + 1)):
        for column in range(max(0, pixel[1] - w), min(SIZE, pixel[1] + w + 1)):
            yield row, column


def union(pixels: Pixels, w: int) -> Pixels:
    """Return the union of windows."""
    return {near for pixel in pixels for near in window(pixel, w)}


def spaced(order: list[tuple[int, int]], w: int) -> Pixels:
    """Take the first pixel left and forbid its window, until k are found."""
    chosen: Pixels = set()
    forbidden: Pixels = set()
    for pixel in order:
        if len(chosen) == K:
            break
        if pixel not in forbidden:
            chosen.add(pixel)
            forbidden.update(window(pixel, w))
    return chosen


def diverse(values: np.ndarray, w: int) -> Pixels:
    """Return the diverse top k."""
    return spaced(ordered(values), w)


def top(values: np.ndarray) -> Pixels:
    """Return the k largest values."""
    return set(ordered(values)[:K])


def separate(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Return the whole set for one pair of maps, every score from the maps, as `batched` does."""
    scores = [len(top(first) & top(second)) / K]
    for w in WINDOWS:
        scores.append(len(top(first) & union(top(second), w)) / K)
        scores.append(len(union(top(first), w) & top(second)) / K)
        scores.append(len(diverse(first, w) & union(diverse(second, w), w)) / K)
        scores.append(len(union(diverse(first, w), w) & diverse(second, w)) / K)
    return scores


def shared(first: np.ndarray, second: np.ndarray) -> list[float]:
    """Return the same, every map sorted once and every set made once."""
    orders = ordered(first), ordered(second)
    plain = [set(order[:K]) for order in orders]
    scores = [len(plain[0] & plain[1]) / K]
    for w in WINDOWS:
        for one, other in (plain, [spaced(order, w) for order in orders]):
            scores.append(len(one & union(other, w)) / K)
            scores.append(len(union(one, w) & other) / K)
    return scores


def looped(loop: Callable[[np.ndarray, np.ndarray], list[float]], pairs: list) -> list[list[float]]:
    """Return the scores of all pairs, one after the other."""
    return [loop(first, second) for first, second in pairs]


def batched(first: Tensor, second: Tensor) -> Tensor:
    """Return the whole set for all pairs of maps, (N, 13)."""
    scores = [top_k_intersection(first, second, k=K)]
    for w in WINDOWS:
        for is_diverse in (False, True):
            scores.append(lens_precision(first, second, k=K, w=w, diverse=is_diverse))
            scores.append(lens_recall(first, second, k=K, w=w, diverse=is_diverse))
    return torch.stack(scores, dim=1)


def report(name: str, ratios: list[float]) -> None:
    """Print ratios by their median and range."""
    sys.stdout.write(f"{name}: {statistics.median(ratios):.3g} ({min(ratios):.3g} to {max(ratios):.3g})\n")
    sys.stdout.flush()


def main() -> None:
    """Print median ratios with their range."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = resnet18().eval()
    noise = Noise(0, torch.arange(EXPLAINED))
    image = noise.uniform(torch.empty(EXPLAINED, 3, SIZE, SIZE))
    explain = IntegratedGradients(path_steps=50, max_batch=32).bind(model, noise)
    target = torch.zeros(EXPLAINED, dtype=torch.int64)
    explained = []
    with torch.no_grad(), evaluating(model):
        for _ in range(REPEATS):
            slow, maps = timed(lambda: explain(image, target))
            first, second = noisy(pixel_map(maps))
            fast, _ = timed(partial(batched, first, second))
            explained.append(fast / slow * EXPLAINED / SAMPLES)
    report("the whole LENS set over integrated gradients", explained)
    pairs = list(zip(first.numpy(), second.numpy(), strict=True))
    for name, loop in (("every score by itself", separate), ("sets shared between scores", shared)):
        ratios = []
        for _ in range(REPEATS):
            slow, expected = timed(partial(looped, loop, pairs))
            fast, scores = timed(partial(batched, first, second))
            assert scores.tolist() == expected
            ratios.append(slow / fast)
        report(f"a plain loop, {name}, over the whole LENS set", ratios)


def noisy(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return pairs of maps, each a little and a lot of noise away from one of the given, (SAMPLES, H, W)."""
    noise, maps = Noise(0, torch.arange(SAMPLES)), maps.repeat(SAMPLES // len(maps), 1, 1)
    first, second = (maps + size * maps.std() * noise.child(str(size)).normal(maps) for size in (0.1, 1.0))
    return first.abs(), second.abs()


if __name__ == "__main__":
    main()
