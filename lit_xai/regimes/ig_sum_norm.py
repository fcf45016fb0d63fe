"""Adversarial training against the size of integrated gradients."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.regimes.adversarial import Height
from lit_xai.regimes.ig_norm import IGNorm


@dataclass(frozen=True)
class IGSumNorm(IGNorm):
    """Minimise adversarial cross-entropy plus attribution norm (Chen et al., 2019, arXiv 1905.09957).

    IG-SUM-NORM: mean CE(x') + weight * mean ||IG(x, x')||_1, where IG integrates the loss from x to x' (see
    `lit_xai.regimes.ig_norm.loss_attribution_norm`) and x' maximises the same sum, with fewer path points,
    from a random start. Nothing flows through the search for x'. Defaults are the authors' for Fashion-MNIST.
    Deviations: the objective is a mean over the batch where the authors sum, which leaves the balance of the
    two terms as it is and which Adam does not see; probabilities are not cut at 1e-10. The search and the
    norm see the network in evaluation mode, the cross-entropy in training mode. More path points than fit
    into `max_batch` cost time, not memory.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the search for x'.
        path_steps: Points of the objective's path.
        inner_path_steps: Points of the path during the search.
        weight: Of the norm (the authors' beta).
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    weight: float = 0.1

    def searched(self, model: nn.Module, image: Tensor, label: Tensor) -> Height:
        norm = super().searched(model, image, label)

        def height(point: Tensor) -> Tensor:
            cross_entropy = functional.cross_entropy(model(point), label, reduction="none")
            return cross_entropy + self.weight * norm(point)

        return height

    def classified(self, image: Tensor, image_adv: Tensor) -> Tensor:
        return image_adv
