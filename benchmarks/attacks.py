"""What each attack costs, over the bare passes that it needs.

A ResNet-18 with random weights on 8 images of 64 x 64, one thread; integrated gradients of 4 points, 3 steps,
a radius so small that no prediction changes. Timed is the whole of `run_attack`. The bare passes are run
through the same explanation: the clean and the attacked image are classified and explained; a map attack
explains the clean image once more, differentiates the sum of the softplus twin's map for each step, and
classifies and explains each judged iterate. What an attack takes above them is its own: objectives, sorting,
scores, steps, donors looked up, noise drawn.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from lit_xai.ascent import slope
from lit_xai.attacks.adaptive_steps import AdaptiveSteps
from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.criteria import Intersection
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.gaussian import GaussianInjection, MatchedGaussian
from lit_xai.attacks.map_attack import MapAttack
from lit_xai.attacks.mass_center import MassCenter
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.soft_coverage import SoftCoverage
from lit_xai.attacks.target_map import TargetMap
from lit_xai.attacks.target_region import TargetRegion
from lit_xai.attacks.top_k import TopK
from lit_xai.attacks.window_union import WindowUnion
from lit_xai.attacks.worst_of import WorstOf
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.gate import evaluating
from lit_xai.metrics.maps import pixel_map
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import Batch

REPEATS, SIZE, IMAGES, STEPS, K = 5, 64, 8, 3, 400
EXPLANATION = IntegratedGradients(path_steps=4)
CLIMB = {"eps": 0.002, "step_size": 0.0005, "steps": STEPS}

MEMBERS = (TopK(k=K, **CLIMB), MassCenter(**CLIMB))


@dataclass(frozen=True)
class Job:
    """An attack, and what its formula needs beside the clean and the attacked image's explanation.

    Attributes:
        attack: The attack.
        explanations: Explanations of a batch.
        forwards: Forward passes of a batch.
        outputs: Forward and backward passes of the true network for each step.
        climbers: The map attacks that it runs; itself if it is one.
    """

    attack: Attack
    explanations: int = 0
    forwards: int = 0
    outputs: int = 0
    climbers: tuple[MapAttack, ...] = ()


JOBS: Mapping[str, Job] = {
    "RandomSign": Job(RandomSign()),
    "GaussianInjection": Job(GaussianInjection()),
    "EXIAA": Job(EXIAA(), explanations=1, forwards=1),
    "MatchedGaussian": Job(MatchedGaussian(EXIAA()), explanations=1, forwards=1),
    "TopK": Job(TopK(k=K, **CLIMB)),
    "TopK, adaptive": Job(TopK(k=K, **CLIMB | {"stepping": AdaptiveSteps(), "judge_every": 2})),
    "TopK, recovering": Job(TopK(k=K, **CLIMB | {"recover": True}), forwards=STEPS),
    # The centre from which the twin's map departs.
    "MassCenter": Job(MassCenter(**CLIMB), explanations=1),
    "WindowUnion": Job(WindowUnion(k=K, **CLIMB)),
    "TargetRegion": Job(TargetRegion(**CLIMB)),
    "SoftCoverage": Job(SoftCoverage(k=K, **CLIMB)),
    # The goal's class and map, and the clean probabilities.
    "TargetMap": Job(TargetMap(**CLIMB), explanations=1, forwards=2, outputs=1),
    # The centre, the clean map of the whole, and a judgement of each member.
    "WorstOf": Job(
        WorstOf({"a": MEMBERS[0], "b": MEMBERS[1]}, Intersection(K)),
        explanations=1 + 1 + 2,
        forwards=1 + 2,
        climbers=MEMBERS,
    ),
}


def network() -> nn.Module:
    """Return a network whose biases and statistics are not those of a fresh one."""
    torch.manual_seed(0)
    model = resnet18(num_classes=10)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter, mean=parameter.mean().item(), std=0.2)
    return model.eval()


def images(number: int, seed: int = 0) -> Batch:
    """Return random images."""
    noise = Noise(seed, torch.arange(number))
    return Batch(noise.uniform(torch.empty(number, 3, SIZE, SIZE)), noise.integers(10), torch.arange(number))


def bare(job: Job, model: nn.Module, batch: Batch) -> None:
    """Make the passes that an attack's formula needs, and nothing else."""
    image, target, sample_id = batch
    explain = EXPLANATION.bind(model, Noise(0, sample_id))
    climbers = job.climbers or ((job.attack,) if isinstance(job.attack, MapAttack) else ())
    judgements = sum(-(-STEPS // attack.judge_every) for attack in climbers)
    with evaluating(model):
        for _ in range(STEPS * len(climbers)):
            step(job, explain, image, target)
        with torch.no_grad():
            for _ in range(2 + len(climbers) + judgements + job.explanations):
                explain(image, target)
            for _ in range(2 + judgements + job.forwards):
                model(image)


def step(job: Job, explain: Explain, image: Tensor, target: Tensor) -> None:
    """Differentiate the twin's map, and the outputs if an attack minds them."""
    smooth = explain.on(SoftplusTwin(explain.model))
    slope(lambda point: pixel_map(smooth(point, target)).sum(dim=(1, 2)), image)
    for _ in range(job.outputs):
        slope(lambda point: explain.model(point).sum(dim=1), image)


def seconds(work: Callable[[], object]) -> float:
    """Return the wall time of a call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def compare(name: str, job: Job, model: nn.Module) -> None:
    """Print the time of an attack over that of its bare passes."""
    attack = job.attack.prepare(model, lambda: [images(64, seed=1)])
    batch = images(IMAGES)
    ratios = [
        seconds(lambda: run_attack(model, EXPLANATION, attack, batch, seed=0))
        / seconds(lambda: bare(job, model, batch))
        for _ in range(REPEATS)
    ]
    text = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f})"
    sys.stdout.write(f"{name}: {text} of the bare passes\n")
    sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    chosen = network()
    for title, one in JOBS.items():
        compare(title, one, chosen)
