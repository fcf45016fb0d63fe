"""Training against the size of integrated gradients from an image to its worst neighbour."""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from lit_xai.ascent import check_steps
from lit_xai.attributions.path import path_gradient
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime
from lit_xai.regimes.pgd import adversarial_images
from lit_xai.types import RegimeLoss


def loss_attribution_norm(
    model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor, *, path_steps: int, max_batch: int
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

    Returns:
        Norms, (N,).

    Raises:
        TypeError: If the network has SyncBatchNorm.
    """
    if any(isinstance(module, nn.SyncBatchNorm) for module in model.modules()):
        raise TypeError(
            "Expected a network without SyncBatchNorm, which has no second derivative, but got one. "
            "Set `trainer.sync_batchnorm` to false."
        )
    gradient = path_gradient(
        model, image, image_adv, label, score="loss", rule="right", path_steps=path_steps, max_batch=max_batch
    )
    return ((image_adv - image) * gradient).flatten(1).abs().sum(dim=1)


def check_regulariser(path_steps: int, inner_path_steps: int, weight: float, max_batch: int) -> None:
    """Refuse options that leave nothing to regularise.

    Raises:
        ValueError: If an option is out of its range.
    """
    for name, value in {
        "path_steps": path_steps,
        "inner_path_steps": inner_path_steps,
        "max_batch": max_batch,
    }.items():
        if value < 1:
            raise ValueError(f"Expected `{name}` of at least 1, but got {value}.")
    if not weight > 0:
        raise ValueError(
            f"Expected `weight` above 0, but got {weight:g}. Use Natural or PGD for no regulariser."
        )


@dataclass(frozen=True)
class IGNorm(Regime):
    """Minimise cross-entropy plus the worst attribution norm (Chen et al., 2019, arXiv 1905.09957).

    IG-NORM: mean CE(x) + weight * mean ||IG(x, x')||_1, where IG integrates the loss from x to x' (see
    `loss_attribution_norm`) and x' maximises that norm alone, with fewer path points, from a random start: at
    x itself the norm has no gradient. Nothing flows through the search for x'. Defaults are the authors' for
    Fashion-MNIST. Deviations: the objective is a mean over the batch where the authors sum, which leaves the
    balance of the two terms as it is and which Adam does not see; probabilities are not cut at 1e-10. The
    search runs in evaluation mode, the objective in the mode of training.

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

    eps: float = 0.1
    step_size: float = 0.01
    steps: int = 20
    path_steps: int = 50
    inner_path_steps: int = 10
    weight: float = 1.0
    max_batch: int = 512

    def __post_init__(self) -> None:
        check_steps(self.eps, self.step_size, self.steps)
        check_regulariser(self.path_steps, self.inner_path_steps, self.weight, self.max_batch)

    def attack(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> Tensor:
        """Return the neighbours of largest attribution norm, detached pixels in [0, 1], (N, C, H, W)."""
        return adversarial_images(
            model,
            image,
            label,
            lambda point, center, classes: loss_attribution_norm(
                model, center, point, classes, path_steps=self.inner_path_steps, max_batch=self.max_batch
            ),
            noise,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
        )

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        image_adv = self.attack(model, image, label, noise)
        logits = model(image)
        cross_entropy = functional.cross_entropy(logits, label)
        norm = loss_attribution_norm(
            model, image, image_adv, label, path_steps=self.path_steps, max_batch=self.max_batch
        ).mean()
        parts = {"cross_entropy": cross_entropy.detach(), "attribution_norm": norm.detach()}
        return RegimeLoss(cross_entropy + self.weight * norm, logits, parts)
