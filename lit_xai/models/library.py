"""Networks that a library builds by name and releases weights of."""

import re
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from lit_xai.models.adapting import Adaptable, adapted
from lit_xai.models.normalized import Normalized
from lit_xai.models.weights import give_weights, read_weights

_Network = TypeVar("_Network", bound=nn.Module)


class LibraryClassifier(nn.Module, Adaptable):
    """A network of a library that takes pixels, ready to be differentiated twice.

    Attention uses the kernel that has a second derivative, in every pass, and no unit writes over its
    input. What a network's own code writes over is as the library has it, so that a hook should copy what it
    keeps: timm's ResNet adds by `x += shortcut`, GoogLeNet and DenseNet call `relu(..., inplace=True)`.

    Args:
        name: As the library has it.
        num_classes: Number of classes. If None, as many as `weights` have, or else the released weights; in a
            `LitClassifier`, as many as it has.
        channels: Of the images.
        weights: File of weights; drawn at random if None.
        pretrained: Whether to fetch the released weights.

    Raises:
        FileNotFoundError: If there is no such file of weights.
        OSError: If weights cannot be fetched.
        ValueError: If the library cannot build it so, if the weights are not its own, or if both a file and
            the released weights are asked for.
    """

    network: Normalized
    library: ClassVar[str]

    def __init__(
        self, name: str, num_classes: int | None, channels: int, weights: Path | None, *, pretrained: bool
    ) -> None:
        super().__init__()
        for option, size in {"num_classes": num_classes, "channels": channels}.items():
            if size is not None and size < 1:
                raise ValueError(f"Expected `{option}` of at least 1, but got {size}.")
        if weights is not None and pretrained:
            raise ValueError(f"Expected `weights` or `pretrained`, but got both: {weights}. Leave out one.")
        self.name, self.channels = name, channels
        self.weights, self.pretrained = weights, pretrained
        self._follows, self._given = num_classes is None, False
        self.network = differentiable_twice(self.built(num_classes))
        unread = _UNREAD.get()
        if unread is None:
            self.read_source()
        else:
            unread.append(self)

    @abstractmethod
    def built(self, num_classes: int | None) -> Normalized:
        """Return the network with new weights; as many classes as the library gives it if None."""

    @abstractmethod
    def fetched(self) -> Mapping[str, Tensor]:
        """Fetch the released weights, by the names of the network inside `Normalized`."""

    @property
    def num_classes(self) -> int:
        """Number of classes of the network as it is; 0 if it ends in features."""
        parameters = [value for head in self.ends().heads[-1:] for value in head.parameters()]
        return len(parameters[0]) if parameters else 0

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        with attention_differentiable_twice():
            output: Any = self.network(image)
        logits: Tensor = output if isinstance(output, Tensor) else output.logits
        return logits

    def read_source(self) -> None:
        """Take the weights of the file, or fetch the released ones, as was asked for; once."""
        if self._given or (self.weights is None and not self.pretrained):
            return
        if self.weights is not None:
            give_weights(self, read_weights(Path(self.weights)), str(self.weights))
        else:
            with _fetching(self.library, self.name):
                weights = dict(self.fetched())
            give_weights(self, weights, f"the released weights of {self.name}")
        self._given = True

    def follow(self, num_classes: int) -> None:
        """Take on a number of classes for good, unless one was asked for; all but the head is kept."""
        if self._follows and self.ends().heads:
            said = self._change(num_classes)
            # Where a state follows, it replaces what is drawn here.
            for line in [] if is_rebuilding() else said:
                rank_zero_info(f"{self.name}: the weights are {line}.")
        self._follows = False

    def expect(self, weights: Mapping[str, Tensor]) -> None:
        """Take on the number of classes that weights have, unless another was asked for."""
        if not self._follows:
            return
        names = {module: name for name, module in self.network.model.named_modules()}
        for head in self.ends().heads[-1:]:
            ending = re.compile(rf"(.*\.)?{re.escape(names[head])}\.weight")
            # None for a network that ends in features: any inputs are taken, and refused later.
            inputs = next((value.shape[1:] for value in head.parameters()), None)
            found = [
                key
                for key, value in weights.items()
                if ending.fullmatch(key) and inputs in (None, value.shape[1:])
            ]
            # Layers inside others have the longer names.
            if found:
                self._change(len(weights[min(found, key=len)]))

    def _change(self, num_classes: int) -> list[str]:
        """Build the network anew with what it has, and return a line for each thing that is drawn."""
        if num_classes == self.num_classes:
            return []
        before = self.network
        self.network = differentiable_twice(self.built(num_classes))
        # Whoever gave the weights, they are kept: this class is not told of all that are given.
        values, said = adapted(before.state_dict(), self.network, self.ends())
        self.network.load_state_dict(values)
        _take_settings(self.network, before)
        return said


def follow_classes(network: nn.Module, num_classes: int) -> None:
    """Give a network of a library a number of classes, if it was left open; leave any other alone."""
    if isinstance(network, LibraryClassifier):
        network.follow(num_classes)


_UNREAD: ContextVar[list[LibraryClassifier] | None] = ContextVar("unread", default=None)


@contextmanager
def rebuilding(*, when: bool = True) -> Iterator[list[LibraryClassifier]]:
    """Build networks without their files of weights and without the internet, since a state follows.

    Args:
        when: Whether one follows; otherwise networks are built as ever.

    Yields:
        The networks that were built inside. `read_source` gives them what they were to begin with.
    """
    unread: list[LibraryClassifier] = []
    token = _UNREAD.set(unread if when else None)
    try:
        yield unread
    finally:
        _UNREAD.reset(token)


def is_rebuilding() -> bool:
    """Whether networks are built for a state that follows."""
    return _UNREAD.get() is not None


def read_sources(networks: Iterable[nn.Module]) -> None:
    """Let the networks that were built while `rebuilding` read what they were to begin with."""
    for network in networks:
        if isinstance(network, LibraryClassifier):
            network.read_source()


def unknown_name(expected: str, name: str, known: Iterable[str]) -> ValueError:
    """Return the error for a name that a library does not have.

    Args:
        expected: What was expected.
        name: What was given.
        known: Names that the library has, of which the closest are suggested.
    """
    close = get_close_matches(name, list(known), n=3)
    remedy = f" Did you mean {' or '.join(close)}?" if close else ""
    return ValueError(f"Expected {expected}, but got {name}.{remedy}")


def differentiable_twice(network: _Network) -> _Network:
    """Let a network's modules do without what has no second derivative, or writes over its input.

    Args:
        network: Changed in place. Its passes belong inside `attention_differentiable_twice`.

    Returns:
        The same network.
    """
    for module in network.modules():
        # Of timm: whether attention is one kernel, which has no second derivative.
        if hasattr(module, "fused_attn"):
            module.fused_attn = False  # type: ignore[assignment]
        # What a unit overwrites is lost for hooks on its input, and for explanations that build on them.
        if getattr(module, "inplace", False) is True:
            module.inplace = False  # type: ignore[assignment]
    return network


def attention_differentiable_twice() -> AbstractContextManager[None]:
    """Let attention use the kernel that has a second derivative."""
    return sdpa_kernel(SDPBackend.MATH)


def _take_settings(network: nn.Module, before: nn.Module) -> None:
    """Give a network the modes, kind of numbers, device and frozen parameters of the one that it replaces."""
    for value in islice(before.parameters(), 1):
        network.to(value.device, value.dtype)
    modes = {name: module.training for name, module in before.named_modules()}
    for name, module in network.named_modules():
        module.training = modes.get(name, before.training)
    learns = {name: value.requires_grad for name, value in before.named_parameters()}
    for name, value in network.named_parameters():
        value.requires_grad_(learns.get(name, value.requires_grad))


@contextmanager
def _fetching(library: str, name: str) -> Iterator[None]:
    try:
        yield
    # Libraries raise many kinds: of the connection, of the hub, of a file that is not what it should be.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise OSError(
            f"Expected to fetch {library}'s weights of {name}, but got: {reason[:200]} "
            "Check the connection, or save their file and name it as `weights`."
        ) from error
