import re
from dataclasses import replace

import pytest
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.rank_zero import rank_zero_only

from lit_xai.evaluation.devices import in_precision, started
from tests.evaluation.small import small_subject


@pytest.mark.parametrize("strategy", ["fsdp", "fsdp_cpu_offload", "deepspeed_stage_3", "model_parallel"])
def test_a_strategy_that_shards_a_network_is_refused_with_the_reason(strategy):
    words = f"Expected `strategy` as auto or ddp, but got {strategy}, which shards a network"
    with pytest.raises(ValueError, match=words):
        started("cpu", 1, strategy, 1)


def test_an_unknown_strategy_is_refused():
    with pytest.raises(ValueError, match=r"Expected `strategy` as auto or ddp, but got dp\."):
        started("cpu", 1, "dp", 1)


@pytest.mark.parametrize(("accelerator", "devices", "nodes"), [("gpu", 99, 1), ("cpu", 0, 1), ("cpu", 1, 0)])
def test_devices_that_are_not_there_are_refused(accelerator, devices, nodes):
    words = f"Expected to start with `accelerator` {accelerator}, `devices` {devices} and `num_nodes` {nodes}"
    with pytest.raises(ValueError, match=words):
        started(accelerator, devices, "auto", nodes)


@pytest.fixture(autouse=True)
def _no_launcher(monkeypatch):
    # Joining a launcher's processes sets it for good.
    monkeypatch.setattr(rank_zero_only, "rank", 0)
    names = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "NODE_RANK", "GROUP_RANK")
    for name in (*names, "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_STEP_NUM_TASKS"):
        monkeypatch.delenv(name, raising=False)


TORCHRUN = {"TORCHELASTIC_RUN_ID": "none", "LOCAL_RANK": "0", "RANK": "0", "WORLD_SIZE": "2"}
SRUN = {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}
BY_HAND = {"LOCAL_RANK": "0", "WORLD_SIZE": "2"}


@pytest.mark.parametrize("launcher", [TORCHRUN, {**SRUN, "SLURM_NTASKS_PER_NODE": "2"}, BY_HAND])
@pytest.mark.parametrize(("devices", "nodes"), [(1, 1), (3, 1), (2, 2)])
def test_processes_of_a_launcher_are_all_used(monkeypatch, launcher, devices, nodes):
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    words = (
        "Expected `--devices` and `--num_nodes` of the 2 processes that were launched, but got those of "
        f"{devices * nodes}. Set `--num_nodes` to the machines, `--devices` to the processes of each."
    )
    with pytest.raises(ValueError, match=f"^{re.escape(words)}$"):
        started("cpu", devices, "auto", nodes)


@pytest.mark.parametrize(
    "launcher",
    [
        {**TORCHRUN, "WORLD_SIZE": "1"},
        {**SRUN, "SLURM_NTASKS": "1"},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS_PER_NODE": "1"},
        {**SRUN, "SLURM_JOB_NAME": "interactive"},
        {"WORLD_SIZE": "2"},
    ],
)
def test_one_launched_process_is_one(monkeypatch, launcher):
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    assert started("cpu", 1, "auto", 1).world_size == 1


@pytest.mark.parametrize("given", [{}, {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "1"}])
def test_several_machines_without_a_launcher_are_refused_at_once(monkeypatch, given):
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    missing = {"MASTER_ADDR", "MASTER_PORT", "NODE_RANK"} - given.keys()
    with pytest.raises(
        ValueError, match="Expected a launcher such as torchrun or srun for `--num_nodes` 2"
    ) as found:
        started("cpu", 1, "auto", 2)
    assert all(name in str(found.value) for name in missing)
    assert not any(name in str(found.value) for name in given)


@pytest.mark.parametrize(
    "launcher",
    [
        {**SRUN, "SLURM_NTASKS_PER_NODE": "1"},
        TORCHRUN,
        dict.fromkeys(("MASTER_ADDR", "MASTER_PORT", "NODE_RANK"), "1"),
    ],
)
def test_several_machines_with_a_launcher_are_joined(monkeypatch, launcher):
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    launched = []
    monkeypatch.setattr(Fabric, "launch", lambda _: launched.append(True))
    started("cpu", 1, "auto", 2)
    assert launched == [True]


def test_processes_that_do_not_find_each_other_are_no_wrong_device(monkeypatch):
    def launch(_: Fabric) -> None:
        raise RuntimeError("the port is\nin use")

    monkeypatch.setattr(Fabric, "launch", launch)
    words = (
        "Expected to start with `accelerator` cpu, `devices` 1 and `num_nodes` 1, but got: the port is in use"
    )
    with pytest.raises(ValueError, match=f"^{words}$"):
        started("cpu", 1, "auto", 1)


def test_one_process_is_started():
    fabric = started("cpu", 1, "auto", 1)
    assert (fabric.world_size, fabric.device) == (1, torch.device("cpu"))


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true", "16-true", "64"])
def test_a_lower_precision_is_refused_with_the_reason(precision):
    with pytest.raises(
        ValueError, match=f"but got {precision}. In lower precision explanations differ as if"
    ):
        in_precision(small_subject(), precision)


def test_double_precision_casts_the_weights():
    subject = small_subject()
    single = in_precision(subject, "32-true").load()
    state = {name: value.clone() for name, value in single.state_dict().items()}
    double = in_precision(subject, "64-true").load()
    assert {value.dtype for value in double.parameters()} == {torch.float64}
    assert all(torch.equal(value, state[name].double()) for name, value in double.state_dict().items())


def test_single_precision_casts_a_network_that_was_built_in_another():
    subject = small_subject()
    built = replace(subject, load=lambda: subject.load().double())
    single = in_precision(built, "32-true").load()
    assert {value.dtype for value in single.parameters()} == {torch.float32}
