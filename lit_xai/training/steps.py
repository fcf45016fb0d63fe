"""What keeps training steps sound: whose draws they make, when they have to stop, how they may be shared."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy, Strategy
from lightning.pytorch.utilities import rank_zero_warn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from lit_xai.refusal import SharedError
from lit_xai.types import RegimeLoss

RESUME = "resume.ckpt"
_SHARDING = (DeepSpeedStrategy, FSDPStrategy, ModelParallelStrategy)


def check_strategy(strategy: Strategy) -> None:
    """Refuse a strategy that splits a network among processes.

    Attacks and regularisers pass the network several times in a step and differentiate twice; its parameters
    are gathered for one pass, and once.

    Raises:
        ValueError: If it does.
    """
    if isinstance(strategy, _SHARDING):
        raise ValueError(
            f"Expected a strategy that keeps the network whole, but got {type(strategy).__name__}: attacks "
            "and regularisers differentiate twice, which its split parameters do not allow. Use ddp."
        )


def warn_of_own_statistics(network: nn.Module, processes: int) -> None:
    """Warn that batch norm makes training depend on the number of processes, if it does.

    Args:
        network: As it is trained.
        processes: That share each batch.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if processes > 1 and not all(isinstance(norm, nn.SyncBatchNorm) for norm in norms):
        rank_zero_warn(
            f"Batch norm uses the statistics of its own process's share: with {processes} processes another "
            "network is trained than with one. Set `sync_batchnorm` on GPUs."
        )


@contextmanager
def own_draws(seed: int, device: torch.device) -> Iterator[None]:
    """Let what a network draws, such as dropout, follow from a seed; the global generators stay as they are.

    Args:
        seed: In [0, 2^64).
        device: Of the network.
    """
    accelerated = device.type == "cuda"
    with torch.random.fork_rng([device] if accelerated else []):
        torch.default_generator.manual_seed(seed)
        if accelerated:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def check_loss(loss: RegimeLoss, trainer: pl.Trainer) -> None:
    """Stop a training whose loss is NaN or infinite, before a step is taken, in all processes at once.

    Args:
        loss: Of a batch, before any scaling.
        trainer: Knows epoch, step and checkpoints.

    Raises:
        ValueError: If the loss of any process is not finite.
    """
    finite = bool(loss.total.detach().isfinite())
    if not trainer.strategy.reduce_boolean_decision(not finite, all=False):
        return
    found = "a finite one beside another process's" if finite else f"{loss.total.item():.4g}"
    parts = ", ".join(f"{name} {value.item():.4g}" for name, value in loss.parts.items())
    raise SharedError(
        f"Expected a finite loss, but got {found} in epoch {trainer.current_epoch + 1}, "
        f"step {trainer.global_step + 1} ({parts}). Lower the learning rate. {last_checkpoint(trainer)}"
    )


def last_checkpoint(trainer: pl.Trainer) -> str:
    """Return a sentence that names the newest checkpoint of a training."""
    found = [
        Path(path)
        for callback in trainer.checkpoint_callbacks
        for path in (getattr(callback, "last_model_path", ""), getattr(callback, "best_model_path", ""))
        if path and Path(path).is_file()
    ]
    own = Path(trainer.default_root_dir) / RESUME
    if not found and not own.is_file():
        return "No checkpoint was written before."
    found = found or [own]
    newest = max(found, key=lambda path: path.stat().st_mtime_ns)
    here = Path.cwd()
    shown = newest.relative_to(here) if newest.is_relative_to(here) else newest
    return f"The last good checkpoint is {shown}."


def weight_options(trainer: pl.Trainer) -> dict[str, Any]:
    """Return options of a trainer that change the weights, as plain values."""
    return {
        "precision": str(trainer.precision),
        "gradient_clip_val": trainer.gradient_clip_val,
        "gradient_clip_algorithm": str(trainer.gradient_clip_algorithm),
        "accumulate_grad_batches": trainer.accumulate_grad_batches,
    }
