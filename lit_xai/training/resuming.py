"""From where a run that was stopped goes on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from jsonargparse import Namespace
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.loop import _Loop
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn

from lit_xai.files import remove_parts
from lit_xai.models.weights import read_plain
from lit_xai.module import TRAINER_KEY
from lit_xai.runs import recorded, replaced
from lit_xai.training.steps import RESUME, weight_options

_KEY, _OWNER = "lit_xai_run", "lit_xai_run_id"


class EpochCheckpoint(Callback):
    """Write `resume.ckpt` into the run directory after every epoch, once everything else is written.

    Other checkpoints are written while an epoch ends, before its last row is logged and before those of other
    callbacks. This one comes after, so that a run which goes on from it has the curves, the checkpoints and
    the callbacks' states of a run that never stopped. It also remembers whether training was told to stop.

    Args:
        resumed: Whether the run goes on, rather than begins from another's checkpoint.
        stopped: Whether a run that goes on stays stopped if it was told to stop.
    """

    def __init__(self, *, resumed: bool, stopped: bool) -> None:
        self._resumed = resumed
        self._stays_stopped = stopped
        self._at_start = False
        self._writing = False
        self._loaded: Mapping[str, Any] | None = None
        self._saved = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self._loaded = None

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        self._loaded = checkpoint.get(_KEY, {})
        self._saved = checkpoint["global_step"]
        if self._resumed and (before := self._loaded.get("run_dir")):
            # Other callbacks hold absolute paths, and begin anew where a run was moved.
            checkpoint["callbacks"] = replaced(checkpoint["callbacks"], before, trainer.default_root_dir)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        run_dir = Path(trainer.default_root_dir)
        # The other processes write nothing, and may not know the directory.
        if not trainer.is_global_zero:
            return
        checkpoint[_OWNER] = _owner(run_dir)
        if not self._writing:
            return
        checkpoint[_KEY] = {
            "run_dir": trainer.default_root_dir,
            "stopped": trainer.should_stop,
            "checkpoints": _checkpoints(run_dir),
        }
        if self._at_start:
            # The next epoch counts as ready, but nothing of it has happened yet.
            progress = checkpoint["loops"]["fit_loop"]["epoch_progress"]
            for counts in progress.values():
                counts["ready"] = counts["completed"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self._loaded is None:
            self._saved = 0
            return
        loop = trainer.fit_loop
        if self._loaded:
            # Between two epochs nothing is half-done, though Lightning takes training by steps for that.
            _Loop.restarting.fset(loop, False)  # type: ignore[attr-defined]  # noqa: FBT003
            self._stop(trainer, before=self._loaded["stopped"])
        if not loop.restarting:
            # Otherwise processes that load data begin with the order of the first epoch.
            loop._resuming_from_checkpoint = False

    def _stop(self, trainer: pl.Trainer, *, before: bool) -> None:
        if before and self._resumed and self._stays_stopped:
            trainer.should_stop = True
            rank_zero_info(
                f"This run was told to stop after {trainer.global_step} steps: nothing is left to do. "
                "Options given over `--resume` let it go on."
            )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._write(trainer, at_start=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # An epoch that `max_steps` or `max_time` cut is trained again by a run that goes on.
        if trainer.fit_loop.epoch_loop.batch_progress.is_last_batch:
            self._write(trainer, at_start=False)

    def _write(self, trainer: pl.Trainer, *, at_start: bool) -> None:
        if trainer.fast_dev_run or trainer.global_step == self._saved:  # type: ignore[attr-defined]
            return
        self._at_start, self._writing = at_start, True
        trainer.save_checkpoint(Path(trainer.default_root_dir) / RESUME, weights_only=False)
        self._writing, self._saved = False, trainer.global_step


def _checkpoints(run_dir: Path) -> list[str]:
    found = (path.relative_to(run_dir) for path in run_dir.rglob("*.ckpt"))
    return sorted(str(path) for path in found if str(path) != RESUME)


def clear_interrupted(run_dir: Path) -> int:
    """Remove what an interrupted epoch left: files half-written, and checkpoints that come again.

    Args:
        run_dir: A run that nobody else writes.

    Returns:
        The number of steps that the run has behind it, 0 if it begins anew.
    """
    remove_parts(run_dir)
    path = run_dir / RESUME
    content = read_plain(path, "a checkpoint of plain tensors") if path.is_file() else {}
    assert isinstance(content, dict)
    kept = set(content.get(_KEY, {}).get("checkpoints", []))
    steps: int = content.get("global_step", 0)
    for name in set(_checkpoints(run_dir)) - kept:
        if _own_steps(run_dir / name, _owner(run_dir)) > steps:
            (run_dir / name).unlink()
    return steps


def _owner(run_dir: Path) -> str | None:
    """Return what tells a run from others, whatever it is called."""
    name = recorded(run_dir).get("wandb_id")
    return None if name is None else str(name)


def _own_steps(path: Path, owner: str | None) -> int:
    """Return how many steps a checkpoint of this run has behind it; -1 if it is something else."""
    try:
        content = read_plain(path, "a checkpoint")
    except ValueError:
        return -1
    own = isinstance(content, dict) and _OWNER in content and content[_OWNER] == owner
    return int(content["global_step"]) if own else -1  # type: ignore[index]


def check_epoch_is_whole(path: Path, content: Mapping[str, Any]) -> None:
    """Refuse to train on from the middle of an epoch: its first images would be trained on twice.

    Args:
        path: The checkpoint.
        content: What it holds.

    Raises:
        ValueError: If it was written in the middle of an epoch.
    """
    try:
        loop = content["loops"]["fit_loop"]
        epochs, batches = loop["epoch_progress"]["current"], loop["epoch_loop.batch_progress"]
        # Between two epochs, the next one has no batch at all.
        whole = _KEY in content or batches["is_last_batch"] or not epochs["started"]
    except (KeyError, TypeError):
        return
    if not whole:
        raise ValueError(
            f"Expected a checkpoint of an epoch's end to go on from, but got {path}, of the middle of epoch "
            f"{epochs['started']}. Give another, or begin with its weights: `--model.warm_start {path}`."
        )


def check_end(content: Mapping[str, Any], trainer: Mapping[str, Any]) -> None:
    """Refuse a run that has more epochs behind it than it is to have.

    Args:
        content: What its checkpoint holds.
        trainer: Options of the trainer.

    Raises:
        ValueError: If it has.
    """
    wanted, behind = trainer.get("max_epochs"), content["epoch"]
    if wanted not in (None, -1) and wanted < behind:
        raise ValueError(
            f"Expected `max_epochs` of at least {behind}, which the run has behind it, but got {wanted}."
        )


def say_other_model(given: Namespace, used: Namespace) -> None:
    """Warn of settings of the classifier that a checkpoint's own replace.

    Args:
        given: On the command line and in its files.
        used: Of the checkpoint.
    """
    before, after = _flat(given), _flat(used)
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key) and key != "num_classes":
            rank_zero_warn(
                f"model.{key}: {before.get(key)} was given, but the checkpoint's {after.get(key)} is used."
            )


def _flat(config: Namespace) -> dict[str, Any]:
    return {str(key): value for key, value in config.items() if not isinstance(value, Namespace)}


def say_other_data(content: Mapping[str, Any], data: Mapping[str, Any]) -> None:
    """Warn of each option of the data that is another than a checkpoint's; the one that is given is used.

    Args:
        content: What the checkpoint holds.
        data: `class_path` and `init_args`.
    """
    stored = dict(content.get("datamodule_hyper_parameters", {}))
    stored["class_path"] = stored.get("_class_path", data["class_path"])
    given = {"class_path": data["class_path"], **data.get("init_args", {})}
    _say("data", stored, given)


def say_other_trainer(content: Mapping[str, Any], trainer: pl.Trainer) -> None:
    """Warn of each option of the trainer that checkpoints hold and that is given otherwise, as it is used."""
    _say("trainer", content.get(TRAINER_KEY, {}), weight_options(trainer))


def _say(part: str, stored: Mapping[str, Any], given: Mapping[str, Any]) -> None:
    for name in sorted(stored.keys() & given.keys()):
        if str(stored[name]) != str(given[name]):
            rank_zero_warn(
                f"{part}.{name}: {given[name]} was given and is used, but the checkpoint has {stored[name]}."
            )
