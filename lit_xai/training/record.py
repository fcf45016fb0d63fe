"""The configuration of a run, as it is written down and sent."""

from pathlib import Path

import lightning.pytorch as pl
import yaml
from lightning.pytorch.cli import SaveConfigCallback

from lit_xai.files import write_whole
from lit_xai.redaction import redacted
from lit_xai.runs import CONFIG, take_out


class RunRecord(SaveConfigCallback):
    """Write the whole configuration into a new run's directory and send it, nested, to every logger.

    Secrets by `redaction.redacted` are left out.
    """

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        run_dir = Path(trainer.default_root_dir)
        config = redacted(take_out(yaml.safe_load(self.parser.dump(self.config, skip_none=False)), run_dir))
        config.pop("resume", None)
        if not (run_dir / CONFIG).exists():
            write_whole(run_dir / CONFIG, yaml.safe_dump(config, sort_keys=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)
