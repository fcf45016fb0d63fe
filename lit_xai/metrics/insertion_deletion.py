"""Whether the pixels that an explanation ranks first decide the prediction."""

import torch
from torch import Tensor, nn

from lit_xai.gate import evaluating
from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import descending_rank, pixel_map
from lit_xai.noise import Noise
from lit_xai.types import AttackResult


def _curve(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    shown: Tensor,
    *,
    insert: bool,
    max_batch: int,
) -> Tensor:
    """Return the class's probability after each number of `shown` pixels, (N, len(shown))."""
    rank = descending_rank(maps)[:, None]
    sample = torch.arange(len(image), device=image.device).repeat_interleave(len(shown))
    limit = shown.repeat(len(image))
    probabilities = []
    with evaluating(model), torch.no_grad():
        for rows, limits in zip(sample.split(max_batch), limit.split(max_batch), strict=True):
            first = rank[rows] < limits.view(-1, 1, 1, 1)
            logits = model(image[rows] * (first if insert else ~first))
            probabilities.append(logits.softmax(dim=1).gather(1, target[rows, None]).squeeze(1))
    return torch.cat(probabilities).view(len(image), len(shown))


def _area(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    steps: int | None,
    insert: bool,
    max_batch: int,
) -> Tensor:
    if maps.shape != (len(image), *image.shape[2:]):
        raise ValueError(
            f"Expected a map (N, H, W) for images {tuple(image.shape)}, but got {tuple(maps.shape)}."
        )
    pixels = maps.shape[1] * maps.shape[2]
    stops = maps.shape[1] if steps is None else steps
    if not 1 <= stops <= pixels:
        raise ValueError(f"Expected `steps` in [1, {pixels}], but got {stops}.")
    shown = (torch.arange(stops + 1, device=image.device) * pixels).div(stops, rounding_mode="floor")
    curve = _curve(model, image, maps, target, shown, insert=insert, max_batch=max_batch)
    return torch.trapezoid(curve, dx=1 / stops, dim=1)


def insertion(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    steps: int | None = None,
    max_batch: int = 512,
) -> Tensor:
    """Return the area under the class's probability as pixels appear on black, the most important first.

    RISE's game (Petsiuk et al., 2018, arXiv 1806.07421): all channels of a pixel together, trapezoid rule
    over the share of pixels. Deviation: the image appears on black, as in AttEXplore's evaluation, not on its
    own blur.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        maps: Values, ranked as they are, ties by lowest flat index, (N, H, W).
        target: Class indices, (N,), int64.
        steps: Equal steps; as many as rows if None.
        max_batch: Images in flight in one forward pass.

    Returns:
        Areas in [0, 1], (N,).

    Raises:
        ValueError: If the shapes do not match or `steps` exceeds the number of pixels.
    """
    return _area(model, image, maps, target, steps=steps, insert=True, max_batch=max_batch)


def deletion(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    steps: int | None = None,
    max_batch: int = 512,
) -> Tensor:
    """Return the area under the class's probability as pixels turn black, the most important first.

    RISE's game (Petsiuk et al., 2018, arXiv 1806.07421): all channels of a pixel together, trapezoid rule
    over the share of pixels. Deviation: deleted pixels are black, as in AttEXplore's evaluation, not the data
    set's mean.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        maps: Values, ranked as they are, ties by lowest flat index, (N, H, W).
        target: Class indices, (N,), int64.
        steps: Equal steps; as many as rows if None.
        max_batch: Images in flight in one forward pass.

    Returns:
        Areas in [0, 1], (N,).

    Raises:
        ValueError: If the shapes do not match or `steps` exceeds the number of pixels.
    """
    return _area(model, image, maps, target, steps=steps, insert=False, max_batch=max_batch)


def _check_options(steps: int | None, max_batch: int) -> None:
    for name, value in {"steps": steps, "max_batch": max_batch}.items():
        if value is not None and value < 1:
            raise ValueError(f"Expected `{name}` of at least 1, but got {value}.")


class Insertion(SampleMetric):
    """Mean insertion area of the attacked map on the attacked image, for the clean image's class.

    Under `Unattacked` this is the insertion of the clean map.

    Args:
        steps: Equal steps; as many as rows if None.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is below 1.
    """

    higher_is_better = True

    def __init__(self, steps: int | None = None, max_batch: int = 512) -> None:
        super().__init__()
        _check_options(steps, max_batch)
        self.steps = steps
        self.max_batch = max_batch

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        maps = pixel_map(result.attribution_adv)
        return insertion(
            model, result.image_adv, maps, result.target, steps=self.steps, max_batch=self.max_batch
        )


class Deletion(SampleMetric):
    """Mean deletion area of the attacked map on the attacked image, for the clean image's class.

    Under `Unattacked` this is the deletion of the clean map.

    Args:
        steps: Equal steps; as many as rows if None.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is below 1.
    """

    higher_is_better = False

    def __init__(self, steps: int | None = None, max_batch: int = 512) -> None:
        super().__init__()
        _check_options(steps, max_batch)
        self.steps = steps
        self.max_batch = max_batch

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        maps = pixel_map(result.attribution_adv)
        return deletion(
            model, result.image_adv, maps, result.target, steps=self.steps, max_batch=self.max_batch
        )
