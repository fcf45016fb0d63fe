"""The gradient of the class's score, times the image."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, Score, check_score, input_gradient
from lit_xai.noise import Noise


@dataclass(frozen=True)
class InputXGradient(Attribution):
    """Explain by image times input gradient (Shrikumar et al., 2016, arXiv 1605.01713).

    Args:
        score: What is differentiated: `logit`, `probability` or `loss`.

    Raises:
        ValueError: If `score` is unknown.
    """

    score: Score = "logit"
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return image * input_gradient(model, image, target, self.score)
