"""The devices, the processes and the precision of an evaluation."""

import os
from dataclasses import replace

from lightning.fabric import Fabric
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from torch import nn

from lit_xai.evaluation.subjects import Subject

PRECISIONS = {"32-true": "float32", "64-true": "float64"}
_STRATEGIES = ("auto", "ddp")
_SHARDING = ("fsdp", "deepspeed", "model_parallel")
# What a user who starts one command on each machine by hand has to tell it.
_BY_HAND = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")


class _LauncherError(ValueError):
    """The options and the processes that run do not belong together."""


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
        ValueError: If the strategy shards a network or is not known, this machine has no such devices, a
            launcher has started another number of processes, several machines have no launcher, or the
            processes do not find each other.
    """
    _check_strategy(strategy)
    # For the processes that are started here: one that fails is no reason for others to print their stacks.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, strategy=strategy, num_nodes=num_nodes)
        _check_launcher(fabric, num_nodes)
        fabric.launch()
    except _LauncherError:
        raise
    except (ValueError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"Expected to start with `accelerator` {accelerator}, `devices` {devices} and `num_nodes` "
            f"{num_nodes}, but got: {reason[:200]}"
        ) from error
    return fabric


def in_precision(subject: Subject, precision: str) -> Subject:
    """Return a network whose weights, and with them all that is computed from them, have a precision.

    Args:
        subject: The network.
        precision: `32-true` or `64-true`. A network that a user has built, or trained, in another one is
            cast too, so that the card's word is true.

    Raises:
        ValueError: If it is another one.
    """
    if precision not in PRECISIONS:
        raise ValueError(
            f"Expected `precision` as {' or '.join(PRECISIONS)}, but got {precision}. In lower precision "
            "explanations differ as if they were attacked: the 100 largest gradients of bf16 and float32 "
            "agree in 88 of 100."
        )

    def load() -> nn.Module:
        network = subject.load()
        return network.double() if precision == "64-true" else network.float()

    return replace(subject, load=load)


def _check_strategy(strategy: str) -> None:
    if strategy.startswith(_SHARDING):
        raise ValueError(
            f"Expected `strategy` as {' or '.join(_STRATEGIES)}, but got {strategy}, which shards a network: "
            "explanations take the whole one apart and differentiate it twice. Each process holds one."
        )
    if strategy not in _STRATEGIES:
        raise ValueError(f"Expected `strategy` as {' or '.join(_STRATEGIES)}, but got {strategy}.")


def _check_launcher(fabric: Fabric, num_nodes: int) -> None:
    processes = getattr(fabric.strategy, "num_processes", 1) * num_nodes
    launched = _launched()
    if launched is not None and launched != processes:
        raise _LauncherError(
            f"Expected `--devices` and `--num_nodes` of the {launched} processes that were launched, but got "
            f"those of {processes}. Set `--num_nodes` to the machines, `--devices` to the processes of each."
        )
    environment = getattr(fabric.strategy, "cluster_environment", None)
    missing = [name for name in _BY_HAND if name not in os.environ]
    if num_nodes > 1 and isinstance(environment, LightningEnvironment) and missing:
        raise _LauncherError(
            f"Expected a launcher such as torchrun or srun for `--num_nodes` {num_nodes}, but got none. Or "
            f"start the command on each machine with {', '.join(missing)} set."
        )


def _launched() -> int | None:
    """Return how many processes a launcher has started, on all machines; None if there is none."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment().world_size()
    if SLURMEnvironment.detect():
        # `srun` may start fewer than the job has.
        return int(os.environ.get("SLURM_STEP_NUM_TASKS", os.environ["SLURM_NTASKS"]))
    if "LOCAL_RANK" in os.environ and "WORLD_SIZE" in os.environ:
        return int(os.environ["WORLD_SIZE"])
    return None
