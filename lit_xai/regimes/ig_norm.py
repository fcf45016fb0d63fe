"""Training against the size of integrated gradients from an image to its worst neighbour."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import check_counts
from lit_xai.attributions.path import path_gradient
from lit_xai.gate import explaining
from lit_xai.regimes.adversarial import Adversarial, Height
from lit_xai.regimes.base import check_weight
from lit_xai.types import RegimeLoss


def loss_attribution_norm(
    model: nn.Module,
    image: Tensor,
    image_adv: Tensor,
    label: Tensor,
    *,
    path_steps: int,
    max_batch: int,
    recompute: bool | None = None,
) -> Tensor:
    """Return the l1 norm of the integrated gradients of the loss from one image to another.

    Right Riemann sum of the gradient of the true class's cross-entropy, times the difference of the images,
    summed without sign over the whole map (Chen et al., 2019, arXiv 1905.09957). Differentiable in
    `image_adv` and in the weights.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Where the line starts, (N, C, H, W).
        image_adv: Where it ends, (N, C, H, W).
        label: Class indices, (N,), int64.
        path_steps: Points on the line.
        max_batch: Images in flight in one forward pass.
        recompute: As in `lit_xai.attributions.path.path_gradient`.

    Returns:
        Norms, (N,).
    """
    gradient = path_gradient(
        model,
        image,
        image_adv,
        label,
        score="loss",
        rule="right",
        path_steps=path_steps,
        max_batch=max_batch,
        recompute=recompute,
    )
    return ((image_adv - image) * gradient).flatten(1).abs().sum(dim=1)


@dataclass(frozen=True)
class IGNorm(Adversarial):
    """Minimise cross-entropy plus the worst attribution norm (Chen et al., 2019, arXiv 1905.09957).

    IG-NORM: mean CE(x) + weight * mean ||IG(x, x')||_1, where IG integrates the loss from x to x' (see
    `loss_attribution_norm`) and x' maximises that norm alone, with fewer path points, from a random start: at
    x itself the norm has no gradient. Nothing flows through the search for x'. Defaults are the authors' for
    Fashion-MNIST. Deviations: the objective is a mean over the batch where the authors sum, which leaves the
    balance of the two terms as it is and which Adam does not see; probabilities are not cut at 1e-10. The
    search and the norm see the network in evaluation mode, the cross-entropy in training mode. More path
    points than fit into `max_batch` cost time, not memory.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the search for x'.
        path_steps: Points of the objective's path.
        inner_path_steps: Points of the path during the search.
        weight: Of the norm (the authors' lambda).
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    path_steps: int = 50
    inner_path_steps: int = 10
    weight: float = 1.0
    max_batch: int = 512

    def __post_init__(self) -> None:
        super().__post_init__()
        check_counts(self, "path_steps", "inner_path_steps", "max_batch")
        check_weight(self.weight, "Natural or PGD")

    def searched(self, model: nn.Module, image: Tensor, label: Tensor) -> Height:
        return lambda point: loss_attribution_norm(
            model,
            image,
            point,
            label,
            path_steps=self.inner_path_steps,
            max_batch=self.max_batch,
            recompute=True,
        )

    def objective(self, model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor) -> RegimeLoss:
        logits = model(self.classified(image, image_adv))
        cross_entropy = functional.cross_entropy(logits, label)
        with explaining(model):
            norm = loss_attribution_norm(
                model, image, image_adv, label, path_steps=self.path_steps, max_batch=self.max_batch
            ).mean()
        parts = {"cross_entropy": cross_entropy.detach(), "attribution_norm": norm.detach()}
        return RegimeLoss(cross_entropy + self.weight * norm, logits, parts)

    def classified(self, image: Tensor, image_adv: Tensor) -> Tensor:
        """Return the images whose cross-entropy is minimised: the clean ones."""
        return image
