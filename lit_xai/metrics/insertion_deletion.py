"""Whether the pixels that an explanation ranks first decide the prediction."""

from typing import ClassVar, Literal, get_args

from torch import Tensor, nn

from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.class_choice import ClassChoice, check_class_choice, chosen_class
from lit_xai.metrics.maps import Reduce, check_reduce, pixel_map
from lit_xai.metrics.pixel_game import PixelGame, Substrate
from lit_xai.noise import Noise
from lit_xai.types import AttackResult

Order = Reduce | Literal["union"]


def insertion_curve(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    step_size: int | None = None,
    substrate: Substrate = "black",
    max_batch: int = 512,
) -> Tensor:
    """Return the class's probability as pixels appear, the most important first.

    RISE's game (Petsiuk et al., 2018, arXiv 1806.07421) for maps (N, H, W). For attributions (N, C, H, W)
    that of AttEXplore's released evaluation (Zhu et al., 2024): at each step the next pixels of every
    channel's own ranking, with all their channels. Deviations: the image appears on black, as in that
    evaluation, where RISE's appears on its blur; `blur` is a Gaussian of standard deviation 5, RISE's is
    nearly a mean over 11 x 11 pixels and darkens the image's corners.

    Args:
        model: Maps pixels in [0, 1] to logits.
        image: Pixels in [0, 1], (N, C, H, W).
        maps: Values, ranked as they are, ties by lowest flat index, (N, H, W) or (N, C, H, W).
        target: Class indices, (N,), int64.
        step_size: Pixels that appear at a time; as many as a row has if None. The last step may be smaller.
        substrate: What the pixels appear on: `black`, `blur`, `mean` of each channel over the image, or one
            value for each channel.
        max_batch: Images in flight in one forward pass.

    Returns:
        Probabilities before the first step and after each, (N, steps + 1).

    Raises:
        ValueError: If the maps do not fit the images or are not finite, or an option is out of its range.
    """
    return PixelGame(step_size, substrate, max_batch, insert=True).curve(model, image, maps, target)


def deletion_curve(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    step_size: int | None = None,
    substrate: Substrate = "black",
    max_batch: int = 512,
) -> Tensor:
    """Return the class's probability as pixels vanish, the most important first.

    The game of `insertion_curve` the other way round, with its arguments, returns and errors. Deviation:
    deleted pixels turn black, as in AttEXplore's evaluation; RISE's take the data set's mean colour, which a
    `substrate` of one value for each channel gives.
    """
    return PixelGame(step_size, substrate, max_batch, insert=False).curve(model, image, maps, target)


def insertion(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    step_size: int | None = None,
    substrate: Substrate = "black",
    max_batch: int = 512,
) -> Tensor:
    """Return the area under `insertion_curve`, by the trapezoid rule, every step as wide.

    Arguments and errors are those of `insertion_curve`.

    Returns:
        Areas in [0, 1], (N,), float64.
    """
    return PixelGame(step_size, substrate, max_batch, insert=True).area(model, image, maps, target)


def deletion(
    model: nn.Module,
    image: Tensor,
    maps: Tensor,
    target: Tensor,
    *,
    step_size: int | None = None,
    substrate: Substrate = "black",
    max_batch: int = 512,
) -> Tensor:
    """Return the area under `deletion_curve`, by the trapezoid rule, every step as wide.

    Arguments and errors are those of `insertion_curve`.

    Returns:
        Areas in [0, 1], (N,), float64.
    """
    return PixelGame(step_size, substrate, max_batch, insert=False).area(model, image, maps, target)


class _Game(SampleMetric):
    """What the two games have in common; `Insertion` documents the options."""

    _insert: ClassVar[bool]

    def __init__(
        self,
        step_size: int | None = None,
        *,
        substrate: Substrate = "black",
        reduce: Order = "abs_sum",
        target: ClassChoice = "prediction",
        max_batch: int = 512,
    ) -> None:
        super().__init__()
        check_reduce(reduce, (*get_args(Reduce), "union"))
        check_class_choice(target)
        self.game = PixelGame(step_size, substrate, max_batch, insert=self._insert)
        self.reduce = reduce
        self.target: ClassChoice = target

    def curve(self, model: nn.Module, result: AttackResult) -> Tensor:
        """Return the curves whose areas are the scores, (N, steps + 1)."""
        return self.game.curve(model, *self._played(result))

    def scores(self, model: nn.Module, result: AttackResult, noise: Noise) -> Tensor:
        return self.game.area(model, *self._played(result))

    def _played(self, result: AttackResult) -> tuple[Tensor, Tensor, Tensor]:
        """Return images, maps and classes."""
        maps = result.attribution_adv
        ordered = maps if self.reduce == "union" else pixel_map(maps, self.reduce)
        return result.image_adv, ordered, chosen_class(result, self.target)


class Insertion(_Game):
    """Mean insertion area of the attacked map on the attacked image (see `insertion_curve`).

    Under `Unattacked` this is the insertion of the clean map.

    Args:
        step_size: Pixels that appear at a time; as many as a row has if None.
        substrate: What they appear on: `black`, `blur`, `mean`, or one value in [0, 1] for each channel.
        reduce: From channels to one map, as in `pixel_map`; or `union`, AttEXplore's ranking of every signed
            channel by itself.
        target: The class watched: the `prediction` for the clean image, or the `label`.
        max_batch: Images in flight in one forward pass.

    Raises:
        ValueError: If an option is out of its range.
    """

    higher_is_better = True
    _insert = True


class Deletion(_Game):
    """Mean deletion area of the attacked map on the attacked image (see `deletion_curve`).

    Under `Unattacked` this is the deletion of the clean map. Options and errors are those of `Insertion`, the
    pixels vanishing.
    """

    higher_is_better = False
    _insert = False
