import math
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from lit_xai.evaluation.training_logs import run_directory, training_log

CHANGE, ACCURACY = "robustness/saliency/top_k/change", "val/accuracy"
HEADER = f"epoch,{CHANGE},{CHANGE}_count,step,train/loss,{ACCURACY}"


def run_with(tmp_path: Path, *rows: str) -> Path:
    """Write a run whose checkpoint is a mere name."""
    for name in ("csv", "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "csv" / "metrics.csv").write_text("\n".join(rows) + "\n")
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    return tmp_path / "checkpoints" / "last.ckpt"


def rows(table) -> list[tuple]:
    assert table.columns.tolist() == ["epoch", "key", "value"]
    assert (table.epoch.dtype, table.value.dtype) == (np.int64, np.float64)
    return list(table.itertuples(index=False, name=None))


def test_sparse_rows_of_an_epoch_come_together(tmp_path):
    path = run_with(
        tmp_path, HEADER, "0,,,9,0.5,", "0,25.5,60,19,,0.75", "0,,,19,0.4,", "1,,,39,,0.5", "1,30,60,39,,"
    )
    assert rows(training_log(path, epochs=2)) == [
        (1, CHANGE, 25.5),
        (1, f"{CHANGE}_count", 60.0),
        (1, ACCURACY, 0.75),
        (2, CHANGE, 30.0),
        (2, f"{CHANGE}_count", 60.0),
        (2, ACCURACY, 0.5),
    ]


@pytest.mark.parametrize(
    ("epochs", "expected"), [(0, []), (1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (9, [1, 2, 3])]
)
def test_what_came_after_the_checkpoint_is_left_out(tmp_path, epochs, expected):
    path = run_with(tmp_path, HEADER, "0,,,1,,0.1", "1,,,2,,0.2", "2,,,3,,0.3")
    assert [epoch for epoch, *_ in rows(training_log(path, epochs=epochs))] == expected


def test_of_an_epoch_trained_twice_the_last_value_counts(tmp_path):
    path = run_with(tmp_path, HEADER, "0,1,,1,,0.1", "1,2,,2,,0.2", "1,,,2,,0.3", "0,nan,,1,,0.4")
    assert rows(training_log(path, epochs=2)) == [(1, ACCURACY, 0.4), (2, CHANGE, 2.0), (2, ACCURACY, 0.3)]


def test_an_infinite_value_is_kept(tmp_path):
    path = run_with(tmp_path, HEADER, "0,inf,,1,,")
    assert rows(training_log(path, epochs=1)) == [(1, CHANGE, math.inf)]


def test_a_last_row_that_was_cut_off_is_read_as_far_as_it_goes(tmp_path):
    path = run_with(tmp_path, HEADER, "0,1,60,1,,0.1", "1,2")
    assert rows(training_log(path, epochs=2)) == [
        (1, CHANGE, 1.0),
        (1, f"{CHANGE}_count", 60.0),
        (1, ACCURACY, 0.1),
        (2, CHANGE, 2.0),
    ]


def test_a_row_without_an_epoch_has_no_place(tmp_path):
    path = run_with(tmp_path, HEADER, ",1,,1,,0.1", "0,,,1,,0.2")
    assert rows(training_log(path, epochs=1)) == [(1, ACCURACY, 0.2)]


def test_names_may_hold_anything(tmp_path):
    path = run_with(tmp_path, 'epoch,"val/模型, ""a"""', "0,0.5")
    assert rows(training_log(path, epochs=1)) == [(1, 'val/模型, "a"', 0.5)]


@pytest.mark.parametrize("missing", ["csv/metrics.csv", "folder"])
def test_elsewhere_there_is_no_log(tmp_path, missing):
    path = run_with(tmp_path, HEADER, "0,,,1,,0.1")
    if missing == "folder":
        path = path.rename(tmp_path / "last.ckpt")
    else:
        (tmp_path / missing).unlink()
    assert rows(training_log(path)) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expected a column `epoch`, but got none"),
        (b"step,val/accuracy\n1,0.5\n", "Expected a column `epoch`, but got none"),
        (b"epoch,val/accuracy\n0,0.5\n1,high\n", "could not convert string to float: 'high'"),
        (b"epoch,val/accuracy\nfirst,0.5\n", r"invalid literal for int\(\)"),
        (b"epoch,val/accuracy\n0,0.5,0.6\n", "Expected 2 columns, but got a row of 3"),
        (b"epoch,val/accuracy\n0,\xff\n", "'utf-8' codec can't decode"),
        (b"epoch,val/accuracy\n0,0.5\x00\n", "."),
    ],
)
def test_a_damaged_log_is_a_warning(tmp_path, content, reason):
    path = run_with(tmp_path)
    (tmp_path / "csv" / "metrics.csv").write_bytes(content)
    match = rf"Expected a log of training, but got .*metrics\.csv: {reason}.* Its curves are left out\."
    with pytest.warns(UserWarning, match=match) as found:
        table = training_log(path, epochs=5)
    assert rows(table) == []
    assert [str(warning.message).count("\n") for warning in found] == [0]


class Line(pl.LightningModule):
    """A line through two points that logs how often it was seen."""

    def __init__(self, width=1):
        super().__init__()
        self.save_hyperparameters()
        self.layer = torch.nn.Linear(1, width)

    def training_step(self, batch, index):
        self.log("train/loss", loss := self.layer(batch).sum())
        return loss

    def validation_step(self, batch, index):
        self.log("val/accuracy", 10.0 * self.current_epoch + self.trainer.max_epochs)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def trained(run: Path, epochs: int, resume: Path | None = None) -> None:
    trainer = pl.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=CSVLogger(run, name="", version="csv"),
        callbacks=[
            pl.callbacks.ModelCheckpoint(run / "checkpoints", "{epoch}", save_top_k=-1, save_last=True),
            pl.callbacks.ModelCheckpoint(run / "checkpoints", "{step}", save_top_k=-1, every_n_train_steps=1),
        ],
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = torch.utils.data.DataLoader(torch.ones(2, 1))
    trainer.fit(Line(), loader, loader, ckpt_path=resume, weights_only=False)
    trainer.save_checkpoint(run / "checkpoints" / "after.ckpt")


@pytest.mark.filterwarnings("ignore")
def test_every_checkpoint_of_lightning_has_the_log_of_its_finished_epochs(tmp_path):
    trained(tmp_path, epochs=2)
    found = {
        path.stem: [value for *_, value in rows(training_log(path))]
        for path in (tmp_path / "checkpoints").iterdir()
    }
    assert found == {
        "epoch=0": [2.0],
        "epoch=1": [2.0, 12.0],
        "last": [2.0, 12.0],
        "after": [2.0, 12.0],
        "step=1": [],
        "step=2": [2.0],
        "step=3": [2.0],
        "step=4": [2.0, 12.0],
    }


@pytest.mark.filterwarnings("ignore")
def test_a_run_that_was_resumed_where_it_lies_goes_on(tmp_path):
    trained(tmp_path, epochs=2)
    before = (tmp_path / "csv" / "metrics.csv").read_text()
    trained(tmp_path, epochs=3, resume=tmp_path / "checkpoints" / "epoch=0.ckpt")
    log = tmp_path / "csv" / "metrics.csv"
    if before not in log.read_text():
        log.write_text(before + log.read_text().split("\n", 1)[1])
    last = max((tmp_path / "checkpoints").glob("last*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    assert [value for *_, value in rows(training_log(last))] == [2.0, 13.0, 23.0]


def test_a_run_directory_holds_its_checkpoints(tmp_path, monkeypatch):
    path = run_with(tmp_path)
    monkeypatch.chdir(path.parent)
    assert run_directory(path) == run_directory(Path("last.ckpt")) == tmp_path
    assert run_directory(tmp_path / "csv" / "last.ckpt") is None
