"""The gradient of the class's score."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, Score, check_score, input_gradient
from lit_xai.noise import Noise


@dataclass(frozen=True)
class Saliency(Attribution):
    """Explain by the input gradient (Simonyan et al., 2014, arXiv 1312.6034).

    Deviation: the paper takes the maximum over channels; here each channel keeps its value, and metrics
    reduce them.

    Args:
        absolute: Return magnitudes, as the paper and captum do; if false, the signed gradient.
        score: What is differentiated: `logit`, `probability` or `loss`.

    Raises:
        ValueError: If `score` is unknown.
    """

    absolute: bool = True
    score: Score = "logit"
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        gradient = input_gradient(model, image, target, self.score)
        return gradient.abs() if self.absolute else gradient
