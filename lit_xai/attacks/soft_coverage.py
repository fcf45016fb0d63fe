"""Move the most important pixels out of each other's windows."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from lit_xai.attacks.base import Criterion
from lit_xai.attacks.coverage_surrogates import Coverage, SoftTopK
from lit_xai.attacks.criteria import LENSOverlap
from lit_xai.attacks.map_attack import MapAttack, MapObjective, Subject
from lit_xai.metrics.lens import diverse_top_k_mask
from lit_xai.metrics.maps import size_of, top_k_mask
from lit_xai.metrics.windows import window_union
from lit_xai.noise import Noise


@dataclass(frozen=True)
class SoftCoverage(MapAttack):
    """Lower a smooth surrogate of the LENS overlap itself, ours.

    `TopK` and `WindowUnion` push importance out of a set of pixels, but Kamath et al. (2024, arXiv
    2312.10534) score how many pixels of the clean map's top k lie in a window of the attacked one, and leave
    an attack on this score open. Here the steps lower it: the mean, over the clean set, of how far each pixel
    is covered by the windows of the softplus twin's k largest values. For the recall they lower the share of
    the twin's soft top k that lies in the windows of the clean set. The temperature can
    go from `temperature` to `temperature_end` by a constant factor for each step; by default it stays, since
    a falling one gained nothing on validation images, and makes values of different steps differ, which
    `AdaptiveSteps` and `judge_every` compare. With diverse sets the clean one is diverse, while the surrogate
    still has the attacked map's k largest values; the true sets select. `beta` too was chosen on validation
    images of Fashion-MNIST: a sharper twin ranks pixels more like the network itself than the usual 1. The
    other options are those of `MapAttack`.

    Args:
        beta: Sharpness of the twin's softplus.
        k: Number of pixels, or below 1 their share.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.
        side: `precision`, the share of the clean set near the attacked one, or `recall`, the reverse.
        diverse: Whether no pixel of a set may lie in another's window.
        surrogate: How far a pixel is covered.
        temperature: Softness of the surrogate at the first step, as a share of the k-th largest value.
        temperature_end: The same after the last step; `temperature` if None.

    Raises:
        ValueError: If an option is out of its range, or `k` exceeds the map.
    """

    beta: float = 15.0
    k: float = 1000
    w: int = 1
    side: Literal["precision", "recall"] = "precision"
    diverse: bool = False
    surrogate: Coverage = field(default_factory=SoftTopK)
    temperature: float = 0.35
    temperature_end: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, value in {"temperature": self.temperature, "temperature_end": self._end}.items():
            if not value > 0:
                raise ValueError(f"Expected `{name}` above 0, but got {value:g}.")
        self.own_criterion()

    def own_criterion(self) -> Criterion:
        return LENSOverlap(self.k, self.w, self.side, self.diverse)

    def objective(self, subject: Subject, noise: Noise) -> MapObjective:
        k = size_of(self.k, subject.clean)
        chosen = (
            diverse_top_k_mask(subject.clean, k=k, w=self.w) if self.diverse else top_k_mask(subject.clean, k)
        )
        near = window_union(chosen, self.w)

        def objective(maps: Tensor, rows: Tensor, progress: float) -> Tensor:
            temperature = self.temperature ** (1 - progress) * self._end**progress
            if self.side == "precision":
                covered = self.surrogate.covered(maps, k=k, w=self.w, temperature=temperature)
                return -_mean(covered, chosen[rows])
            members = self.surrogate.covered(maps, k=k, w=0, temperature=temperature)
            return -_mean(near[rows], members)

        return objective

    @property
    def _end(self) -> float:
        return self.temperature if self.temperature_end is None else self.temperature_end


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted means of values, (N, H, W), over pixels, (N,)."""
    return (values * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
