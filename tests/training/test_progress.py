import io
import sys
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
from lightning.pytorch.demos.boring_classes import BoringModel

from lit_xai.training.progress import EpochLines


def test_a_line_an_epoch(capsys, tmp_path):
    trainer = pl.Trainer(
        default_root_dir=tmp_path,
        accelerator="cpu",
        max_epochs=2,
        limit_train_batches=2,
        limit_val_batches=1,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        callbacks=[EpochLines()],
    )
    trainer.fit(BoringModel())
    found = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert found == ["Epoch 1/2", "Epoch 2/2"]


@pytest.fixture
def line(monkeypatch):
    """What has reached the file after an epoch of 2.54 seconds."""

    class File(io.StringIO):
        arrived = ""

        def flush(self):
            self.arrived = self.getvalue()

    def written(**options):
        times, file = iter([10.0, 12.54]), File()
        monkeypatch.setattr(
            "lit_xai.training.progress.time", SimpleNamespace(monotonic=lambda: next(times, 99.0))
        )
        monkeypatch.setattr(sys, "stdout", file)
        numbers = {"train/loss": 0.123456, "step": 3, "v_num": "abc"}
        standard = {"is_global_zero": True, "max_epochs": 7, "current_epoch": 4, "loggers": []}
        trainer = SimpleNamespace(**{**standard, "progress_bar_metrics": numbers, **options})
        lines = EpochLines()
        lines.on_train_epoch_start(trainer, None)
        lines.on_train_epoch_end(trainer, None)
        return file.arrived

    return written


def test_a_line_has_the_time_and_the_numbers(line):
    assert line() == "Epoch 5/7: 2.5 s, train/loss 0.1235, step 3\n"


@pytest.mark.parametrize("epochs", [None, -1])
def test_a_training_without_an_end_has_no_last_epoch(line, epochs):
    assert line(max_epochs=epochs).startswith("Epoch 5: 2.5 s,")


def test_another_process_writes_no_line(line):
    assert line(is_global_zero=False) == ""
