"""Training for input gradients that look like the image."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import check_baseline, input_gradient, leaf_of
from lit_xai.gate import explaining, measuring
from lit_xai.metrics.maps import check_size, size_of, top_k_mask
from lit_xai.models.softplus import SoftplusTwin, check_beta
from lit_xai.regimes.adversarial import Adversarial, Height
from lit_xai.regimes.base import check_weight
from lit_xai.regimes.similarity import alignment
from lit_xai.types import RegimeLoss


def rival_gradients(model: nn.Module, image: Tensor, label: Tensor) -> tuple[Tensor, Tensor]:
    """Return the input gradients of the label's logit and of the best other one, from one forward pass.

    With grad mode on they carry a graph to the image, if that requires a gradient, and to the weights.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        label: Class indices, (N,), int64.

    Returns:
        Gradients of the label and of its rival at this image, each (N, C, H, W).
    """
    keep_graph = torch.is_grad_enabled()
    with measuring():
        source, own = leaf_of(image, keep_graph=keep_graph), label.clone()[:, None]
        logits = model(source)
        scores = logits.gather(1, own), logits.scatter(1, own, -torch.inf).max(dim=1).values
        first, second = (
            torch.autograd.grad(score.sum(), source, create_graph=keep_graph, retain_graph=True)[0]
            for score in scores
        )
    return first, second


def triplet_losses(
    model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor, *, baseline: float
) -> Tensor:
    """Return the soft-margin triplet loss of images and their gradients (Singh et al., 2020, 1911.13073).

    Each of the two images should be nearer, in cosine distance d, to the gradients g_y of its class than to
    those of the best other class, g_n. Of the gradients at x and at x', the worst of each kind counts: the
    mean over a in {x, x'} of log(1 + exp(max d(a, g_y) - min d(a, g_n))).

    Args:
        model: Maps pixels in [0, 1] to logits; the gradients have derivatives only if it is curved.
        image: Pixels in [0, 1], (N, C, H, W).
        image_adv: Their neighbours, (N, C, H, W).
        label: Class indices, (N,), int64.
        baseline: The pixel that stands for nothing, subtracted from the images before they are compared.

    Returns:
        Losses, (N,).
    """
    own, rival = rival_gradients(model, torch.cat([image, image_adv]), label.repeat(2))
    losses = []
    for anchor in (image - baseline, image_adv - baseline):
        farthest = torch.maximum(*(1 - alignment(anchor, gradient) for gradient in own.chunk(2)))
        nearest = torch.minimum(*(1 - alignment(anchor, gradient) for gradient in rival.chunk(2)))
        losses.append(functional.softplus(farthest - nearest))
    return torch.stack(losses).mean(dim=0)


@dataclass(frozen=True)
class Triplet(Adversarial):
    """Minimise adversarial cross-entropy plus a triplet loss of gradients (Singh et al., 2020, 1911.13073).

    ART: mean CE(x') + weight * mean triplet loss of x and x' (see `triplet_losses`), with gradients of the
    logits on the softplus twin. x' climbs the same loss, of itself and its own gradients, over the k most
    salient values only, from a random start. Weight, sharpness and k are the authors' for CIFAR-10; the
    search has the options of the other regimes (theirs: 8/255 in 3 steps of 5/255). Deviations: the k values
    are those of the clean image, not of the random start; gradients are those of pixels in [0, 1], which are
    compared with pixels less `baseline`, where the authors normalise each channel (for CIFAR-10 about 0.47,
    then a scale, which the cosine ignores but for its small differences between channels); the search and the
    triplet loss see evaluation mode and single precision, only the cross-entropy sees training mode.

    Args:
        eps: L-infinity radius, in pixel units of [0, 1].
        step_size: Length of a step, in pixel units of [0, 1].
        steps: Steps of the search, two gradients each.
        weight: Of the triplet loss.
        k: Values of the image that the search looks at, or below 1 their share; each channel counts.
        beta: Sharpness of the twin's softplus.
        baseline: The pixel that stands for nothing in [0, 1]: a black background's, by default.

    Raises:
        ValueError: If an option is out of its range, or on the first batch, if `k` exceeds the image.
    """

    weight: float = 0.5
    k: float = 1000 / 3072
    beta: float = 50.0
    baseline: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_weight(self.weight, "PGD")
        check_size(self.k)
        check_beta(self.beta)
        check_baseline(self.baseline)

    def searched(self, model: nn.Module, image: Tensor, label: Tensor) -> Height:
        with torch.no_grad():
            saliency = input_gradient(model, image, label).abs().flatten(1, 2)
        salient = top_k_mask(saliency, size_of(self.k, saliency)).view_as(image)
        twin = SoftplusTwin(model, self.beta)

        def height(point: Tensor) -> Tensor:
            anchor = salient * (point - self.baseline)
            own, rival = (
                alignment(anchor, salient * gradient) for gradient in rival_gradients(twin, point, label)
            )
            return functional.softplus(rival - own)

        return height

    def objective(self, model: nn.Module, image: Tensor, image_adv: Tensor, label: Tensor) -> RegimeLoss:
        logits = model(image_adv)
        cross_entropy = functional.cross_entropy(logits, label)
        with explaining(model):
            twin = SoftplusTwin(model, self.beta)
            triplet = triplet_losses(twin, image, image_adv, label, baseline=self.baseline).mean()
        parts = {"cross_entropy": cross_entropy.detach(), "triplet": triplet.detach()}
        return RegimeLoss(cross_entropy + self.weight * triplet, logits, parts)
