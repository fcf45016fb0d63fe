"""Training against the curvature of the loss over images."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import check_counts, input_gradient
from lit_xai.gate import evaluating, explaining, measuring
from lit_xai.noise import Noise
from lit_xai.regimes.base import Regime, check_weight
from lit_xai.types import RegimeLoss

Product = Callable[[Tensor], Tensor]


def top_direction(product: Product, start: Tensor, rounds: int) -> Tensor:
    """Return the direction in which symmetric matrices stretch the most, sign included.

    Power iteration that keeps what it has seen: the iterates are made orthogonal, and the matrix is solved
    exactly in their span (Rayleigh and Ritz; Lanczos). The largest eigenvalue is found even where a negative
    one is larger in size, and exactly as soon as `rounds` exceeds the number of distinct non-zero ones.

    Args:
        product: Takes vectors (N, D), returns the product of each sample's matrix with its own, (N, D).
        start: Where the iteration starts, (N, D).
        rounds: Products to take.

    Returns:
        Vectors of length one, (N, D); of length zero where all seen is zero.

    Example:
        >>> stretch = torch.tensor([[1.0, -9.0, 3.0]])
        >>> top_direction(lambda vector: stretch * vector, torch.ones(1, 3), rounds=3).abs().round(decimals=3)
        tensor([[0., 0., 1.]])
    """
    # What is left of a product below this share of the largest is rounding, not a new direction.
    negligible = torch.finfo(start.dtype).eps ** 0.5
    seen = _unit(start, torch.zeros_like(start[:, :1]))[:, None]
    products = product(seen[:, 0])[:, None]
    for _ in range(rounds - 1):
        rest = products[:, -1]
        # Once leaves rounding errors of the size of what may be left.
        for _ in range(2):
            rest = rest - torch.einsum("nd,nrd,nre->ne", rest, seen, seen)
        largest = products.norm(dim=2).amax(dim=1, keepdim=True)
        seen = torch.cat([seen, _unit(rest, negligible * largest)[:, None]], dim=1)
        products = torch.cat([products, product(seen[:, -1])[:, None]], dim=1)
    small = seen @ products.mT
    # A direction that is not there must not win with its zero over negative eigenvalues.
    missing = (seen == 0).all(dim=2) * 2 * small.flatten(1).norm(dim=1)[:, None]
    top = torch.linalg.eigh((small + small.mT) / 2 - torch.diag_embed(missing)).eigenvectors[:, :, -1]
    direction = (top[:, :, None] * seen).sum(dim=1)
    return _unit(direction, torch.zeros_like(start[:, :1]))


def curvature_along(model: nn.Module, image: Tensor, label: Tensor, direction: Tensor) -> Tensor:
    """Return the second derivative of the cross-entropy along given directions.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        label: Class indices, (N,), int64.
        direction: A vector for each image, (N, C, H, W).

    Returns:
        v^T H v, (N,), in nats per squared pixel unit where v has length one; differentiable in the weights
        when grad mode is on.
    """
    keep_graph = torch.is_grad_enabled()
    with measuring():
        distance = image.new_zeros(len(image), 1, 1, 1).requires_grad_()
        loss = functional.cross_entropy(
            model(image.clone() + distance * direction.clone()), label.clone(), reduction="sum"
        )
        (slope,) = torch.autograd.grad(loss, distance, create_graph=True)
        (curvature,) = torch.autograd.grad(slope.sum(), distance, create_graph=keep_graph)
    return curvature.flatten()


@dataclass(frozen=True)
class SmoothSurface(Regime):
    """Minimise cross-entropy plus the largest curvature of the loss (Wang et al., 2020, arXiv 2006.06643).

    SSR: mean CE(x) + weight * mean lambda_max(H(x)), where H is the Hessian of the cross-entropy in the
    pixels. The direction v of lambda_max is searched anew for every image, from a random start, and v^T H v
    is minimised with v held: at convergence that has the gradient of lambda_max. It has a third derivative;
    passes do not grow with the number of classes, and `rounds` above that number find a rectifier network's
    lambda_max exactly, since its H has fewer eigenvalues other than zero than there are classes.

    Deviations. The authors take H = J^T (diag p - p p^T) J from the Jacobian J of the logits, a pass for each
    class, which leaves out the curvature of other units than rectifiers; and they average J over channels.
    They weigh (1 - a) CE + a s lambda_max, which is `weight` = a s / (1 - a) but for a factor that Adam does
    not see. Their pixels reach 255, which makes eigenvalues 65,025 times smaller, and their code gives s as
    1e6 and as 0.3, so the default weight is from a trial: on 2,000 Fashion-MNIST images (the narrow network,
    three epochs) the mean lambda_max of validation images falls from 2.1 to 1.2, 0.7 and 0.3 at weights of
    0.1, 0.3 and 1, and accuracy, 0.83 without it, is 0.84, 0.82 and 0.77. Search and curvature see the
    network in evaluation mode, the cross-entropy in training mode.

    Args:
        weight: Of the curvature, per squared pixel unit of [0, 1].
        rounds: Hessian-vector products of the search for the direction, at least 2.

    Raises:
        ValueError: If an option is out of its range.
    """

    weight: float = 0.3
    rounds: int = 10

    def __post_init__(self) -> None:
        check_weight(self.weight, "Natural")
        check_counts(self, "rounds", least=2)

    def loss(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> RegimeLoss:
        logits = model(image)
        cross_entropy = functional.cross_entropy(logits, label)
        direction = self.direction(model, image, label, noise)
        with explaining(model):
            curvature = curvature_along(model, image, label, direction).mean()
        parts = {"cross_entropy": cross_entropy.detach(), "curvature": curvature.detach()}
        return RegimeLoss(cross_entropy + self.weight * curvature, logits, parts)

    def direction(self, model: nn.Module, image: Tensor, label: Tensor, noise: Noise) -> Tensor:
        """Return each image's direction of largest curvature; works in any grad mode.

        Args:
            model: Maps pixels in [0, 1] to logits; its mode and its parameters are left as they were.
            image: Pixels in [0, 1], (N, C, H, W).
            label: Class indices, (N,), int64.
            noise: Draws the start.

        Returns:
            Detached vectors of length one, (N, C, H, W); of length zero where there is no curvature.
        """
        with measuring(), evaluating(model):
            point = image.detach().clone().requires_grad_()
            gradient = input_gradient(model, point, label, "loss")

            def product(vector: Tensor) -> Tensor:
                (found,) = torch.autograd.grad(gradient, point, vector.view_as(point), retain_graph=True)
                return found.flatten(1)

            start = noise.child("direction").normal(point).detach().flatten(1)
            return top_direction(product, start, self.rounds).view_as(point)


def _unit(vector: Tensor, negligible: Tensor) -> Tensor:
    """Return vectors (N, D) at length one, or zero where their length is at most `negligible`, (N, 1)."""
    length = vector.norm(dim=1, keepdim=True)
    return torch.where(length > negligible, vector / length.clamp_min(torch.finfo(vector.dtype).tiny), 0.0)
