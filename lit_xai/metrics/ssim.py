"""How alike the clean and the attacked image look."""

from torch import Tensor, nn
from torchmetrics.functional.image import structural_similarity_index_measure

from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.types import AttackResult

_LEAST = 6


class ImageSSIM(SampleMetric):
    """Mean structural similarity of the clean and the attacked image (Wang et al., 2004).

    Gaussian window of 11 x 11 pixels and standard deviation 1.5, k1 = 0.01, k2 = 0.03, data range 1.
    Deviation: the mean runs over the whole image, with its border mirrored, where the authors leave it out.

    Raises:
        ValueError: If an image has fewer than 6 rows or columns.
    """

    higher_is_better = True

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        if not len(result.image):
            return result.image.new_zeros(0)
        if min(result.image.shape[2:]) < _LEAST:
            size = tuple(result.image.shape[2:])
            raise ValueError(
                f"Expected images of at least {_LEAST} x {_LEAST} pixels for SSIM, but got {size}."
            )
        similarity = structural_similarity_index_measure(
            result.image_adv, result.image, data_range=1.0, reduction="none"
        )
        assert isinstance(similarity, Tensor)
        return similarity.view(len(result.image))
