"""A frozen network to compare another one with."""

from pathlib import Path

import torch
from torch import Tensor, nn

_PREFIX = "model."


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network, tensors and plain values only.

    Args:
        path: A checkpoint of the training command, or a file of `torch.save(model.state_dict(), path)`.

    Returns:
        Weights by name, those of a checkpoint without its `model.`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds no weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a file of weights, but got {path}, which does not exist.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    # Whatever the bytes are taken for, they are no weights: the unpickler raises many kinds of errors.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"Expected a file of weights, but got {path}: {reason[:120]}") from error
    weights = content.get("state_dict", content) if isinstance(content, dict) else {}
    own = {name.removeprefix(_PREFIX): weights[name] for name in weights if str(name).startswith(_PREFIX)}
    weights = own or weights
    if not weights or not all(isinstance(value, Tensor) for value in weights.values()):
        raise ValueError(f"Expected a file of weights, but got {path}, which holds something else.")
    return weights


class Reference(nn.Module):
    """A network as it was, in evaluation mode and frozen for good.

    Args:
        network: Maps pixels in [0, 1] to logits.
        checkpoint: Its weights: a checkpoint of the training command or a saved `state_dict`; if None, those
            it has.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file holds no weights, or those of another network.
    """

    def __init__(self, network: nn.Module, checkpoint: Path | None = None) -> None:
        super().__init__()
        if checkpoint is not None:
            try:
                network.load_state_dict(read_weights(Path(checkpoint)))
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise ValueError(
                    f"Expected weights of {type(network).__name__}, but got {checkpoint}: {reason[:200]}"
                ) from error
        self.network = network.requires_grad_(requires_grad=False)
        self.eval()

    def train(self, mode: bool = True) -> "Reference":  # noqa: FBT001, FBT002
        """Stay in evaluation mode, whatever is asked."""
        del mode
        return super().train(mode=False)

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (N, K), of pixels in [0, 1], (N, C, H, W)."""
        logits: Tensor = self.network(image)
        return logits
