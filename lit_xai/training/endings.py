"""What the training command says when it ends, and what it leaves to others."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock

from lit_xai.runs import CONFIG, let_go
from lit_xai.training.steps import RESUME


@dataclass
class Started:
    """What a command has begun, for whatever ends it.

    Args:
        run_dir: The run, once it has a directory.
        lock: Held by the first process, once it has the run.
        fitting: Whether it is a training, which can go on after a stop.
        wandb_id: What the environment named the run of W&B before.
    """

    run_dir: Path | None = None
    lock: FileLock | None = None
    fitting: bool = False
    wandb_id: str | None = field(default_factory=lambda: os.environ.get("WANDB_RUN_ID"))

    def how_to_go_on(self) -> str:
        """Return the command that goes on with the run, or how to begin again if there is none."""
        if not self.fitting or self.run_dir is None or not (self.run_dir / CONFIG).is_file():
            return "Nothing is lost: begin again."
        return f"Go on with it: lit-xai-train fit --resume {self.run_dir}"

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


def closing_words(run_dir: Path, url: str | None) -> str:
    """Return where everything of a run is, and what can be done with it.

    Args:
        run_dir: The run.
        url: Its page in W&B, None if it is offline.
    """
    lines = [f"Run directory: {run_dir}"]
    curves = run_dir / "csv" / "metrics.csv"
    if curves.is_file():
        lines.append(f"Curves:        {curves}")
    if (run_dir / "explanations").is_dir():
        lines.append(f"Explanations:  {run_dir / 'explanations'}")
    last = run_dir / "checkpoints" / "last.ckpt"
    if last.is_file():
        lines.append(f"Evaluate it:   lit-xai-evaluate -c configs/evaluate/quick.yaml --checkpoints {last}")
    if url:
        lines.append(f"Look at it:    {url}")
    offline = [str(path) for path in sorted((run_dir / "wandb").glob("offline-run-*"))]
    lines += [f"Look at it:    wandb leet run {path}" for path in offline]
    if offline:
        # All at once: those of a run that went on are parts of one, to be sent in their order.
        lines.append(f"Sync it:       wandb sync {' '.join(offline)}")
    return "\n".join(lines) + "\n"
