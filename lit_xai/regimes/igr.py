"""Adversarial training that keeps the direction of integrated gradients."""

from dataclasses import dataclass, field, replace
from typing import cast

from torch import Tensor, nn

from lit_xai.attributions.base import Score
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.gate import explaining
from lit_xai.noise import Noise
from lit_xai.regimes.adversarial import Adversarial
from lit_xai.regimes.base import Regime, check_weight
from lit_xai.regimes.pgd import PGD
from lit_xai.regimes.similarity import Cosine, Similarity
from lit_xai.types import Donors, RegimeLoss


@dataclass(frozen=True)
class IGR(Regime):
    """Train robustly while integrated gradients keep their direction (Wang & Kong, 2022, arXiv 2205.07279).

    L(x, x') + weight * mean (1 - cos(IG(x), IG(x'))), where L is the objective of a robust regime and x' the
    neighbour that its own search finds: no search attacks the explanation. Nothing flows through the search;
    both maps are differentiated in the weights, since the authors want the same units active at x and at x'.
    IG explains the label from a constant baseline with Gauss-Legendre nodes. The weight and the number of
    points are not published: the defaults are ours. The authors also report other similarities. L sees the
    network as its regime says, the maps see evaluation mode in single precision. More path points than fit
    into `max_batch` cost time, not memory.

    Args:
        robust: Finds x' and gives L.
        similarity: Of the two maps.
        weight: Of the dissimilarity (the authors' lambda).
        path_steps: Points of the path from the baseline.
        baseline: The value of every pixel of the baseline, in [0, 1]; 0 is black.
        score: What is integrated: `logit`, `probability` or `loss`.
        max_batch: Images in flight in one forward pass of a map.

    Raises:
        ValueError: If an option is out of its range.
    """

    robust: Adversarial = field(default_factory=PGD)
    similarity: Similarity = field(default_factory=Cosine)
    weight: float = 1.0
    path_steps: int = 5
    baseline: float = 0.0
    score: Score = "logit"
    max_batch: int = 512

    def __post_init__(self) -> None:
        check_weight(self.weight, type(self.robust).__name__)
        self.attribution()

    def attribution(self) -> IntegratedGradients:
        """Return the explanation that is to keep its direction."""
        return IntegratedGradients(
            path_steps=self.path_steps, baseline=self.baseline, score=self.score, max_batch=self.max_batch
        )

    def prepare(self, model: nn.Module, donors: Donors) -> "IGR":
        return replace(self, robust=cast(Adversarial, self.robust.prepare(model, donors)))

    @property
    def compares_with_start(self) -> bool:
        return type(self).prepare is not IGR.prepare or self.robust.compares_with_start

    def at(self, progress: float) -> "IGR":
        return replace(self, robust=cast(Adversarial, self.robust.at(progress)))

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        image_adv = self.robust.attack(model, image, label, noise)
        total, logits, parts = self.robust.objective(model, image, image_adv, label)
        with explaining(model):
            explain = self.attribution().bind(model, noise)
            maps = explain(image, label), explain(image_adv, label)
            similarity = self.similarity.similarity(*maps, noise.child("similarity"))
        dissimilarity = (1 - similarity).mean()
        parts = {**parts, "dissimilarity": dissimilarity.detach()}
        return RegimeLoss(total + self.weight * dissimilarity, logits, parts)
