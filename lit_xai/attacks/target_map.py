"""Move the map towards another one while the output stays."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from lit_xai.attacks.adam_steps import AdamSteps
from lit_xai.attacks.base import Criterion
from lit_xai.attacks.goals import Goal, OtherImage
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.attacks.stepping import Stepping
from lit_xai.attributions.base import check_counts
from lit_xai.noise import Noise
from lit_xai.types import Donors

_SMALLEST = 1e-12
# The published weights are 1e11 of a mean over 224 x 224 pixels, of maps that sum to one, and 1e6 of a mean
# over 1,000 classes: here, per squared deviation in means of the map and per squared change of the output.
_MAP_WEIGHT, _OUTPUT_WEIGHT = 1e11 / (224 * 224) ** 2, 1e6 / 1000


def map_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean squared difference of maps, each divided by its mean.

    Args:
        first: Values of at least 0, (N, H, W).
        second: Values of at least 0, (N, H, W).

    Returns:
        Distances that depend neither on the sums of the maps nor on their size, (N,).

    Raises:
        ValueError: If the shapes differ or are not (N, H, W).

    Example:
        >>> map_distance(torch.tensor([[[2.0, 0.0]]]), torch.ones(1, 1, 2))
        tensor([1.])
    """
    if first.shape != second.shape or first.ndim != 3:
        raise ValueError(
            f"Expected maps of one shape (N, H, W), but got {tuple(first.shape)} and {tuple(second.shape)}."
        )
    return (_in_means(first) - _in_means(second)).square().mean(dim=(1, 2))


def _in_means(maps: Tensor) -> Tensor:
    return maps / maps.mean(dim=(1, 2), keepdim=True).clamp_min(_SMALLEST)


@dataclass(frozen=True)
class _GoalDistance(Criterion):
    lowest: ClassVar[float] = 0.0

    def score(self, clean_map: Tensor, attacked_map: Tensor) -> Tensor:
        return map_distance(clean_map, attacked_map)


@dataclass(frozen=True)
class TargetMap(MapAttack):
    """Move the map towards another one while the output stays (Dombrowski et al., 2019, arXiv 1906.07983).

    Steps of Adam lower the squared distance of the softplus twin's relative map from the goal and the squared
    change of the class probabilities, while the twin's sharpness grows geometrically; each iterate is judged
    by the true network's map. Defaults are the authors': no radius, 1500 steps, softplus from 10 to 100.
    Their steps of 1e-3 for gradient maps, in units of ImageNet's mean deviation .225, are 2.25e-4 in pixels;
    for relevance they take a fifth of it, for integrated gradients five times as much. So short steps need
    all 1500; with a radius and fewer steps, set `step_size` to None.

    Relevance depends on activations and so has a slope even with rectifiers: the authors attack it at a
    sharpness of 1000 throughout, which is stronger there; set `beta` and `beta_end` to 1000 for it.

    Deviations: the weights of the two terms, published as numbers for 224 x 224 pixels and 1,000 classes, are
    freed of both, so that their ratio is the published one at that size and means the same at any other; the
    output term is the true network's, which has a slope, so that the twin's own error is not paid for; the
    best iterate that keeps the prediction counts, not the last one. The other options are those of
    `MapAttack`, but `beta` is where the twin's sharpness begins, and a `criterion` that is named compares
    with the clean map, as in every attack; by default the distance from the goal selects.

    Args:
        towards: The maps to reach.
        output_weight: Weight of the output term, in published weights.
        beta_end: Sharpness of the twin's softplus after the last step; `beta` for one that stays.

    Raises:
        ValueError: If an option is out of its range, or the goal needs `prepare` first.
    """

    eps: float = 1.0
    step_size: float | None = 2.25e-4
    steps: int = 1500
    beta: float = 10.0
    stepping: Stepping = field(default_factory=AdamSteps)
    towards: Goal = field(default_factory=OtherImage)
    output_weight: float = 1.0
    beta_end: float = 100.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "output_weight", least=0)
        if not self.beta_end >= self.beta:
            raise ValueError(
                f"Expected `beta_end` of at least `beta` {self.beta:g}, but got {self.beta_end:g}."
            )

    def prepare(self, model: nn.Module, donors: Donors) -> Self:
        return replace(self, towards=self.towards.prepare(model, donors))

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        return self.towards.eligible(image)

    def own_criterion(self) -> Criterion:
        return _GoalDistance()

    def goal(self, subject: Subject) -> Tensor:
        # A sample without a goal has the one that it starts from, and is finished.
        maps = self.towards.maps(subject.explain, subject.image)
        reachable = maps.flatten(1).any(dim=1)[:, None, None]
        return torch.where(reachable, maps, subject.clean)

    def sharpness(self, progress: float) -> float:
        growth: float = (self.beta_end / self.beta) ** progress
        return self.beta * growth

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        def objective(maps: Tensor, rows: Tensor, progress: float) -> Tensor:  # noqa: ARG001
            return -_MAP_WEIGHT * map_distance(maps, subject.goal[rows])

        return objective

    def penalty(self, subject: Subject, image: Tensor, rows: Tensor) -> Tensor | None:
        if not self.output_weight:
            return None
        change: Tensor = subject.explain.model(image).softmax(dim=1) - subject.probabilities[rows]
        return self.output_weight * _OUTPUT_WEIGHT * change.square().sum(dim=1)
