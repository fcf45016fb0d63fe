"""How far two sets of important pixels lie apart, for one size and window or for many."""

import math
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.lens import LENSMetric, lens_distance
from lit_xai.metrics.maps import Reduce, check_k, check_reduce, check_w, map_pair
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def combined_lens_distance(
    first: Tensor, second: Tensor, *, k_weights: Mapping[int, float], w_weights: Mapping[int, float]
) -> Tensor:
    """Return w-LENS-distances added over sizes and windows (Kamath et al., 2024, arXiv 2312.10534).

    The sum of alpha_k beta_w d_k^(w) of section 3.1, at most that of alpha_k beta_w |S_k xor T_k| / k
    (Proposition 2). Deviation: the paper's weights fall with k and w and never end; here any finite set of
    weights does.

    Args:
        first: Maps, ranked by signed value, ties by lowest flat index, (N, H, W).
        second: Maps, (N, H, W).
        k_weights: Weight, finite and at least 0, of each number of pixels.
        w_weights: Weight, finite and at least 0, of each half-width of the windows, in pixels.

    Returns:
        Distances, at least 0, (N,), float64.

    Raises:
        ValueError: If the maps do not fit each other, a `k` or a `w`, or the weights are none or negative.
    """
    check_weights(k_weights, w_weights)
    total = first.new_zeros(len(first)).double()
    for k, k_weight in k_weights.items():
        for w, w_weight in w_weights.items():
            total += k_weight * w_weight * lens_distance(first, second, k=k, w=w)
    return total


def check_weights(k_weights: Mapping[int, float], w_weights: Mapping[int, float]) -> None:
    """Refuse weights that make no distance.

    Raises:
        ValueError: If a `k` is below 1, a `w` is negative, or the weights are negative, not finite or
            all 0.
    """
    for name, weights in {"k_weights": k_weights, "w_weights": w_weights}.items():
        if not any(weights.values()) or not all(0 <= weight < math.inf for weight in weights.values()):
            raise ValueError(
                f"Expected finite `{name}` of at least 0 and one above it, but got {dict(weights)}."
            )
    for k in k_weights:
        check_k(k)
    for w in w_weights:
        check_w(w)


class LENSDistance(LENSMetric):
    """Mean w-LENS-distance of the maps before and after an attack (Kamath et al., 2024, arXiv 2312.10534).

    Options and errors are those of `LENSPrecision`.
    """

    higher_is_better = False

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self.windows.distance(*map_pair(result, self.reduce))


class CombinedLENSDistance(SampleMetric):
    """Mean of w-LENS-distances added over sizes and windows (Kamath et al., 2024, arXiv 2312.10534).

    Args:
        k_weights: Weight, at least 0, of each number of pixels.
        w_weights: Weight, at least 0, of each half-width of the windows, in pixels.
        reduce: From channels to pixels, as in `pixel_map`.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = False
    compares_maps = True

    def __init__(
        self,
        k_weights: Mapping[int, float] = MappingProxyType({50: 1.0, 100: 0.5, 200: 0.25}),
        w_weights: Mapping[int, float] = MappingProxyType({0: 1.0, 1: 0.5, 2: 0.25}),
        *,
        reduce: Reduce = "abs_sum",
    ) -> None:
        super().__init__()
        check_reduce(reduce)
        check_weights(k_weights, w_weights)
        self.k_weights = dict(k_weights)
        self.w_weights = dict(w_weights)
        self.reduce = reduce

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return combined_lens_distance(
            *map_pair(result, self.reduce), k_weights=self.k_weights, w_weights=self.w_weights
        )
