"""Gaussian noise on random features: the baseline of eXIAA."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Explain
from lit_xai.domain import check_share, clamp_pixels
from lit_xai.metrics.maps import descending_rank
from lit_xai.metrics.ssim import ssim
from lit_xai.noise import Noise
from lit_xai.types import Donors

_HALVINGS, _SPAN = 40, 1e-12


@dataclass(frozen=True)
class GaussianInjection(Attack):
    """Blend Gaussian noise into random features (the baseline of Pesce et al., 2025, arXiv 2511.10088).

    The paper states neither the noise's amplitude nor where it goes; its figures say only that the baseline
    scales with alpha and k and ignores the explanation. This is the literal reading: where eXIAA blends in a
    donor, (1 - alpha) x + alpha n with n ~ N(0, sigma^2), clipped to [0, 1], at round(k C H W) features drawn
    for each sample. At `sigma=1` it perturbs more than eXIAA at the same alpha and k, so the amplitude
    decides the comparison: `MatchedGaussian` gives the noise the amplitude of another attack.

    Args:
        alpha: Share of the noise in a chosen feature, in (0, 1].
        k: Share of the features that are chosen, in (0, 1].
        sigma: Standard deviation of the noise, in pixel units of [0, 1].

    Raises:
        ValueError: If an option is out of its range.
    """

    alpha: float = 0.06
    k: float = 0.2
    sigma: float = 1.0
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_share("alpha", self.alpha)
        check_share("k", self.k)
        if not self.sigma > 0:
            raise ValueError(f"Expected `sigma` above 0, but got {self.sigma:g}.")

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        size = max(1, round(self.k * image[0].numel())) if len(image) else 0
        chosen = descending_rank(noise.child("places").uniform(image)) < size
        blend = (1 - self.alpha) * image + self.alpha * self.sigma * noise.child("values").normal(image)
        return clamp_pixels(torch.where(chosen, blend, image))


def l2_distance(image: Tensor, moved: Tensor) -> Tensor:
    """Return the Euclidean distances of images (N, C, H, W), over all their features, (N,), float64."""
    return (moved.double() - image.double()).square().sum(dim=(1, 2, 3)).sqrt()


def ssim_distance(image: Tensor, moved: Tensor) -> Tensor:
    """Return 1 less the structural similarity of images (N, C, H, W), (N,), float64."""
    return 1 - ssim(image, moved)


_DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"l2": l2_distance, "ssim": ssim_distance}


@dataclass(frozen=True)
class MatchedGaussian(Attack):
    """Add Gaussian noise that changes the image as much as another attack does, sample by sample.

    The control that tells what an attack finds from how much it changes. As many features as the reference
    changes in a sample, drawn for each sample, become x + s n with n ~ N(0, 1), clipped to [0, 1]. The scale
    s is found by bisection, so that after clipping the image is as far from the clean one as the
    reference's. A distance that clipping puts out of reach gets the largest scale, with a warning that
    counts such samples. Noise that would leave [0, 1], as half of it does on black and white pixels, is
    clipped away, and the scale makes up for it with fewer and larger changes. The structural similarity need
    not fall steadily with s; then s is one of the scales that reach it. Ours; the paper of eXIAA (Pesce et
    al., 2025, arXiv 2511.10088) states no amplitude.

    Args:
        reference: The attack to equal, which needs no gradient. It gets the noise that it would get alone.
        equal: `l2` equals its Euclidean distance from the clean image, `ssim` its structural similarity.

    Raises:
        TypeError: If the reference needs a gradient.
        ValueError: If `equal` is unknown, or the images are too small for `ssim`.
    """

    reference: Attack
    equal: Literal["l2", "ssim"] = "l2"
    needs_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.reference.needs_gradient:
            raise TypeError(
                f"Expected a `reference` that needs no gradient, but got {type(self.reference).__name__}."
            )
        if self.equal not in _DISTANCES:
            raise ValueError(f"Expected `equal` as {' or '.join(_DISTANCES)}, but got {self.equal}.")

    def prepare(self, model: nn.Module, donors: Donors) -> "MatchedGaussian":
        return replace(self, reference=self.reference.prepare(model, donors))

    def eligible(self, image: Tensor, logits: Tensor) -> Tensor:
        return self.reference.eligible(image, logits)

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        moved = self.reference.perturb(model, explain, image, target, noise)
        size = (moved != image).flatten(1).sum(dim=1).view(-1, 1, 1, 1)
        # The reference may draw places of its own from the children of its noise.
        own = noise.child("matched")
        chosen = descending_rank(own.child("places").uniform(image)) < size
        step = torch.where(chosen, own.child("values").normal(image), 0.0)
        return _as_far(image, step, _DISTANCES[self.equal], moved)


def _as_far(
    image: Tensor, step: Tensor, distance: Callable[[Tensor, Tensor], Tensor], moved: Tensor
) -> Tensor:
    """Return the image plus a multiple of the step, clipped, as far from the image as the moved one is."""
    start, goal = image.double(), distance(image, moved)
    room = torch.where(step > 0, 1 - start, start)
    reach = torch.where(step != 0, room / step.abs(), 0.0).flatten(1).amax(dim=1)

    def at(scale: Tensor) -> Tensor:
        return clamp_pixels(start + scale.view(-1, 1, 1, 1) * step)

    # From the scale where everything is clipped, on a logarithmic scale: all are as precise as their size.
    low, high = _SPAN * reach, reach
    for _ in range(_HALVINGS):
        middle = (low * high).sqrt()
        enough = distance(start, at(middle)) >= goal
        low, high = torch.where(enough, low, middle), torch.where(enough, middle, high)
    result = at(high)
    _warn_of_shortfall(distance(start, result) < goal * (1 - 1e-6))
    return result.to(image)


def _warn_of_shortfall(short: Tensor) -> None:
    if count := int(short.sum()):
        warnings.warn(
            f"Expected noise as far from the image as the reference, but clipping leaves {count} of "
            f"{len(short)} samples nearer. Lower the reference's amplitude.",
            UserWarning,
            stacklevel=4,
        )
