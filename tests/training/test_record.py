import lightning.pytorch as pl
import pytest
import yaml
from lightning.pytorch.loggers import Logger

from lit_xai.redaction import HIDDEN
from lit_xai.training.record import RunRecord


class Parser:
    def dump(self, config, *, skip_none):
        assert not skip_none
        return yaml.safe_dump(config)


class Sent(Logger):
    name, version = "sent", 0

    def __init__(self):
        super().__init__()
        self.params = []

    def log_hyperparams(self, params):
        self.params.append(params)

    def log_metrics(self, metrics, step):
        raise AssertionError


@pytest.fixture
def written(tmp_path):
    """Return what a record writes and sends of a configuration, when it is called twice."""

    def write(*configs):
        logger = Sent()
        trainer = pl.Trainer(
            default_root_dir=tmp_path, logger=logger, accelerator="cpu", enable_checkpointing=False
        )
        for config in configs:
            RunRecord(Parser(), config).save_config(trainer, pl.LightningModule(), "fit")
        return yaml.safe_load((tmp_path / "config.yaml").read_text()), logger.params

    return write


def test_the_run_directory_is_a_placeholder_and_secrets_are_left_out(written, tmp_path):
    config = {"resume": None, "trainer": {"dirpath": f"{tmp_path}/checkpoints"}, "log": {"api_key": "ab12"}}
    expected = {"trainer": {"dirpath": "{run_dir}/checkpoints"}, "log": {"api_key": HIDDEN}}
    assert written(config) == (expected, [expected])


def test_a_run_that_goes_on_says_what_is_other_and_keeps_what_was(written, tmp_path):
    first = {"ckpt_path": None, "trainer": {"epochs": 1, "callbacks": ["a" * 70]}}
    second = {"ckpt_path": "resume.ckpt", "trainer": {"epochs": 2, "callbacks": ["b" * 70]}}
    with pytest.warns(UserWarning, match="was given") as warned:
        now, sent = written(first, first, second)
    assert now == sent[-1] == {**second, "ckpt_path": None}
    assert [str(warning.message) for warning in warned if "given" in str(warning.message)] == [
        f"trainer.callbacks: ['{'b' * 58}... was given and is used, but it was ['{'a' * 58}... before.",
        "trainer.epochs: 2 was given and is used, but it was 1 before.",
    ]
    assert yaml.safe_load((tmp_path / "config.1.yaml").read_text()) == first
    assert not (tmp_path / "config.2.yaml").exists()
