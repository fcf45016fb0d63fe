"""Files of weights, read without running what they hold."""

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import torch
from lightning.pytorch.utilities import rank_zero_info
from safetensors.torch import load_file
from torch import Tensor, nn

_NETWORK = "model."
# Of wrappers: DistributedDataParallel, this package's training and Normalized, torch.compile.
_PREFIXES = ("module.", "model.", "_orig_mod.")


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
        path: A checkpoint of the training command, a file of `torch.save(model.state_dict(), path)`, or a
            file of safetensors, known by its ending `.safetensors`.

    Returns:
        Weights by the names they are stored under, those of a checkpoint's network without their `model.`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights.
    """
    what = "a file of weights"
    content = _read(path, what, load_file) if path.suffix == ".safetensors" else read_plain(path, what)
    weights = content if isinstance(content, dict) else {}
    if isinstance(weights.get("state_dict"), dict):
        whole = weights["state_dict"]
        weights = {
            str(name).removeprefix(_NETWORK): whole[name] for name in whole if str(name).startswith(_NETWORK)
        }
    if not weights or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ValueError(f"Expected a file of weights, but got {path}, which holds something else.")
    return weights


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a network the weights of a file, all of them and no others.

    A prefix of a wrapper (`module.`, `model.`, `_orig_mod.`) that stands before every name of the file is
    taken off if the network's own names lack it, and a line says so. A file of the part that holds all of the
    network's parameters, such as a published one of the network inside `Normalized`, is taken for that part.

    Args:
        model: Any network.
        path: As in `read_weights`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, or those of another network.
    """
    weights = read_weights(path)
    # The first of the best: as little as possible is taken off, and the whole network stands before its part.
    prefix, part = max(
        ((prefix, part) for prefix in _prefixes(weights) for part in _parts(model)),
        key=lambda choice: _agreement(weights, *choice),
    )
    try:
        part.load_state_dict({name.removeprefix(prefix): value for name, value in weights.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected weights of {type(model).__name__}, but got {path}: {reason[:200]}"
        ) from error
    if prefix:
        rank_zero_info(f"{path}: the weights were read without the `{prefix}` before all of their names.")


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
