"""Training on images that move the most important pixels out of each other's windows."""

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from lit_xai.attacks.iterative import relative_map
from lit_xai.attacks.map_attack import Subject
from lit_xai.attacks.soft_coverage import SoftCoverage
from lit_xai.attributions.base import Explain
from lit_xai.metrics.maps import pixel_map
from lit_xai.regimes.consistency import Consistency


@dataclass(frozen=True)
class LENSTraining(Consistency):
    """Train on images whose top pixels have left their windows, and cover these pixels again, ours.

    Kamath et al. (2024, arXiv 2312.10534) leave attacks on their measure, and robust models built with them,
    to future work: mean CE(x') + weight * mean (1 - coverage), where x' is what a short `SoftCoverage` finds,
    and the coverage is the smooth LENS overlap that this attack lowers, with its `k`, `w`, `side`, `diverse`
    and `surrogate`, at the temperature of its last step: how far the top k pixels of the map of x lie in the
    windows of those of the map of x'. Both maps explain the class predicted for x. The set of x is fixed, so
    the term is differentiated through the map of x' only, the network's own: a rectifier network's map has a
    slope in the weights. As in the attack, the surrogate's c is held fixed. Nothing flows through the attack,
    whose steps follow its softplus twin. A sample for which it finds nothing enters by its cross-entropy
    only. The attack and the maps see evaluation mode in single precision, the cross-entropy training mode.

    The attack's `eps` and `k` are those usual for Fashion-MNIST; it takes 5 steps and judges the last only,
    where an evaluation takes hundreds. The weight was chosen on the embedded sample, from scratch, of 1 to
    30: more gains little overlap for much accuracy. What rises is the overlap within windows: the plain top-k
    intersection hardly does.

    Args:
        attack: Finds x' and gives the coverage.
        attribution: The explanation, differentiable; the input gradient by default.
        weight: Of the share that is left uncovered.

    Raises:
        TypeError: If the attribution is not differentiable.
        ValueError: If `weight` is not above 0; on the first image, if the attack's `k` exceeds the map.
    """

    attack: SoftCoverage = field(
        default_factory=lambda: SoftCoverage(
            eps=0.1, step_size=0.03, steps=5, path_steps=4, judge_every=5, k=100
        )
    )
    weight: float = 10.0
    part: ClassVar[str] = "uncovered"

    def change(self, explain: Explain, image: Tensor, image_adv: Tensor, target: Tensor) -> Tensor:
        with torch.no_grad():
            clean = pixel_map(explain(image, target))
        subject = Subject(explain, explain, image, target, clean, goal=clean)
        # The attack climbs minus the coverage.
        objective = self.attack.objective(subject, explain.noise)
        rows = torch.arange(len(image), device=image.device)
        return 1 + objective(relative_map(explain, image_adv, target), rows, 1.0)
