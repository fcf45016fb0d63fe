import pytest
import torch

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
    with pytest.raises(ValueError, match="Expected `accelerator`, `devices` and `num_nodes` of this machine"):
        started(accelerator, devices, "auto", nodes)


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
    single = subject.load().float()
    state = {name: value.clone() for name, value in single.state_dict().items()}
    assert in_precision(subject, "32-true") is subject
    double = in_precision(subject, "64-true").load()
    assert {value.dtype for value in double.parameters()} == {torch.float64}
    assert all(torch.equal(value, state[name].double()) for name, value in double.state_dict().items())
