"""Windows around pixels."""

import numpy as np
from torch import Tensor


def window_union(mask: Tensor, w: int) -> Tensor:
    """Return the union of the windows around marked pixels, cut at the border.

    Args:
        mask: (N, H, W), bool.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.

    Returns:
        (N, H, W), bool.
    """
    # A square window is a row's window of a column's windows.
    for axis in (1, 2):
        size, union = mask.shape[axis], mask.clone()
        for shift in range(1, min(w, size - 1) + 1):
            length = size - shift
            union.narrow(axis, shift, length).logical_or_(mask.narrow(axis, 0, length))
            union.narrow(axis, 0, length).logical_or_(mask.narrow(axis, shift, length))
        mask = union
    return mask


def spaced(order: Tensor, height: int, width: int, *, k: int, w: int) -> Tensor:
    """Take pixels in order, leaving out those in the window of one taken before.

    Args:
        order: Flat indices of the pixels of one map, on the CPU, (n,), int64.
        height: Rows of the map.
        width: Columns of the map.
        k: Number of pixels to stop at.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.

    Returns:
        Flat indices, at most `k`, int64.

    Example:
        >>> import torch
        >>> spaced(torch.arange(4), 1, 4, k=4, w=1)
        tensor([0, 2])
    """
    w = min(w, max(height, width) - 1)
    side, stride = 2 * w + 1, width + 2 * w
    # A margin spares the windows a check for the border; they begin where pixels would lie without it.
    corners = order + order.div(width, rounding_mode="floor") * 2 * w
    # One memory seen twice: Python reads single bytes faster, NumPy writes windows faster.
    free = bytearray(b"\1") * (stride * (height + 2 * w))
    windows = np.frombuffer(free, dtype=np.uint8).reshape(height + 2 * w, stride)
    centre = w * stride + w
    chosen: list[int] = []
    for place, corner in enumerate(corners.tolist()):
        if free[corner + centre]:
            row, column = divmod(corner, stride)
            windows[row : row + side, column : column + side] = 0
            chosen.append(place)
            if len(chosen) == k:
                break
    return order[chosen]
