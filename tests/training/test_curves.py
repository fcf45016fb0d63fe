import csv

import pytest
from lightning.pytorch.loggers import CSVLogger

from lit_xai.training.curves import keep_curves


def rows(path):
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def begun(directory, resumed=False, steps=0, version="csv"):
    logger = CSVLogger(directory, name="", version=version)
    keep_curves([logger], steps, resumed=resumed)
    return logger


@pytest.fixture
def path(tmp_path):
    logger = begun(tmp_path)
    for step in range(4):
        logger.log_metrics({"loss": step / 3}, step)
        logger.log_metrics({"accuracy": step / 7, "epoch": step // 2}, step)
        logger.save()
    return tmp_path / "csv" / "metrics.csv"


def test_rows_after_the_checkpoint_are_cut_and_come_again(path, tmp_path):
    before = path.read_bytes()
    logger = begun(tmp_path, resumed=True, steps=2)
    assert [row["step"] for row in rows(path)] == ["0", "0", "1", "1"]
    for step in (2, 3):
        logger.log_metrics({"loss": step / 3}, step)
        logger.log_metrics({"accuracy": step / 7, "epoch": step // 2}, step)
    logger.save()
    assert path.read_bytes() == before


@pytest.mark.parametrize("cut", [1, 3, 8, 14])
def test_a_half_written_row_does_no_harm(cut, path, tmp_path):
    path.write_bytes(path.read_bytes()[:-cut])
    begun(tmp_path, resumed=True, steps=4)
    kept = rows(path)
    assert len(kept) == (8 if cut == 1 else 7)
    assert all(None not in row.values() for row in kept)


def test_a_new_column_keeps_the_rows(path, tmp_path):
    logger = begun(tmp_path, resumed=True, steps=2)
    logger.log_metrics({"other": 1.0}, 2)
    logger.save()
    assert [row["other"] for row in rows(path)] == ["", "", "", "", "1.0"]
    assert [row["accuracy"] for row in rows(path)][1] == "0.0"


def test_a_run_that_begins_anew_keeps_nothing(path, tmp_path):
    begun(tmp_path, resumed=True, steps=0)
    assert not path.exists()


def test_numbered_versions_go_on_in_the_last_one(tmp_path):
    first = begun(tmp_path, version=None)
    first.log_metrics({"loss": 1.0}, 0)
    first.save()
    assert begun(tmp_path, resumed=True, steps=5, version=None).version == 0
    assert [row["step"] for row in rows(tmp_path / "version_0" / "metrics.csv")] == ["0"]
    assert begun(tmp_path, version=None).version == 1
