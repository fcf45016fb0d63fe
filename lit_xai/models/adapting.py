"""Weights of another number of classes or channels than a network has."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from timm.models import adapt_input_conv
from torch import Tensor, nn

from lit_xai.models.normalized import Normalized

_RELEASED_CHANNELS = 3


class Ends(NamedTuple):
    """The layers of a network that the number of classes and that of channels decide.

    Args:
        heads: Each has one output for each class.
        first: The convolutions that take the image.
        channels: Of the image.
    """

    heads: Sequence[nn.Module]
    first: Sequence[nn.Conv2d]
    channels: int


class Adaptable(ABC):
    """A network that takes weights of other classes and channels."""

    @abstractmethod
    def ends(self) -> Ends:
        """Return the layers in which such weights may differ."""

    @abstractmethod
    def expect(self, weights: Mapping[str, Tensor]) -> None:
        """Take on the number of classes that weights have, if no other was asked for.

        Args:
            weights: By name, of the whole network or of a part, with or without prefixes.
        """


def adapted(
    weights: Mapping[str, Tensor], part: nn.Module, ends: Ends
) -> tuple[dict[str, Tensor], list[str]]:
    """Make weights of other classes and channels those of a network.

    Heads of another number of classes stay as the network has them, and so do those that the weights lack
    altogether, such as weights of features. First convolutions of three channels become those of the
    network's channels by `timm.models.adapt_input_conv`: the weights of the three are summed for one channel,
    and repeated and scaled for any other number.

    Args:
        weights: By the names that `part` has for them. What else differs is left as it is.
        part: The network, or a part of it that holds all of its parameters.
        ends: Of the network.

    Returns:
        Weights, and a line for each thing that was not taken as it is.
    """
    own, result = part.state_dict(), dict(weights)
    names = {module: name for name, module in part.named_modules()}
    said = []
    for head in ends.heads:
        own_keys = _inside(own, names[head])
        if own_keys and not _inside(weights, names[head]):
            result.update({key: own[key] for key in own_keys})
            said.append(f"without a head, the network has one: `{names[head]}` is drawn at random")
        if keys := _other_rows(weights, own, names[head]):
            found, has = (len(values[keys[0]]) for values in (weights, own))
            result.update({key: own[key] for key in keys})
            said.append(f"of {found} classes, the network has {has}: `{names[head]}` is drawn at random")
    for convolution in ends.first:
        key, found = f"{names[convolution]}.weight", _RELEASED_CHANNELS
        if key in weights and _is_of_three(weights[key], convolution, ends.channels):
            result[key] = adapt_input_conv(ends.channels, weights[key])
            result.update({name: own[name] for name in _statistics(part)})
            said.append(
                f"of {found} channels, the network takes {ends.channels}: `{names[convolution]}` is made of "
                f"theirs"
            )
    return result, said


def _other_rows(weights: Mapping[str, Tensor], own: Mapping[str, Tensor], layer: str) -> list[str]:
    """Return the names in a layer, if they are stored with another number of rows and otherwise agree."""
    keys = _inside(own, layer)
    if not all(key in weights and weights[key].shape[1:] == own[key].shape[1:] for key in keys):
        return []
    return keys if any(len(weights[key]) != len(own[key]) for key in keys) else []


def _inside(weights: Mapping[str, Tensor], layer: str) -> list[str]:
    return [key for key in weights if key.startswith(f"{layer}.")]


def _is_of_three(weight: Tensor, convolution: nn.Conv2d, channels: int) -> bool:
    here = convolution.weight.shape
    # Some first convolutions take several pixels of each channel as channels of their own.
    inputs = here[1] * _RELEASED_CHANNELS / channels
    return channels != _RELEASED_CHANNELS and weight.shape == (here[0], inputs, *here[2:])


def _statistics(part: nn.Module) -> Iterator[str]:
    """Yield the names of mean and deviation, which are one for each channel."""
    for name, module in part.named_modules():
        if isinstance(module, Normalized):
            yield from (f"{name}.{buffer}".removeprefix(".") for buffer in ("mean", "std"))
