"""Whether an explanation foretells how the score reacts to noise."""

import torch
from torch import Tensor, nn

from lit_xai.attributions.base import Score
from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.class_choice import ClassChoice, check_class_choice, chosen_class
from lit_xai.metrics.maps import check_finite
from lit_xai.metrics.noisy_baseline import NoisyBaseline
from lit_xai.noise import Noise
from lit_xai.types import AttackResult

_PUBLISHED = NoisyBaseline()


def infidelity(
    model: nn.Module,
    image: Tensor,
    attribution: Tensor,
    target: Tensor,
    *,
    noise: Noise,
    perturbation: NoisyBaseline = _PUBLISHED,
    scaled: bool = True,
) -> Tensor:
    """Return the mean squared error of a map's forecast of the score under noise.

    Infidelity (Yeh et al., 2019, arXiv 1901.09392): the mean of (I . A - (f(x) - f(x - I)))^2 over
    perturbations I. AttEXplore's paper, which reports it, leaves open which perturbations, scale and score;
    the defaults are those of its authors' later library. A map of one sign forecasts nearly the same for
    every such I, as a constant map does: `ConstantMapInfidelity` and `ZeroMapInfidelity` belong beside it.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        attribution: Signed values, (N, C, H, W) or (N, 1, H, W).
        target: Class indices, (N,), int64.
        noise: The randomness, keyed by sample.
        perturbation: What is done to the image.
        scaled: Multiply each map by the factor that makes its error least; otherwise the scale of the map
            decides the number.

    Returns:
        Errors, in squared units of the score, at least 0, (N,), float64.

    Raises:
        ValueError: If the map does not fit the image or is not finite.
    """
    if attribution.ndim != 4 or attribution.shape not in (image.shape, image[:, :1].shape):
        raise ValueError(
            f"Expected an attribution for images {tuple(image.shape)}, but got {tuple(attribution.shape)}."
        )
    check_finite(attribution)
    change, forecast = perturbation.responses(model, image, attribution, target, noise)
    if scaled:
        size = forecast.square().mean(dim=1, keepdim=True)
        factor = (change * forecast).mean(dim=1, keepdim=True) / size.masked_fill(size == 0, 1.0)
        forecast = factor * forecast
    return (change - forecast).square().mean(dim=1)


class ConstantMapInfidelity(SampleMetric):
    """Mean infidelity of a map that says the same everywhere: the control beside `Infidelity`.

    With the same options and seed it sees the same perturbations.

    Args:
        samples: Perturbations of each image.
        std: Standard deviation of the noise on black, in pixel units of [0, 1].
        share: Share of the C x H x W features that a perturbation replaces, in (0, 1]; 1 / C if None.
        score: What the perturbations change: `logit`, `probability` or `loss`.
        target: The class watched: the `prediction` for the clean image, or the `label`.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = False

    def __init__(
        self,
        samples: int = 100,
        *,
        std: float = 0.2,
        share: float | None = None,
        score: Score = "logit",
        target: ClassChoice = "prediction",
        max_batch: int = 512,
    ) -> None:
        super().__init__()
        check_class_choice(target)
        self.perturbation = NoisyBaseline(samples, std, share, score, max_batch)
        self.target: ClassChoice = target

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return infidelity(
            model,
            result.image_adv,
            torch.ones_like(result.attribution_adv),
            chosen_class(result, self.target),
            noise=noise.child("infidelity"),
            perturbation=self.perturbation,
        )


class ZeroMapInfidelity(SampleMetric):
    """Mean square of the score's change, E[d^2]: the most that `Infidelity` can be when it is scaled.

    With the same options and seed it sees the same perturbations.

    Args:
        samples: Perturbations of each image.
        std: Standard deviation of the noise on black, in pixel units of [0, 1].
        share: Share of the C x H x W features that a perturbation replaces, in (0, 1]; 1 / C if None.
        score: What the perturbations change: `logit`, `probability` or `loss`.
        target: The class watched: the `prediction` for the clean image, or the `label`.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = False

    def __init__(
        self,
        samples: int = 100,
        *,
        std: float = 0.2,
        share: float | None = None,
        score: Score = "logit",
        target: ClassChoice = "prediction",
        max_batch: int = 512,
    ) -> None:
        super().__init__()
        check_class_choice(target)
        self.perturbation = NoisyBaseline(samples, std, share, score, max_batch)
        self.target: ClassChoice = target

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return infidelity(
            model,
            result.image_adv,
            torch.zeros_like(result.attribution_adv),
            chosen_class(result, self.target),
            noise=noise.child("infidelity"),
            perturbation=self.perturbation,
        )


class Infidelity(SampleMetric):
    """Mean infidelity of the attacked map on the attacked image (Yeh et al., 2019; see `infidelity`).

    Under `Unattacked` this is the infidelity of the clean map.

    Args:
        samples: Perturbations of each image.
        std: Standard deviation of the noise on black, in pixel units of [0, 1].
        share: Share of the C x H x W features that a perturbation replaces, in (0, 1]; 1 / C if None.
        score: What the perturbations change: `logit`, `probability` or `loss`.
        target: The class watched: the `prediction` for the clean image, or the `label`.
        scaled: Multiply each map by the factor that makes its error least.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = False
    controls = (ConstantMapInfidelity, ZeroMapInfidelity)

    def __init__(
        self,
        samples: int = 100,
        *,
        std: float = 0.2,
        share: float | None = None,
        score: Score = "logit",
        target: ClassChoice = "prediction",
        scaled: bool = True,
        max_batch: int = 512,
    ) -> None:
        super().__init__()
        check_class_choice(target)
        self.perturbation = NoisyBaseline(samples, std, share, score, max_batch)
        self.target: ClassChoice = target
        self.scaled = scaled

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return infidelity(
            model,
            result.image_adv,
            result.attribution_adv,
            chosen_class(result, self.target),
            noise=noise.child("infidelity"),
            perturbation=self.perturbation,
            scaled=self.scaled,
        )
