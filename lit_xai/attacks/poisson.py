"""Blending in the gradient domain."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lit_xai.attacks.blending import Blend

_TOLERANCE = 1e-12


@dataclass(frozen=True)
class PoissonBlend(Blend):
    """Inject the donor's gradients, not its values (Perez et al., 2003, Poisson image editing).

    The authors of eXIAA name it as future work (Pesce et al., 2025, arXiv 2511.10088). In each channel the
    chosen features are those whose Laplacian is (1 - alpha) times the image's plus alpha times the donor's,
    with the image's values around them, so that no edge appears where they begin. The paper pastes one
    region; here the chosen set may be any, scattered or not, and alpha weighs the two gradient fields. At
    the image's border no gradient leaves the image. A channel that is chosen as a whole has no values around
    it: it keeps the image's mean.
    """

    def mix(self, image: Tensor, donor: Tensor, chosen: Tensor, alpha: float) -> Tensor:
        difference = donor.double() - image.double()
        whole = chosen.all(dim=3, keepdim=True).all(dim=2, keepdim=True)
        change = solve_poisson(laplacian(difference), chosen & ~whole)
        centred = difference - difference.mean(dim=(2, 3), keepdim=True)
        return image + (alpha * torch.where(whole, centred, change)).to(image)


def laplacian(values: Tensor) -> Tensor:
    """Sum each pixel's differences from its neighbours, of which the image's border has fewer.

    Args:
        values: (N, C, H, W).

    Returns:
        Four times the value, less its neighbours', inside the image, (N, C, H, W).
    """
    result = torch.zeros_like(values)
    for axis in (2, 3):
        slope = values.diff(dim=axis)
        result.narrow(axis, 0, slope.shape[axis]).sub_(slope)
        result.narrow(axis, 1, slope.shape[axis]).add_(slope)
    return result


@torch.no_grad()
def solve_poisson(source: Tensor, inside: Tensor) -> Tensor:
    """Solve the discrete Poisson equation on any set of pixels, by conjugate gradients.

    Every channel of every sample is a system of its own and stops by itself, when its residual is 1e-12 of
    its source's; the others do not matter to it.

    Args:
        source: What `laplacian` is to give inside, (N, C, H, W).
        inside: The unknowns, (N, C, H, W), bool; not a whole channel.

    Returns:
        Values, 0 outside, (N, C, H, W), float64.
    """
    residual = torch.where(inside, source.double(), 0.0)
    solution, direction, energy = torch.zeros_like(residual), residual, _squared(residual)
    goal = _TOLERANCE**2 * energy
    while bool((unsolved := energy > goal).any()):
        image = torch.where(inside, laplacian(direction), 0.0)
        step = torch.where(unsolved, energy / (direction * image).sum(dim=(2, 3), keepdim=True), 0.0)
        solution = solution + step * direction
        residual = residual - step * image
        before, energy = energy, _squared(residual)
        direction = residual + torch.where(unsolved, energy / before, 0.0) * direction
    return solution


def _squared(values: Tensor) -> Tensor:
    return values.square().sum(dim=(2, 3), keepdim=True)
