"""Learning-rate schedules that PyTorch lacks."""

from bisect import bisect_left
from collections.abc import Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


class PiecewiseConstant(LambdaLR):
    """A rate that jumps by any factor, up or down, after given numbers of steps.

    Args:
        optimizer: Its rates are multiplied.
        boundaries: The last step of each piece but the last, rising.
        factors: Of the rate in each piece, one more than boundaries.

    Raises:
        ValueError: If the numbers do not fit or do not rise.

    Example:
        >>> import torch
        >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.5)
        >>> schedule = PiecewiseConstant(optimizer, boundaries=[1], factors=[0.1, 1.0])
        >>> rates = []
        >>> for _ in range(4):
        ...     rates.append(optimizer.param_groups[0]["lr"])
        ...     optimizer.step()
        ...     schedule.step()
        >>> rates
        [0.05, 0.05, 0.5, 0.5]
    """

    def __init__(self, optimizer: Optimizer, boundaries: Sequence[int], factors: Sequence[float]) -> None:
        if len(factors) != len(boundaries) + 1:
            raise ValueError(
                f"Expected one more of `factors` than of `boundaries`, but got {len(factors)} and "
                f"{len(boundaries)}."
            )
        if list(boundaries) != sorted(set(boundaries)):
            raise ValueError(f"Expected `boundaries` that rise, but got {list(boundaries)}.")
        super().__init__(optimizer, lambda step: factors[bisect_left(boundaries, step)])
