"""The activation of a layer inside a network, and the grid that its tokens lie on."""

import math
from contextlib import ExitStack
from difflib import get_close_matches
from typing import Any

from torch import Tensor, nn

from lit_xai.models.softplus import network_of

_MOST_PREFIX_TOKENS = 8


def activation_at(model: nn.Module, image: Tensor, layer: str | None) -> tuple[Tensor, Tensor]:
    """Run a network once and return its logits and what one of its layers put out.

    The activation is part of the logits' graph, so a score can be differentiated with respect to it. It is
    the layer's own output, even where the network goes on to write over it.

    Args:
        model: Maps pixels to logits. Names refer to the network inside a `SoftplusTwin`.
        image: Pixels, (N, C, H, W).
        layer: The dotted name of a module. If None, the last one, in order of execution, whose output is a
            feature map: (N, F, h, w) of more than one place, no larger than the image and, unless it is a
            single row or column, with strides in height and width that differ by at most a factor of 4. Maps
            with a channel for each logit do not count if the mean or the maximum of the last of them over its
            places is the logits. Where a module saw or put out tokens after the map, (N, T, D) with T > 1, it
            is what the last attention module (a class whose name contains Attention) sees. The last map may
            lie inside a block whose output has a single place, as in Inception networks on small images:
            name a `layer` before that block then.

    Returns:
        Logits, (N, K), and the activation, of any shape.

    Raises:
        ValueError: If no module has that name, or the module does not run exactly once or returns no tensor;
            if `layer` is None and there is neither a feature map nor a token, or there are tokens at the end
            but no attention module that sees those of each image, unchanged afterwards.
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

    The patches are square and tile the image. The tokens that the grid leaves over, at most 8, stand in
    front: a class token and registers.

    Args:
        activation: Tokens, (N, T, D), row by row; or a feature map, (N, F, h, w), which is returned as it is.
        image: Pixels, (N, C, H, W).

    Returns:
        The map, (N, D, h, w); that of tokens with h / w = H / W.

    Raises:
        ValueError: If the activation has another shape, or if no grid of at least two places fits, or
            several do.
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
    grids = _grids(tokens, height, width)
    if len(grids) != 1:
        fits = "which fit " + " and ".join(f"{h} x {w}" for h, w in grids) if grids else "which fit none"
        raise ValueError(
            f"Expected tokens on one grid of square patches, but got {tokens} tokens for an image of "
            f"{height} x {width}, {fits}. Name a `layer` that puts out a feature map."
        )
    rows, columns = grids[0]
    places = activation[:, tokens - rows * columns :]
    return places.transpose(1, 2).reshape(*activation.shape[::2], rows, columns)


def _grids(tokens: int, height: int, width: int) -> list[tuple[int, int]]:
    common = math.gcd(height, width)
    grids = [(height // size, width // size) for size in range(1, common + 1) if common % size == 0]
    return [
        (rows, columns)
        for rows, columns in grids
        if rows * columns > 1 and 0 <= tokens - rows * columns <= _MOST_PREFIX_TOKENS
    ]


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
    return logits, seen.last(logits)


class _Seen:
    """The last feature map of each number of channels, and the last tokens, in one pass."""

    def __init__(self, image: Tensor) -> None:
        self.image = image
        self.moment = self.last_tokens = 0
        self.maps: dict[int, tuple[int, Tensor]] = {}
        self.attended: Tensor | None = None

    def output(self, _module: nn.Module, _inputs: Any, output: Any) -> Tensor | None:
        self.moment += 1
        if not isinstance(output, Tensor):
            return None
        # Tokens may also come in windows or before the samples, (T, N, D).
        if output.ndim == 3 and (len(output) != len(self.image) or output.shape[1] > 1):
            self.last_tokens = self.moment
        if not self._is_map(output):
            return None
        own = output.clone()
        self.maps[output.shape[1]] = (self.moment, own)
        return own.clone()

    def tokens(
        self, module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any], _output: Any
    ) -> None:
        given = next((value for value in (*inputs, *options.values()) if isinstance(value, Tensor)), None)
        if given is not None and given.ndim == 3:
            self.moment += 1
            self.last_tokens = self.moment
            self.attended, self.version = given, given._version
            self.by_sample = getattr(module, "batch_first", True) and len(given) == len(self.image)

    def last(self, logits: Tensor) -> Tensor:
        maps = [found for found in self.maps.values() if not _pools_to(found[1], logits)]
        moment, activation = max(maps, key=lambda found: found[0], default=(0, None))
        if self.last_tokens > moment:
            return self._last_attended()
        if activation is None:
            raise ValueError(
                "Expected a network with a feature map or tokens, but found none before the pooling. "
                "Name a `layer`: `dict(model.named_modules())` lists them."
            )
        return activation

    def _is_map(self, output: Tensor) -> bool:
        if output.ndim != 4 or len(output) != len(self.image):
            return False
        rows, columns = output.shape[2:]
        height, width = self.image.shape[2:]
        if rows * columns <= 1 or rows > height or columns > width:
            return False
        # Where channels stand last, (N, h, w, F), they pass for columns, but for far too many of them.
        return min(rows, columns) == 1 or 1 / 4 <= (rows * width) / (columns * height) <= 4

    def _last_attended(self) -> Tensor:
        # Tokens of windows are no tokens of images, and a tensor written over is no layer's output.
        if self.attended is None or not self.by_sample or self.attended._version != self.version:
            raise ValueError(
                "Expected attention in a network of tokens, but found no module with Attention in the name "
                "of its class that sees the tokens of each image. "
                "Name a `layer`: `dict(model.named_modules())` lists them."
            )
        return self.attended


def _pools_to(activation: Tensor, logits: Tensor) -> bool:
    if activation.shape[:2] != logits.shape or not len(logits):
        return False
    close = 1e-3 * logits.detach().abs().max()
    values = activation.detach().flatten(2)
    return any(bool(((pooled - logits).abs() <= close).all()) for pooled in (values.mean(2), values.amax(2)))
