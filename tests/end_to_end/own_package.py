"""A user's own methods, one of each family: copied into a package outside of the repository."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from lit_xai.attacks.base import Attack
from lit_xai.attributions.base import Attribution
from lit_xai.data.base import ImageDataModule
from lit_xai.data.images import Images
from lit_xai.metrics.base import SampleMetric
from lit_xai.regimes.base import Regime
from lit_xai.types import RegimeLoss


class Halves(ImageDataModule):
    """Gray images of 6 x 4 pixels; the left half is bright in class 0, the right one in class 1."""

    num_classes = 2

    def __init__(self, size: int = 8) -> None:
        super().__init__(
            batch_size=4,
            eval_batch_size=4,
            limits={"train": None, "val": None, "test": None},
            num_workers=0,
            donor_split="train",
            seed=0,
        )
        self.size = size
        self.save_hyperparameters(logger=False)

    def read(self, split):
        labels = torch.arange(self.size) % 2
        pixels = torch.full((self.size, 1, 6, 4), 51, dtype=torch.uint8)
        pixels[labels == 0, :, :, :2] = 204
        pixels[labels == 1, :, :, 2:] = 204
        return Images(pixels, labels)


class Means(nn.Module):
    """Logits are the means of the two halves, times a factor that is learnt."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, image):
        left, right = image.chunk(2, dim=3)
        return self.factor * torch.stack([left.mean(dim=(1, 2, 3)), right.mean(dim=(1, 2, 3))], dim=1)


@dataclass(frozen=True)
class Shifted(Regime):
    """The cross-entropy, and a number that only this class adds."""

    shift: float = 1.0

    def loss(self, model, image, label, noise) -> RegimeLoss:
        logits = model(image)
        entropy = functional.cross_entropy(logits, label)
        return RegimeLoss(entropy + self.shift, logits, {"shift": torch.tensor(self.shift)})


@dataclass(frozen=True)
class Rows(Attribution):
    """Every pixel has the number of its row, from 0."""

    differentiable: ClassVar[bool] = False

    def attribute(self, model, image, target, noise) -> Tensor:
        rows = torch.arange(image.shape[2], dtype=image.dtype, device=image.device)
        return rows[None, None, :, None].expand(len(image), 1, -1, image.shape[3]).clone()


@dataclass(frozen=True)
class Darkened(Attack):
    """Take the same amount from every pixel."""

    needs_gradient: ClassVar[bool] = False
    amount: float = 0.1

    def perturb(self, model, explain, image, target, noise) -> Tensor:
        return (image - self.amount).clamp(min=0)


class Total(SampleMetric):
    """The sum of the map, times a factor."""

    higher_is_better = True

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def scores(self, model, result, noise) -> Tensor:
        return self.factor * result.attribution.flatten(1).sum(dim=1).double()
