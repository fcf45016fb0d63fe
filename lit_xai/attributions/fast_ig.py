"""Fast integrated gradients: one gradient in place of a path of them."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, Score, check_baseline, check_score, input_gradient
from lit_xai.noise import Noise


@dataclass(frozen=True)
class FastIG(Attribution):
    """Explain by (image - baseline) times input gradient (Hesse et al., 2021, arXiv 2111.07668).

    Equals integrated gradients where scaling the difference scales the score, as for rectifier networks
    without biases and a black baseline; that baseline makes it `InputXGradient`. Deviation: AttEXplore's
    released comparison differentiates the cross-entropy, which turns the sign; `score="loss"` does so.

    Args:
        baseline: The value of every pixel of the baseline, in [0, 1]; 0 is black.
        score: What is differentiated: `logit`, `probability` or `loss`.

    Raises:
        ValueError: If an option is out of its range.
    """

    baseline: float = 0.0
    score: Score = "logit"
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)
        check_baseline(self.baseline)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        return (image - self.baseline) * input_gradient(model, image, target, self.score)
