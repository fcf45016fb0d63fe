from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from torch import Tensor, nn

from lit_xai.callbacks.accuracy_gate import AccuracyGate
from tests.data.test_base import TinyData
from tests.test_module import accuracy, classifier, learned, sgd, trainer, whole

FELL = r"Validation accuracy fell from 0\.\d{4} to 0\.\d{4}, by more than 0\.1: training stops"


class Breaks(Callback):
    """Turns the network's decisions around before the validation of an epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.accuracies: list[float] = []

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == self.epoch and not trainer.sanity_checking:
            with torch.no_grad():
                pl_module.model.head[-1].weight.neg_()

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if not trainer.sanity_checking:
            self.accuracies.append(accuracy(pl_module.model, *whole("val")[:2]))


def weights(network: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def gated(**options):
    return classifier(adversary=None, **{"optimizer": sgd(0.001), **options})


def trained_for(epochs: int, tmp_path) -> Tensor:
    """Return the weights after some epochs without a gate."""
    module = gated()
    trainer(tmp_path, epochs).fit(module, TinyData())
    return weights(module.model)


def test_measures_the_network_before_the_first_step(tmp_path):
    gate, module = AccuracyGate(), gated()
    trainer(tmp_path, callbacks=[gate], num_sanity_val_steps=0).fit(module, TinyData(eval_batch_size=4))
    expected = accuracy(learned(), *whole("val")[:2])
    assert gate.state_dict()["start"] == pytest.approx(expected, abs=1e-7)
    assert 0.5 < expected < 1


def test_measures_what_validation_is_limited_to(tmp_path):
    image, label, _ = whole("val")
    starts = []
    for batches in (1, 2):
        gate = AccuracyGate()
        run = trainer(tmp_path, callbacks=[gate], limit_val_batches=batches, num_sanity_val_steps=0)
        run.fit(gated(), TinyData(eval_batch_size=7))
        starts.append(gate.state_dict()["start"])
    expected = [accuracy(learned(), image[:size], label[:size]) for size in (7, 14)]
    assert starts == pytest.approx(expected, abs=1e-7)
    assert starts[0] != starts[1]


def test_measuring_leaves_no_trace(tmp_path):
    gate, module = AccuracyGate(max_drop=0.9), gated()
    run = trainer(tmp_path, 2, callbacks=[gate])
    run.fit(module, TinyData())
    assert torch.equal(weights(module.model), trained_for(2, tmp_path))
    assert all(parameter.requires_grad for parameter in module.parameters())
    expected = accuracy(module.model, *whole("val")[:2])
    assert run.callback_metrics["val/accuracy"].item() == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("epoch", [0, 1])
def test_restores_the_last_weights_inside_and_stops(tmp_path, epoch):
    gate, module, breaks = AccuracyGate(max_drop=0.1), gated(), Breaks(epoch)
    run = trainer(tmp_path, 5, callbacks=[breaks, gate])
    with pytest.warns(UserWarning, match=FELL) as caught:
        run.fit(module, TinyData())
    start, end = accuracy(learned(), *whole("val")[:2]), breaks.accuracies[-1]
    said = [str(warning.message) for warning in caught if "fell" in str(warning.message)]
    assert len(said) == 1
    assert f"from {start:.4f} to {end:.4f}, by more than 0.1" in said[0]
    assert len(breaks.accuracies) == epoch + 1
    expected = weights(learned()) if epoch == 0 else trained_for(1, tmp_path)
    assert torch.equal(weights(module.model), expected)
    assert all(value.device.type == "cpu" for value in gate.state_dict()["weights"].values())


def test_no_step_follows_in_the_middle_of_an_epoch(tmp_path):
    module = gated()
    with pytest.warns(UserWarning, match=FELL):
        trainer(tmp_path, 5, callbacks=[Breaks(0), AccuracyGate(max_drop=0.1)], val_check_interval=1).fit(
            module, TinyData()
        )
    assert torch.equal(weights(module.model), weights(learned()))


@pytest.mark.parametrize("closed", [False, True])
def test_a_drop_of_just_so_much_is_accepted(tmp_path, closed):
    module, breaks = gated(), Breaks(0)
    trainer(tmp_path, callbacks=[breaks]).fit(module, TinyData())
    drop = accuracy(learned(), *whole("val")[:2]) - breaks.accuracies[0]
    gate, again = AccuracyGate(max_drop=drop - 0.001 * closed), gated()
    run = trainer(tmp_path, callbacks=[Breaks(0), gate])
    if closed:
        with pytest.warns(UserWarning, match="Validation accuracy fell"):
            run.fit(again, TinyData())
    else:
        run.fit(again, TinyData())
    assert torch.equal(weights(again.model), weights(learned()) if closed else weights(module.model))


def test_a_checkpoint_holds_the_restored_weights(tmp_path):
    checkpoint = ModelCheckpoint(dirpath=tmp_path, save_last=True)
    options = {"callbacks": [Breaks(0), checkpoint, AccuracyGate(max_drop=0.1)], "enable_checkpointing": True}
    run = pl.Trainer(
        accelerator="cpu", max_epochs=3, logger=False, enable_progress_bar=False, enable_model_summary=False,
        default_root_dir=tmp_path, **options,
    )  # fmt: skip
    with pytest.warns(UserWarning, match=FELL):
        run.fit(gated(), TinyData())
    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)["state_dict"]
    for name, value in learned().state_dict().items():
        assert torch.equal(saved[f"model.{name}"], value)


def test_a_resumed_run_is_compared_with_its_first_start(tmp_path):
    first = trainer(tmp_path, 1, callbacks=[AccuracyGate(max_drop=0.1)])
    first.fit(gated(), TinyData())
    path = tmp_path / "middle.ckpt"
    first.save_checkpoint(path)
    stored = torch.load(path, weights_only=False)
    # Somebody else's weights: the network is not what it was when the checkpoint was written.
    for name in ("model.head.2.weight", "model.head.2.bias"):
        stored["state_dict"][name] = -stored["state_dict"][name]
    torch.save(stored, path)
    gate, module = AccuracyGate(max_drop=0.1), gated()
    with pytest.warns(UserWarning, match=FELL):
        trainer(tmp_path, 2, callbacks=[gate], num_sanity_val_steps=2).fit(
            module, TinyData(), ckpt_path=path, weights_only=False
        )
    assert gate.state_dict()["start"] == pytest.approx(accuracy(learned(), *whole("val")[:2]), abs=1e-7)
    assert torch.equal(weights(module.model), trained_for(1, tmp_path))


def test_what_it_remembers_is_plain(tmp_path):
    gate = AccuracyGate()
    trainer(tmp_path, callbacks=[gate]).fit(gated(), TinyData())
    torch.save(gate.state_dict(), tmp_path / "gate.pt")
    found = torch.load(tmp_path / "gate.pt", weights_only=True)
    assert found.keys() == {"start", "weights", "closed"}
    assert found["closed"] is False
    assert found["weights"].keys() == learned().state_dict().keys()


def test_a_second_fit_starts_anew(tmp_path):
    gate = AccuracyGate(max_drop=0.9)
    trainer(tmp_path, callbacks=[gate]).fit(gated(), TinyData())
    with torch.no_grad():
        other = learned()
        other.head[-1].weight.neg_()
    trainer(tmp_path, callbacks=[gate]).fit(gated(model=other), TinyData())
    assert gate.state_dict()["start"] < 0.5


def test_validating_alone_compares_nothing(tmp_path):
    gate, module = AccuracyGate(max_drop=0.1), gated()
    trainer(tmp_path, callbacks=[gate]).fit(module, TinyData())
    with torch.no_grad():
        module.model.head[-1].weight.neg_()
    before = weights(module.model)
    trainer(tmp_path, callbacks=[gate]).validate(module, TinyData(), verbose=False)
    assert torch.equal(weights(module.model), before)


def test_sanity_checking_compares_nothing():
    gate = AccuracyGate()
    gate.load_state_dict({"start": 1.0, "weights": {}, "closed": False})
    run = SimpleNamespace(
        sanity_checking=True,
        state=SimpleNamespace(fn="fit"),
        callback_metrics={"val/accuracy": torch.tensor(0.1)},
    )
    gate.on_validation_end(run, gated())
    assert not hasattr(run, "should_stop")


@pytest.mark.parametrize("max_drop", [0.0, 1.0, 2.0, float("nan")])
def test_refuses_a_drop_out_of_range(max_drop):
    message = rf"Expected `max_drop` in \(0, 1\), but got {max_drop:g}\. Write 2 points as 0\.02\."
    with pytest.raises(ValueError, match=message):
        AccuracyGate(max_drop)


def test_refuses_a_run_without_validation(tmp_path):
    run = trainer(tmp_path, callbacks=[AccuracyGate()], limit_val_batches=0)
    with pytest.raises(ValueError, match="Expected validation images for the AccuracyGate"):
        run.fit(gated(), TinyData())
