"""Files of weights, read without running what they hold."""

import re
from argparse import Namespace
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import load_file
from torch import Tensor, nn

from lit_xai.models.adapting import Adaptable, adapted

_NETWORK = "model."
# What training scripts keep the weights under, beside the epoch and the optimizer.
_HOLDERS = ("state_dict", "model")
# Of wrappers: DistributedDataParallel, this package's training and Normalized, torch.compile; then as other
# modules of Lightning call the network that they train.
_PREFIXES = ("module.", "model.", "_orig_mod.", "net.", "backbone.", "network.")
# Of DenseNet, as released: `denselayer1.norm.1.weight`.
_OLD_NAMES = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.")


def read_plain(path: Path, what: str, data: bytes | None = None) -> object:
    """Read a file of `torch.save`, tensors and plain values only.

    Args:
        path: The file.
        what: What it should hold, for the message.
        data: Its bytes, if they are read already.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or holds anything that would run code.
    """

    def load(file: Path) -> object:
        return torch.load(file if data is None else BytesIO(data), map_location="cpu", weights_only=True)

    return _read(path, what, load)


def _read(path: Path, what: str, load: Callable[[Path], object]) -> object:
    if not path.is_file():
        raise FileNotFoundError(f"Expected {what}, but got {path}, which does not exist.")
    try:
        return load(path)
    # Whatever the bytes are taken for, they are no weights: the unpickler raises many kinds of errors.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected {what}, but got {path}: {reason[:120]}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network.

    Args:
        path: A checkpoint of the training command, a file of `torch.save(model.state_dict(), path)`, such
            weights as `state_dict` or `model` in a dictionary of a training script, as those of timm,
            PyTorch and Lightning save them, or a file of safetensors, known by its ending `.safetensors`.

    Returns:
        Weights by the names they are stored under. If some in a `state_dict` begin with `model.`, as those of
        the training command's network do, only these, without it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights.
    """
    what = "a file of weights"
    # Scripts keep their arguments beside the weights: attributes only, nothing that runs.
    with torch.serialization.safe_globals([Namespace]):
        content = _read(path, what, load_file) if path.suffix == ".safetensors" else read_plain(path, what)
    weights = _held(content)
    if not weights or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ValueError(f"Expected a file of weights, but got {path}, which holds something else.")
    return weights


def _held(content: object) -> dict[Any, Any]:
    """Return what should be weights, out of a dictionary of a training script or as it is."""
    if not isinstance(content, dict):
        return {}
    holder = next((name for name in _HOLDERS if isinstance(content.get(name), dict)), None)
    weights: dict[Any, Any] = content if holder is None else content[holder]
    if holder != "state_dict":
        return weights
    network = {
        name.removeprefix(_NETWORK): value
        for name, value in weights.items()
        if isinstance(name, str) and name.startswith(_NETWORK)
    }
    return network or weights


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a network the weights of a file; see `give_weights`.

    Args:
        model: Any network.
        path: As in `read_weights`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, or those of another network.
    """
    give_weights(model, read_weights(path), str(path))


def give_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Give a network weights, all of them and no others.

    A prefix of a wrapper (`module.`, `model.`, `_orig_mod.`, `net.`, `backbone.`, `network.`) that stands
    before every name is taken off if the network's own names lack it, and a line says so. Weights of the part
    that holds all of the network's parameters, such as published ones of the network inside `Normalized`, are
    taken for that part. An `Adaptable` network also takes weights of other classes or channels, and a line
    says what became of them.

    Args:
        model: Any network.
        weights: By name.
        where: They are from, for the messages.

    Raises:
        ValueError: If they are those of another network.
    """
    owner = next((part for part in _parts(model) if isinstance(part, Adaptable)), None)
    if owner is not None:
        owner.expect(weights)
    # The first of the best: as little as possible is taken off, and the whole network stands before its part.
    prefix, part = max(
        ((prefix, part) for prefix in _prefixes(weights) for part in _parts(model)),
        key=lambda choice: _agreement(weights, *choice),
    )
    named = _renamed({name.removeprefix(prefix): value for name, value in weights.items()}, part)
    said: list[str] = []
    if owner is not None:
        named, said = adapted(named, part, owner.ends())
    try:
        part.load_state_dict(named)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected weights of {type(model).__name__}, but got {where}: {reason[:200]}"
        ) from error
    if prefix:
        rank_zero_info(f"{where}: the weights were read without the `{prefix}` before all of their names.")
    for line in said:
        rank_zero_info(f"{where}: the weights are {line}.")


def _renamed(weights: dict[str, Tensor], part: nn.Module) -> dict[str, Tensor]:
    """Give layers the names that they have now, if these are the network's; torchvision's files are older."""
    renamed = {_OLD_NAMES.sub(r"\1\2.", name): value for name, value in weights.items()}
    return renamed if renamed.keys() == part.state_dict().keys() else weights


def _prefixes(weights: dict[str, Tensor]) -> Iterator[str]:
    """Yield what may be taken off every name, from nothing to all known prefixes one after another."""
    prefix: str | None = ""
    while prefix is not None:
        yield prefix
        longer = [prefix + known for known in _PREFIXES]
        prefix = next((known for known in longer if all(name.startswith(known) for name in weights)), None)


def _parts(model: nn.Module) -> Iterator[nn.Module]:
    """Yield a network and, one inside another, the parts that hold all of its parameters."""
    yield model
    parameters = set(model.parameters())
    for child in model.children():
        if parameters and set(child.parameters()) == parameters:
            yield from _parts(child)


def _agreement(weights: dict[str, Tensor], prefix: str, part: nn.Module) -> float:
    """Return the share of names, of a file and of a part of the network, that both have."""
    names, known = {name.removeprefix(prefix) for name in weights}, part.state_dict().keys()
    return len(names & known) / len(names | known)
