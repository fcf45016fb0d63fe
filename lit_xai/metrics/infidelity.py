"""Whether an explanation foretells how the score reacts to noise."""

from dataclasses import replace

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

    The mean of (I . A - (f(x) - f(x - I)))^2 over perturbations I (Yeh et al., 2019, arXiv 1901.09392).
    AttEXplore's paper, which reports it, leaves open which perturbations, scale and score; the defaults are
    those of its authors' later library. A map of one sign forecasts nearly the same for every such I, as a
    constant map does: `ConstantMapInfidelity` and `ZeroMapInfidelity` belong beside it.

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


class _InfidelityMetric(SampleMetric):
    """What infidelity and its controls have in common; `Infidelity` documents the options."""

    higher_is_better = False

    def __init__(
        self,
        samples: int = 100,
        *,
        std: float = 0.2,
        share: float | None = None,
        score: Score = "logit",
        scaled: bool = True,
        target: ClassChoice = "prediction",
        max_batch: int = 512,
    ) -> None:
        super().__init__()
        check_class_choice(target)
        self.perturbation = NoisyBaseline(samples, std, share, score, max_batch)
        self.scaled = scaled
        self.target: ClassChoice = target

    @property
    def settings(self) -> tuple[object, ...]:
        return replace(self.perturbation, max_batch=1), self.scaled, self.target

    def _of(self, attribution: Tensor, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        """Return the infidelity of maps on the attacked images, (N,)."""
        return infidelity(
            model,
            result.image_adv,
            attribution,
            chosen_class(result, self.target),
            noise=noise.child("infidelity"),
            perturbation=self.perturbation,
            scaled=self.scaled,
        )


class ConstantMapInfidelity(_InfidelityMetric):
    """Mean infidelity of a map that says one everywhere: the control beside `Infidelity`.

    Options and errors are those of `Infidelity`; the same ones, with the same seed, mean the same
    perturbations.
    """

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self._of(torch.ones_like(result.attribution_adv), model, result, noise)


class ZeroMapInfidelity(_InfidelityMetric):
    """Mean square of the score's change, E[d^2]: the most that `Infidelity` can be when it is scaled.

    Options and errors are those of `Infidelity`; the same ones, with the same seed, mean the same
    perturbations. Zeros have no scale, so `scaled` is there only to be the same.
    """

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self._of(torch.zeros_like(result.attribution_adv), model, result, noise)


class Infidelity(_InfidelityMetric):
    """Mean infidelity of the attacked map on the attacked image (Yeh et al., 2019; see `infidelity`).

    Under `Unattacked` this is the infidelity of the clean map. It costs `samples` + 1 forward passes for each
    image, and so does each of its controls.

    Args:
        samples: Perturbations of each image.
        std: Standard deviation of the noise on black, in pixel units of [0, 1].
        share: Share of the C x H x W features that a perturbation replaces, in (0, 1]; 1 / C if None.
        score: What the perturbations change: `logit`, `probability` or `loss`.
        scaled: Multiply each map by the factor that makes its error least.
        target: The class watched: the `prediction` for the clean image, or the `label`, as in AttEXplore.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    controls = (ConstantMapInfidelity, ZeroMapInfidelity)

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self._of(result.attribution_adv, model, result, noise)
