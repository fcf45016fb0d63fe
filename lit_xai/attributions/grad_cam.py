"""The feature maps of one layer, weighted by their gradients."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attributions.base import Attribution, Score, check_score, class_score, leaf_of, warn_of_zeros
from lit_xai.gate import measuring
from lit_xai.models.features import activation_at, token_grid
from lit_xai.noise import Noise


@dataclass(frozen=True)
class GradCAM(Attribution):
    """Explain by a layer's maps, weighted by mean gradients (Selvaraju et al., 2017, arXiv 1610.02391).

    Deviations: the interpolation to the image's size is bilinear without aligned corners, as in captum; the
    paper knows convolutional layers only, while tokens are laid out on the grid of their patches here, and
    class token and registers are left out of the map and of the mean gradient. Where every place's gradient
    is zero, as after the last attention if only the class token is read, the map is zero, with one warning.

    Args:
        layer: The dotted name of a module, as in `dict(model.named_modules())`. If None, the last feature
            map, or in a network of tokens those that the last attention module sees: see `activation_at`.
        score: What is differentiated: `logit`, `probability` or `loss`.
        rectify: Keep only what speaks for the class, as the paper does; if false, the signed map.

    Raises:
        ValueError: If `score` is unknown; on the first image, if the network has no such layer, the layer
            does not lead to the logits, or its output is neither a feature map nor tokens on one grid.
    """

    layer: str | None = None
    score: Score = "logit"
    rectify: bool = True
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_score(self.score)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        activation, gradient = self._at_layer(model, image, target)
        slope = token_grid(gradient, image)
        warn_of_zeros(slope, "a gradient at the layer", "Their maps are zero. Name an earlier `layer`.")
        weight = slope.mean(dim=(2, 3), keepdim=True)
        coarse = (weight * token_grid(activation, image)).sum(dim=1, keepdim=True)
        if self.rectify:
            coarse = coarse.relu()
        return functional.interpolate(coarse, size=image.shape[2:], mode="bilinear", align_corners=False)

    def _at_layer(self, model: nn.Module, image: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        keep_graph = torch.is_grad_enabled()
        with measuring():
            logits, activation = activation_at(model, leaf_of(image, keep_graph=keep_graph), self.layer)
            score = class_score(logits, target.clone(), self.score).sum()
            (gradient,) = torch.autograd.grad(score, activation, create_graph=keep_graph, allow_unused=True)
        if gradient is None:
            raise ValueError(
                f"Expected `layer` {self.layer} to lead to the logits, but it does not. Name another."
            )
        return (activation if keep_graph else activation.detach()), gradient
