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


def test_a_run_that_goes_on_keeps_its_first_configuration(written):
    assert written({"epochs": 1}, {"epochs": 2}) == ({"epochs": 1}, [{"epochs": 1}, {"epochs": 2}])
