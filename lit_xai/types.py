"""The values that the layers hand to each other."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Labelled images, with the position of each in its data set.

    Attributes:
        image: Pixels in [0, 1], (N, C, H, W).
        label: Class indices, (N,), int64.
        sample_id: Positions in the data set, (N,), int64. They key the noise, so that no number depends on
            the order, the batch size or the number of processes.
    """

    image: Tensor
    label: Tensor
    sample_id: Tensor


Donors = Callable[[], Iterable[Batch]]


class RegimeLoss(NamedTuple):
    """What a regime returns for a batch.

    Attributes:
        total: The scalar to minimise, with its graph.
        logits: The logits that the cross-entropy saw, (N, K).
        parts: Detached scalars to log, by name.
    """

    total: Tensor
    logits: Tensor
    parts: Mapping[str, Tensor]


@dataclass(frozen=True, slots=True)
class AttackResult:
    """Images, predictions and explanations before and after an attack: detached, N rows.

    Attributes:
        image: Clean pixels in [0, 1], (N, C, H, W).
        image_adv: Attacked pixels in [0, 1], (N, C, H, W).
        label: True classes, (N,), int64.
        target: Classes predicted for the clean images, (N,), int64. Both maps explain them.
        sample_id: Positions in the data set, (N,), int64.
        logits: Of the clean images, (N, K).
        logits_adv: Of the attacked images, (N, K).
        attribution: Signed maps of the clean images, (N, C, H, W) or (N, 1, H, W).
        attribution_adv: Signed maps of the attacked images, of the same shape.
        applied: Whether the attacked image differs from the clean one, (N,), bool.
        kept: Whether the prediction is unchanged, (N,), bool.
    """

    image: Tensor
    image_adv: Tensor
    label: Tensor
    target: Tensor
    sample_id: Tensor
    logits: Tensor
    logits_adv: Tensor
    attribution: Tensor
    attribution_adv: Tensor
    applied: Tensor
    kept: Tensor

    @property
    def failed(self) -> Tensor:
        """Whether the attack changed nothing or changed the prediction, (N,), bool."""
        return ~(self.applied & self.kept)
