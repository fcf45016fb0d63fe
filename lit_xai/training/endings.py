"""What the training command says when it ends, and what it leaves to others."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from lit_xai.programs import program
from lit_xai.runs import CONFIG, let_go
from lit_xai.shipped import evaluation_file
from lit_xai.training.steps import RESUME


@dataclass
class Started:
    """What a command has begun, for whatever ends it.

    Args:
        run_dir: The run, once it has a directory.
        lock: Held by the first process, once it has the run.
        fitting: Whether it is a training, which can go on after a stop.
        wandb_id: What the environment named the run of W&B before.
        checkpoint: What is measured, or where training begins; None for a new network.
        color: Whether the images have three channels, once it is known.
    """

    run_dir: Path | None = None
    lock: FileLock | None = None
    fitting: bool = False
    wandb_id: str | None = field(default_factory=lambda: os.environ.get("WANDB_RUN_ID"))
    checkpoint: Path | None = None
    color: bool = False

    def how_to_go_on(self) -> str:
        """Return the command that goes on with the run, or how to begin again if there is none."""
        if not self.fitting or self.run_dir is None or not (self.run_dir / CONFIG).is_file():
            return "Nothing is lost: begin again."
        return f"Go on with it: {program('lit-xai-train')} fit --resume {self.run_dir}"

    def remark(self) -> str:
        """Return the same as a line if a finished epoch is kept, nothing otherwise."""
        kept = self.fitting and self.run_dir is not None and (self.run_dir / RESUME).is_file()
        return f"{self.how_to_go_on()}\n" if kept else ""

    def end(self) -> None:
        """Release the run, and restore the environment."""
        if self.lock is not None and self.run_dir is not None:
            let_go(self.run_dir, self.lock)
        os.environ.pop("WANDB_RUN_ID", None)
        if self.wandb_id is not None:
            os.environ["WANDB_RUN_ID"] = self.wandb_id


def closing_words(
    run_dir: Path, url: str | None, checkpoint: Path | None = None, *, color: bool = False
) -> str:
    """Return where everything of a run is, and what can be done with it.

    Args:
        run_dir: The run.
        url: Its page in W&B, None if it is offline.
        checkpoint: What was measured, to be evaluated where the run wrote none.
        color: Whether the images have three channels: their radii are smaller.
    """
    lines = [f"Run directory: {run_dir}"]
    curves = run_dir / "csv" / "metrics.csv"
    if curves.is_file():
        lines.append(f"Curves:        {curves}")
    if (run_dir / "explanations").is_dir():
        lines.append(f"Explanations:  {run_dir / 'explanations'}")
    last = run_dir / "checkpoints" / "last.ckpt"
    trained = last if last.is_file() else _newest(run_dir) or checkpoint
    if trained is not None:
        command = f"{program('lit-xai-evaluate')} -c {evaluation_file(color=color)}"
        lines.append(f"Evaluate it:   {command} --checkpoints {trained}")
    if url:
        lines.append(f"Look at it:    {url}")
    offline = [str(path) for path in sorted((run_dir / "wandb").glob("offline-run-*"))]
    lines += [f"Look at it:    {program('wandb')} leet run {path}" for path in offline]
    if offline:
        # All at once: those of a run that went on are parts of one, to be sent in their order.
        lines.append(f"Sync it:       {program('wandb')} sync {' '.join(offline)}")
    return "\n".join(lines) + "\n"


def _newest(run_dir: Path) -> Path | None:
    """Return the checkpoint of a run that was written last, wherever its callback puts them."""
    found = [path for path in run_dir.rglob("*.ckpt") if path.name != RESUME]
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=None)
