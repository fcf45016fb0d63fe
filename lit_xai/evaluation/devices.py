"""The devices, the processes and the precision of an evaluation."""

import os
from dataclasses import replace

from lightning.fabric import Fabric
from torch import nn

from lit_xai.evaluation.subjects import Subject

PRECISIONS = {"32-true": "float32", "64-true": "float64"}
_STRATEGIES = ("auto", "ddp")
_SHARDING = ("fsdp", "deepspeed", "model_parallel")


def started(accelerator: str, devices: int | str, strategy: str, num_nodes: int) -> Fabric:
    """Start the processes of this machine, or join those that a launcher has started.

    Args:
        accelerator: As in Lightning's Trainer.
        devices: As in Lightning's Trainer.
        strategy: `auto` or `ddp`.
        num_nodes: Machines.

    Returns:
        The devices, in every process.

    Raises:
        ValueError: If the strategy shards a network or is not known, or this machine has no such devices.
    """
    _check_strategy(strategy)
    # For the processes that are started here: one that fails is no reason for others to print their stacks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, num_nodes=num_nodes)
        fabric.launch()
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected `accelerator`, `devices` and `num_nodes` of this machine and its launcher, but got "
            f"{accelerator}, {devices} and {num_nodes}: {reason[:200]}"
        ) from error
    return fabric


def in_precision(subject: Subject, precision: str) -> Subject:
    """Return a network whose weights, and with them all that is computed from them, have a precision.

    Args:
        subject: The network.
        precision: `32-true`, which leaves the weights as they are, or `64-true`.

    Raises:
        ValueError: If it is another one.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected `precision` as {' or '.join(PRECISIONS)}, but got {precision}. In lower precision "
            "explanations differ as if they were attacked: the 100 largest gradients of bf16 and float32 "
            "agree in 88 of 100."
        )
    if precision == "32-true":
        return subject

    def load() -> nn.Module:
        return subject.load().double()

    return replace(subject, load=load)


def _check_strategy(strategy: str) -> None:
    if strategy.startswith(_SHARDING):
        raise ValueError(
            f"Expected `strategy` as {' or '.join(_STRATEGIES)}, but got {strategy}, which shards a network: "
            "explanations take the whole one apart and differentiate it twice. Each process holds one."
        )
    if strategy not in _STRATEGIES:
        raise ValueError(f"Expected `strategy` as {' or '.join(_STRATEGIES)}, but got {strategy}.")
