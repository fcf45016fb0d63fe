"""What an evaluation costs, counted before it starts."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.memory import Memory
from lit_xai.gate import evaluating, measuring, on_network
from lit_xai.types import Batch


@dataclass
class Passes:
    """Images that went through a network.

    Attributes:
        forward: Images of all forward passes.
        backward: Images of all backward passes that reached the pixels; a second derivative counts as two.
    """

    forward: int = 0
    backward: int = 0


@contextmanager
def counting(model: nn.Module) -> Iterator[Passes]:
    """Count the passes that a network makes inside."""
    passes = Passes()

    def on_gradient(gradient: Tensor | None) -> None:
        # Chunks of one batch share a node: the others' hooks are called too, with nothing.
        passes.backward += 0 if gradient is None else len(gradient)

    def on_forward(_: nn.Module, arguments: tuple[Any, ...]) -> None:
        image = arguments[0]
        passes.forward += len(image)
        if image.requires_grad:
            image.register_hook(on_gradient)

    handle = model.register_forward_pre_hook(on_forward)
    try:
        yield passes
    finally:
        handle.remove()


def count_passes(
    grid: Grid, model: nn.Module, batch: Batch, cells: Collection[tuple[str, str]] | None = None
) -> Passes:
    """Run a prepared grid on one sample, as if it were classified correctly, and count its passes.

    Maps that a batch's cells would share are counted for each. A grid that cannot run on such images fails
    here, before anything was trained.

    Args:
        grid: Prepared; it forgets earlier samples.
        model: Maps pixels in [0, 1] to logits.
        batch: Samples; the first is used.
        cells: Names of attributions and attacks to run; all pairs if None.

    Returns:
        Passes for one sample.
    """
    with measuring():
        image, _, sample_id = on_network(model, Batch(*(tensor[:1] for tensor in batch)))
        with evaluating(model), torch.no_grad():
            label = model(image).argmax(dim=1)
        grid.reset()
        with counting(model) as passes:
            grid.update(model, Batch(image, label, sample_id), cells=cells, memory=Memory(share=False))
        grid.reset()
    return passes
