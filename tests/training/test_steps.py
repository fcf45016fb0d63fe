import math
import os
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.strategies import (
    DDPStrategy,
    FSDPStrategy,
    ModelParallelStrategy,
    SingleDeviceStrategy,
)
from torch import nn

from lit_xai.training.steps import (
    check_loss,
    check_strategy,
    last_checkpoint,
    own_draws,
    warn_of_own_statistics,
)
from lit_xai.types import RegimeLoss

CPU = torch.device("cpu")


class Strategy:
    """Pretend that other processes found the same or something else."""

    def __init__(self, elsewhere: bool = False) -> None:
        self.elsewhere = elsewhere
        self.asked = 0

    def reduce_boolean_decision(self, decision, all=True):  # noqa: A002
        assert all is False
        self.asked += 1
        return decision or self.elsewhere


def trainer(strategy=None, callbacks=(), run_dir="/nowhere"):
    return SimpleNamespace(
        strategy=strategy or Strategy(),
        current_epoch=1,
        global_step=30,
        checkpoint_callbacks=list(callbacks),
        default_root_dir=str(run_dir),
    )


def loss(total: float) -> RegimeLoss:
    parts = {"cross_entropy": torch.tensor(total), "weight": torch.tensor(0.5)}
    return RegimeLoss(torch.tensor(total, requires_grad=True), torch.zeros(1, 2), parts)


def test_a_finite_loss_is_asked_for_in_every_process():
    run = trainer()
    check_loss(loss(3.0), run)
    assert run.strategy.asked == 1


@pytest.mark.parametrize(("value", "words"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_loss_that_is_not_finite_names_the_place(value, words):
    with pytest.raises(ValueError, match=r"^Expected ") as found:
        check_loss(loss(value), trainer())
    assert str(found.value) == (
        f"Expected a finite loss, but got {words} in epoch 2, step 31 (cross_entropy {words}, weight 0.5). "
        "Lower the learning rate. No checkpoint was written before."
    )


def test_a_process_stops_for_the_loss_of_another():
    with pytest.raises(ValueError, match="but got a finite one beside another process's in epoch 2, step 31"):
        check_loss(loss(1.0), trainer(Strategy(elsewhere=True)))


def test_the_newest_checkpoint_that_exists_is_named(tmp_path, monkeypatch):
    old, new = tmp_path / "old.ckpt", tmp_path / "new.ckpt"
    for seconds, path in enumerate((old, new)):
        path.touch()
        os.utime(path, (seconds, seconds))
    callbacks = [
        SimpleNamespace(last_model_path=str(old), best_model_path=""),
        SimpleNamespace(last_model_path="", best_model_path=str(new)),
        SimpleNamespace(last_model_path=str(tmp_path / "gone.ckpt"), best_model_path=""),
    ]
    assert last_checkpoint(trainer(callbacks=callbacks)) == f"The last good checkpoint is {new}."
    monkeypatch.chdir(tmp_path)
    assert last_checkpoint(trainer(callbacks=callbacks)) == "The last good checkpoint is new.ckpt."
    assert Path("new.ckpt").is_file()
    Path("resume.ckpt").touch()
    assert last_checkpoint(trainer(run_dir=tmp_path)) == "The last good checkpoint is resume.ckpt."


@pytest.mark.parametrize("strategy", [FSDPStrategy, ModelParallelStrategy])
def test_a_strategy_that_splits_the_network_is_refused(strategy):
    with pytest.raises(
        ValueError, match=rf"keeps the network whole, but got {strategy.__name__}: .* Use ddp"
    ):
        check_strategy(strategy())


def test_other_strategies_are_taken():
    check_strategy(DDPStrategy())
    check_strategy(SingleDeviceStrategy())


def test_own_draws_follow_from_the_seed_and_leave_the_others_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    drawn = []
    for seed in (5, 2**64 - 1, 5):
        with own_draws(seed, CPU):
            drawn.append(torch.rand(4))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.rand(4), expected)


def test_the_generator_is_restored_after_an_error():
    before = torch.get_rng_state()
    with pytest.raises(RuntimeError), own_draws(1, CPU):
        raise RuntimeError
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_own_draws_on_an_accelerator():
    device = torch.device("cuda", 0)
    torch.cuda.manual_seed(3)
    expected = torch.rand(4, device=device)
    torch.cuda.manual_seed(3)
    drawn = []
    for seed in (5, 6, 5):
        with own_draws(seed, device):
            drawn.append(torch.rand(4, device=device))
    assert torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(torch.rand(4, device=device), expected)


@pytest.mark.parametrize(
    ("norm", "processes", "warns"),
    [
        (nn.BatchNorm2d(2), 2, True),
        (nn.BatchNorm2d(2), 1, False),
        (nn.SyncBatchNorm(2), 2, False),
        (nn.GroupNorm(1, 2), 2, False),
    ],
)
def test_batch_norm_of_several_processes_is_warned_of(norm, processes, warns):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_own_statistics(nn.Sequential(nn.Conv2d(1, 2, 3), norm), processes)
    said = [str(warning.message) for warning in caught]
    assert len(said) == warns
    assert all("with 2 processes another network is trained than with one" in words for words in said)
