"""Files of weights, read without running what they hold."""

from pathlib import Path

import torch
from torch import Tensor, nn

_PREFIX = "model."


def read_plain(path: Path, what: str) -> object:
    """Read a file of `torch.save`, tensors and plain values only.

    Args:
        path: The file.
        what: What it should hold, for the message.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or holds anything that would run code.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected {what}, but got {path}, which does not exist.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # Whatever the bytes are taken for, they are no weights: the unpickler raises many kinds of errors.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected {what}, but got {path}: {reason[:120]}") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network.

    Args:
        path: A checkpoint of the training command, or a file of `torch.save(model.state_dict(), path)`.

    Returns:
        Weights by name, those of a checkpoint's network without their `model.`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights.
    """
    content = read_plain(path, "a file of weights")
    weights = content if isinstance(content, dict) else {}
    if isinstance(weights.get("state_dict"), dict):
        whole = weights["state_dict"]
        weights = {
            str(name).removeprefix(_PREFIX): whole[name] for name in whole if str(name).startswith(_PREFIX)
        }
    if not weights or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in weights.items()
    ):
        raise ValueError(f"Expected a file of weights, but got {path}, which holds something else.")
    return weights


def load_weights(model: nn.Module, path: Path) -> None:
    """Give a network the weights of a file.

    Args:
        model: Any network.
        path: As in `read_weights`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights, or those of another network.
    """
    try:
        model.load_state_dict(read_weights(path))
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected weights of {type(model).__name__}, but got {path}: {reason[:200]}"
        ) from error
