"""Windows around pixels."""

from collections.abc import Iterable

from torch import Tensor
from torch.nn import functional


def window_union(mask: Tensor, w: int) -> Tensor:
    """Return the union of the windows around marked pixels, cut at the border.

    Args:
        mask: (N, H, W), bool.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.

    Returns:
        (N, H, W), bool.
    """
    marked = mask[:, None].float()
    # A square window is a row's window of a column's windows.
    columns = functional.max_pool2d(marked, (2 * w + 1, 1), stride=1, padding=(w, 0))
    return functional.max_pool2d(columns, (1, 2 * w + 1), stride=1, padding=(0, w)).squeeze(1) > 0


def spaced(order: Iterable[int], height: int, width: int, *, k: int, w: int) -> list[int]:
    """Take pixels in order, leaving out those in the window of one taken before.

    Args:
        order: Flat indices of the pixels of one map.
        height: Rows of the map.
        width: Columns of the map.
        k: Number of pixels to stop at.
        w: Half-width of the (2w + 1) x (2w + 1) windows, in pixels.

    Returns:
        Flat indices, at most `k`.

    Example:
        >>> spaced([0, 1, 2, 3], 1, 4, k=4, w=1)
        [0, 2]
    """
    side, stride = 2 * w + 1, width + 2 * w
    free, taken_row = bytearray(b"\1") * (stride * (height + 2 * w)), bytes(side)
    chosen: list[int] = []
    for index in order:
        row, column = divmod(index, width)
        # With a margin of w around the map, the window begins where its centre would lie without one.
        corner = row * stride + column
        if free[corner + w * stride + w]:
            for start in range(corner, corner + side * stride, stride):
                free[start : start + side] = taken_row
            chosen.append(index)
            if len(chosen) == k:
                break
    return chosen
