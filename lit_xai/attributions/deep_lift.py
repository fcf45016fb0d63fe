"""DeepLIFT and its average over references, through captum."""

import copy
import warnings
from dataclasses import dataclass, field
from typing import ClassVar

import captum.attr
import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Attribution
from lit_xai.attributions.references import check_references, draw_references
from lit_xai.gate import measuring
from lit_xai.models.units import SeparateUnits
from lit_xai.noise import Noise
from lit_xai.types import Donors


def rescaled(model: nn.Module, pairs: int, image: Tensor, start: Tensor, target: Tensor) -> Tensor:
    """Return DeepLIFT maps by the rescale rule, through captum.

    Args:
        model: Maps pixels to logits.
        pairs: Images in flight at once, each with its baseline.
        image: Pixels, (N, C, H, W).
        start: Baselines, (N, C, H, W).
        target: Class indices, (N,), int64.

    Returns:
        Detached maps, (N, C, H, W).

    Raises:
        ValueError: If the network has a unit that captum would answer with the plain gradient.
    """
    if not len(image):
        return torch.zeros_like(image)
    with measuring(), warnings.catch_warnings():
        # captum announces that it sets and removes hooks, which happens out of sight here.
        warnings.filterwarnings("ignore", message="Setting forward, backward hooks")
        separate = SeparateUnits(model, image[:1].detach().clone())
        if curved := separate.curved():
            raise ValueError(
                f"Expected a network of rectifiers for DeepLIFT, but got {curved[0]}, which has no rule. "
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


@dataclass(frozen=True)
class DeepLift(Attribution):
    """Explain by differences of units from a baseline (Shrikumar et al., 2017, arXiv 1704.02685).

    captum's rescale rule, for the logit, on a network whose unit calls are modules of their own: in-place,
    repeated and functional rectifiers, ReLU6, max-pooling right after a rectifier and max-pooling of
    overlapping windows, which captum answers with an error, the gradient or a map that is not complete, all
    give maps that sum to the change of the logit. A network with a unit that there is no rule for (GELU,
    SiLU, layer norm) is refused: captum would return the gradient times the difference.

    Args:
        baseline: The value of every pixel of the baseline, in [0, 1]; 0 is black.
        max_batch: Images in flight in one forward pass, baselines among them; at least 2.

    Raises:
        ValueError: If an option is out of its range, or the network has a unit without a rule.
    """

    baseline: float = 0.0
    max_batch: int = 512
    differentiable: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 0 <= self.baseline <= 1:
            raise ValueError(f"Expected `baseline` in [0, 1], but got {self.baseline:g}.")
        _check_max_batch(self.max_batch)

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        start = torch.full_like(image, self.baseline)
        return rescaled(model, self.max_batch // 2, image, start, target)


@dataclass(frozen=True)
class DeepLiftShap(Attribution):
    """Explain by DeepLIFT's mean over reference images (Lundberg and Lee, 2017, arXiv 1705.07874).

    The references are images of the data module's `donor_split`, chosen once by lot; every image is explained
    against all of them, as captum does. The rest is as in `DeepLift`.

    Args:
        references: Images kept as baselines; all donors if there are fewer.
        max_batch: Images in flight in one forward pass, baselines among them; at least 2.
        seed: Of the choice of references.

    Raises:
        ValueError: If an option is out of its range, the method is used before `prepare`, references and
            images differ in shape, or the network has a unit without a rule.
    """

    references: int = 20
    max_batch: int = 512
    seed: int = 0
    differentiable: ClassVar[bool] = False
    _references: Tensor | None = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.references < 1:
            raise ValueError(f"Expected `references` of at least 1, but got {self.references}.")
        _check_max_batch(self.max_batch)

    def prepare(self, model: nn.Module, donors: Donors) -> "DeepLiftShap":
        prepared = copy.copy(self)
        references = draw_references(model, donors, self.references, self.seed)
        object.__setattr__(prepared, "_references", references)
        return prepared

    def attribute(self, model: nn.Module, image: Tensor, target: Tensor, noise: Noise) -> Tensor:
        references = check_references(self._references, image, "DeepLiftShap")
        count = len(references)
        many = image.repeat_interleave(count, dim=0)
        starts = references.repeat(len(image), 1, 1, 1)
        maps = rescaled(model, self.max_batch // 2, many, starts, target.repeat_interleave(count))
        return maps.view(len(image), count, *image.shape[1:]).mean(dim=1)


def _check_max_batch(max_batch: int) -> None:
    if max_batch < 2:
        raise ValueError(
            f"Expected `max_batch` of at least 2, an image and its baseline, but got {max_batch}."
        )
