"""Train several regimes on the embedded sample, attack their explanations, and report the comparison.

python scripts/compare.py demo     three regimes in minutes, without a network connection
python scripts/compare.py study    four regimes, longer; writes results/study and the tables of both pages
"""

import os
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


@dataclass(frozen=True)
class Size:
    """How much a comparison trains and measures.

    Attributes:
        regimes: Stems of `configs/experiments/embedded_*.yaml`.
        training: Options of the training command.
        evaluation: Stem of `configs/evaluate/*.yaml`, and more options of the evaluation command.
    """

    regimes: tuple[str, ...]
    training: tuple[str, ...]
    evaluation: tuple[str, ...]


SIZES = {
    "demo": Size(("natural", "pgd", "ig_sum_norm"), (), ("quick",)),
    "study": Size(
        ("natural", "pgd", "ig_norm", "ig_sum_norm"),
        ("--trainer.max_epochs=6", "--data.init_args.max_train=5000"),
        ("standard", "--sweeps={}"),
    ),
}


def show(command: str, arguments: list[str]) -> None:
    """Write a command as the user would type it."""
    sys.stdout.write(f"\n$ python {command} {' '.join(arguments)}\n")
    sys.stdout.flush()


def last_run(experiment: str) -> Path:
    """Return the newest run directory of an experiment."""
    return max(Path("runs", experiment).iterdir(), key=lambda path: int(path.name))


def train(name: str, size: Size, regime: str) -> Path:
    """Train one regime and return its run directory."""
    from lit_xai.cli import train_cli

    experiment = f"{name}_{regime}"
    config = f"configs/experiments/embedded_{regime}.yaml"
    arguments = ["fit", "--config", config, "--experiment", experiment, *size.training]
    show("train.py", arguments)
    train_cli(arguments)
    return last_run(experiment)


def evaluate(size: Size, runs: dict[str, Path]) -> Path:
    """Evaluate all checkpoints together and return the directory of the results."""
    from lit_xai.evaluation.cli import evaluated

    checkpoints = [f"{regime}={run / 'checkpoints' / 'last.ckpt'}" for regime, run in runs.items()]
    stem, *options = size.evaluation
    arguments = [
        "-c",
        f"configs/evaluate/{stem}.yaml",
        *options,
        "--devices",
        "1",
        "--checkpoints",
        *checkpoints,
    ]
    show("evaluate.py", arguments)
    return evaluated(arguments)


def publish(results: Path) -> None:
    """Copy the results of the study to where the tables are rendered from, and render them."""
    from lit_xai.evaluation.table import comparison, headline, insert
    from lit_xai.reporting.reading import read_table

    target = ROOT / "results" / "study"
    target.mkdir(parents=True, exist_ok=True)
    for file in ("results.csv", "card.json"):
        shutil.copy(results / file, target / file)
    table = read_table(target / "results.csv")
    for name, rendered in {"README.md": headline(table), "docs/study.md": comparison(table)}.items():
        page = ROOT / name
        page.write_text(insert(page.read_text(), "study", rendered))


def main(name: str) -> None:
    """Run a comparison and say where everything is."""
    begun = time.monotonic()
    os.chdir(ROOT)
    size = SIZES[name]
    runs = {regime: train(name, size, regime) for regime in size.regimes}
    results = evaluate(size, runs)
    if name == "study":
        publish(results)
    lines = [""]
    for regime, run in runs.items():
        offline = [str(path) for path in (run / "wandb").glob("*run-*")]
        lines.append(f"{regime}: curves in {run / 'csv' / 'metrics.csv'}, W&B run in {', '.join(offline)}")
    lines += [f"Report:    {results / 'report.html'}", f"Wall time: {time.monotonic() - begun:.0f} s"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    if sys.argv[1:] not in ([name] for name in SIZES):
        sys.exit(f"Expected one of {', '.join(SIZES)}, but got {' '.join(sys.argv[1:]) or 'nothing'}.")
    main(sys.argv[1])
