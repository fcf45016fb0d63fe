"""The configuration of a run, as it is written down and sent."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import yaml
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.utilities import rank_zero_warn

from lit_xai.files import write_whole
from lit_xai.redaction import redacted
from lit_xai.runs import CONFIG, take_out

_LONGEST = 60


class RunRecord(SaveConfigCallback):
    """Write the whole configuration into the run's directory and send it, nested, to every logger.

    Secrets by `redaction.redacted` are left out. When a run goes on with other options each of them is said,
    and the configuration before is kept as `config.1.yaml` and so on.
    """

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        run_dir = Path(trainer.default_root_dir)
        config = redacted(take_out(yaml.safe_load(self.parser.dump(self.config, skip_none=False)), run_dir))
        config.pop("resume", None)
        before = _read(run_dir / CONFIG)
        if before:
            config["ckpt_path"] = before.get("ckpt_path")
        if config != before:
            if before:
                _say_changes(before, config)
                (run_dir / CONFIG).replace(_free(run_dir))
            write_whole(run_dir / CONFIG, yaml.safe_dump(config, sort_keys=False))
        for logger in trainer.loggers:
            logger.log_hyperparams(config)


def _read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text()) if path.is_file() else None
    return content if isinstance(content, dict) else {}


def _free(run_dir: Path) -> Path:
    """Return the first name for an earlier configuration that is not taken."""
    number = 1
    while (run_dir / f"config.{number}.yaml").exists():
        number += 1
    return run_dir / f"config.{number}.yaml"


def _say_changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old, new = dict(_leaves(before)), dict(_leaves(now))
    for name in sorted(old.keys() | new.keys()):
        if old.get(name) != new.get(name):
            shown = (_shown(value.get(name)) for value in (new, old))
            rank_zero_warn("{}: {} was given and is used, but it was {} before.".format(name, *shown))


def _leaves(settings: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(settings, Mapping) and settings:
        for key, value in settings.items():
            yield from _leaves(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, settings


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
