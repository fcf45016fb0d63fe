"""Changes of an image's cosine spectrum."""

import math
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=16)
def cosine_basis(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the orthonormal discrete cosine transform of type II as a matrix, (size, size).

    Example:
        >>> basis = cosine_basis(4, torch.float64, torch.device("cpu"))
        >>> torch.allclose(basis @ basis.T, torch.eye(4, dtype=torch.float64))
        True
    """
    # The matrix outlives the call, and autograd refuses tensors that were made in inference mode.
    with torch.inference_mode(mode=False):
        place = torch.arange(size, dtype=torch.float64)
        basis = torch.cos(math.pi / size * (place + 0.5) * place[:, None]) * math.sqrt(2 / size)
        basis[0] /= math.sqrt(2)
        return basis.to(device, dtype)


def reweigh(image: Tensor, factor: Tensor) -> Tensor:
    """Multiply the cosine spectrum of each channel by factors (Long et al., 2022, arXiv 2207.05382).

    Args:
        image: Any values, (..., H, W).
        factor: One for each frequency, (..., H, W).

    Returns:
        Values, (..., H, W).
    """
    rows, columns = (cosine_basis(size, image.dtype, image.device) for size in image.shape[-2:])
    return rows.T @ ((rows @ image @ columns.T) * factor) @ columns
