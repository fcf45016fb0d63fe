"""What an attack does to the prediction."""

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


class PredictionKept(SampleMetric):
    """Share of samples whose predicted class the attack leaves as it was."""

    higher_is_better = True

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return result.kept.double()


class ConfidenceChange(SampleMetric):
    """Mean change of the class's probability, in percentage points (Pesce et al., 2025, arXiv 2511.10088).

    The class is the one predicted for the clean image; the change is taken without its sign.
    """

    higher_is_better = False

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        before, after = (logits.softmax(dim=1) for logits in (result.logits, result.logits_adv))
        return 100 * (before - after).gather(1, result.target[:, None]).squeeze(1).abs()
