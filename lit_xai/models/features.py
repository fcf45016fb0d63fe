"""The activation of a layer inside a network, and the grid that its tokens lie on."""

import math
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from lit_xai.models.softplus import network_of

_MOST_PREFIX_TOKENS = 16


def activation_at(model: nn.Module, image: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
    """Run a network once and return its logits and what one of its layers put out.

    The activation is part of the logits' graph, so a score can be differentiated with respect to it. It is
    the layer's own output, even where the network goes on to write over it.

    Args:
        model: Maps pixels to logits. Names refer to the network inside a `SoftplusTwin`.
        image: Pixels, (N, C, H, W).
        layer: The dotted name of a module. If None, the last one, in order of execution, whose output is a
            feature map: (N, F, h, w) of more than one place, no larger than the image, and F is not the
            number of logits, for that would be a map of class scores. Where an attention module (a class
            whose name contains Attention) saw tokens after it, the tokens that the last such module saw.

    Returns:
        Logits, (N, K), and the activation, of any shape.

    Raises:
        ValueError: If no module has that name, or the module does not run exactly once or returns no tensor;
            if `layer` is None and there is neither a feature map nor tokens.
    """
    if layer is None:
        return _last_features(model, image)
    outputs: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"Expected `layer` {layer} to return a tensor, but got a {type(output).__name__}. "
                "Name a layer inside it."
            )
        outputs.append(output.clone())
        return outputs[-1].clone()

    with _named(network_of(model), layer).register_forward_hook(keep):
        logits = model(image)
    if len(outputs) != 1:
        raise ValueError(
            f"Expected `layer` {layer} to run once in a pass, but it ran {len(outputs)} times. "
            "Name a layer that runs once."
        )
    return logits, outputs[0]


def token_grid(activation: Tensor, image: Tensor) -> Tensor:
    """Lay tokens out on the grid of patches that they stand for.

    The grid is the largest one of square patches that tiles the image and has no more places than there are
    tokens. The tokens left over stand in front: a class token and registers.

    Args:
        activation: Tokens, (N, T, D), row by row; or a feature map, (N, F, h, w), which is returned as it is.
        image: Pixels, (N, C, H, W).

    Returns:
        The map, (N, D, h, w), with h / w = H / W.

    Raises:
        ValueError: If the activation has another shape, or if no grid of at least two places fits the tokens
            but for 16 in front.
    """
    if activation.ndim == 4:
        return activation
    height, width = image.shape[2:]
    if activation.ndim != 3 or len(activation) != len(image):
        raise ValueError(
            f"Expected an activation of shape (N, F, h, w) or (N, T, D), but got {tuple(activation.shape)} "
            f"for {len(image)} images. Name another `layer`."
        )
    tokens = activation.shape[1]
    for patch in range(1, math.gcd(height, width) + 1):
        rows, columns = height // patch, width // patch
        prefix = tokens - rows * columns
        if rows * patch == height and columns * patch == width and prefix >= 0:
            if prefix > _MOST_PREFIX_TOKENS or rows * columns == 1:
                break
            return activation[:, prefix:].transpose(1, 2).reshape(*activation.shape[::2], rows, columns)
    raise ValueError(
        f"Expected tokens on a grid of square patches, but got {tokens} tokens for an image of "
        f"{height} x {width}. Name another `layer`."
    )


def _named(network: nn.Module, layer: str) -> nn.Module:
    modules: dict[str, nn.Module] = {
        name: module for name, module in network.named_modules(remove_duplicate=False) if name
    }
    found = modules.get(layer)
    if found is not None:
        return found
    close = get_close_matches(layer, modules)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    raise ValueError(
        f"Expected `layer` as the name of a module, but got {layer!r}.{meant} "
        "`dict(model.named_modules())` lists the names."
    )


def _last_features(model: nn.Module, image: Tensor) -> tuple[Tensor, Tensor]:
    seen = _Seen(image)
    with ExitStack() as hooks:
        for module in network_of(model).modules():
            hooks.enter_context(module.register_forward_hook(seen.output))
            if "Attention" in type(module).__name__:
                hooks.enter_context(module.register_forward_hook(seen.tokens, with_kwargs=True))
        logits = model(image)
    return logits, seen.last(classes=logits.shape[1])


class _Seen:
    """The last feature map of each number of channels, and the last tokens, in one pass."""

    def __init__(self, image: Tensor) -> None:
        self.image = image
        self.moment = 0
        self.maps: dict[int, tuple[int, Tensor]] = {}
        self.attended: tuple[int, Tensor, bool] | None = None

    def output(self, _module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        self.moment += 1
        if not isinstance(output, Tensor) or output.ndim != 4 or len(output) != len(self.image):
            return None
        _, channels, *size = output.shape
        if math.prod(size) <= 1 or any(a > b for a, b in zip(size, self.image.shape[2:], strict=True)):
            return None
        own = output.clone()
        self.maps[channels] = (self.moment, own)
        return own.clone()

    def tokens(
        self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], _output: Any
    ) -> None:
        given = next((value for value in (*inputs, *options.values()) if isinstance(value, Tensor)), None)
        if given is not None and given.ndim == 3:
            self.moment += 1
            by_sample = getattr(module, "batch_first", True) and len(given) == len(self.image)
            self.attended = (self.moment, given, bool(by_sample))
            self.version = given._version

    def last(self, classes: int) -> Tensor:
        maps = [found for channels, found in self.maps.items() if channels != classes]
        moment, activation = max(maps, key=lambda found: found[0], default=(0, None))
        if self.attended is not None and self.attended[0] > moment:
            _, tokens, by_sample = self.attended
            # Tokens of windows are no tokens of images, and a tensor written over is no layer's output.
            activation = tokens if by_sample and tokens._version == self.version else None
        if activation is None:
            raise ValueError(
                "Expected a network with a feature map or tokens, but found none before the pooling. "
                "Name a `layer`: `dict(model.named_modules())` lists them."
            )
        return activation
