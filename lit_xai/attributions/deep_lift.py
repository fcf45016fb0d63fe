"""DeepLIFT and its average over references, through captum."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import captum.attr
import torch
from captum.attr._core.deep_lift import SUPPORTED_NON_LINEAR, maxpool2d
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution, check_baseline, check_counts
from lit_xai.attributions.references import Referring
from lit_xai.gate import measuring
from lit_xai.models.units import SeparateUnits, SideBySidePool
from lit_xai.noise import Noise


def rescaled(model: nn.Module, image: Tensor, start: Tensor, target: Tensor, *, pairs: int) -> Tensor:
    """Return DeepLIFT maps by the rescale rule, through captum.

    Args:
        model: Maps pixels to logits.
        image: Pixels, (N, C, H, W).
        start: Baselines, (N, C, H, W).
        target: Class indices, (N,), int64.
        pairs: Images in flight at once, each with its baseline.

    Returns:
        Detached maps, (N, C, H, W).

    Raises:
        ValueError: If the network has a unit that captum would answer with the plain gradient, is in training
            mode or cannot be recorded, or its passes differ.
    """
    if not len(image):
        return torch.zeros_like(image)
    with measuring(), warnings.catch_warnings():
        # captum announces that it sets and removes hooks, which happens out of sight here.
        warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
        separate = SeparateUnits(model, image[:1].detach().clone())
        if curved := separate.curved():
            raise ValueError(
                f"Expected a network of units with a rule for DeepLIFT, but got {curved[0]}. "
                "Use IntegratedGradients."
            )
        method = captum.attr.DeepLift(separate)
        chunks = zip(*(part.detach().clone().split(pairs) for part in (image, start, target)), strict=True)
        return torch.cat(
            [
                method.attribute(chunk.requires_grad_(), begin, target=chosen).detach()
                for chunk, begin, chosen in chunks
            ]
        )


def _pooling_rule(
    module: nn.Module,
    inputs: Tensor,
    outputs: Tensor,
    grad_input: Tensor,
    grad_output: Tensor,
    eps: float,
) -> Tensor:
    """Return captum's multipliers, but the gradient of each image's own where it agrees with its baseline.

    There captum takes that of the first image. Tensors hold the images, then their baselines; both get the
    same multiplier, or the maps would not be complete.
    """
    multiplier = maxpool2d(module, inputs, outputs, grad_input, grad_output, eps)
    image, start = inputs.chunk(2)
    same, own = (image - start).abs() < eps, grad_input.chunk(2)[0]
    return torch.where(torch.cat([same, same]), torch.cat([own, own]), multiplier)


SUPPORTED_NON_LINEAR[SideBySidePool] = _pooling_rule


@dataclass(frozen=True)
class DeepLift(Attribution):
    """Explain by differences of units from a baseline (Shrikumar et al., 2017, arXiv 1704.02685).

    captum's rescale rule, for the logit, on a network whose unit calls are modules of their own, so that maps
    sum to the change of the logit. On the network itself captum stops with an error at a rectifier called
    twice, takes the plain gradient of functional rectifiers and ReLU6, and gives maps that are not complete
    for two units in a row, such as a max-pooling right after a rectifier or before it, and for overlapping
    windows. Where max-pooling sees the same in image and baseline, captum takes the gradient of the first
    image of the batch; here each image has its own.
    The units with a rule are ReLU, ReLU6, hard tanh, leaky ReLU, PReLU, ELU, tanh, sigmoid, softplus and
    max-pooling in two dimensions. A network with another one (GELU, SiLU, layer norm) is refused: captum
    would return the gradient times the difference.

    Args:
        baseline: The value of every pixel of the baseline, in [0, 1]; 0 is black.
        max_batch: Images in flight in one forward pass, baselines among them; at least 2.

    Raises:
        ValueError: If an option is out of its range; on the first image, if the network has a unit without a
            rule, is in training mode or cannot be recorded, or its passes differ.
    """

    baseline: float = 0.0
    max_batch: int = 512
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_baseline(self.baseline)
        _check_max_batch(self.max_batch)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        start = torch.full_like(image, self.baseline)
        return rescaled(model, image, start, target, pairs=self.max_batch // 2)


@dataclass(frozen=True)
class DeepLiftShap(Referring):
    """Explain by DeepLIFT's mean over reference images (Lundberg and Lee, 2017, arXiv 1705.07874).

    The references are images of the data module's `donor_split`, chosen once by lot; every image is explained
    against all of them, as captum does. The rest is as in `DeepLift`.

    Args:
        references: Images kept as baselines; all donors if there are fewer.
        max_batch: Images in flight in one forward pass, baselines among them; at least 2.
        seed: Of the choice of references.

    Raises:
        ValueError: If an option is out of its range, the method is used before `prepare`, references and
            images differ in shape; on the first image, as `DeepLift`.
    """

    references: int = 20
    max_batch: int = 512
    seed: int = 0
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_counts(self, "references")
        _check_max_batch(self.max_batch)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        references = self.referred(image)
        count = len(references)
        many = image.repeat_interleave(count, dim=0)
        starts = references.repeat(len(image), 1, 1, 1)
        classes = target.repeat_interleave(count)
        maps = rescaled(model, many, starts, classes, pairs=self.max_batch // 2)
        return maps.view(len(image), count, *image.shape[1:]).mean(dim=1)


def _check_max_batch(max_batch: int) -> None:
    if max_batch < 2:
        raise ValueError(
            f"Expected `max_batch` of at least 2, an image and its baseline, but got {max_batch}."
        )
