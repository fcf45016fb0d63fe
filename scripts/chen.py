"""Measure the table of Chen et al. (2019, arXiv 1905.09957): accuracies, and maps under the top-k attack.

    python scripts/chen.py [train | evaluate | render]...

does all of it, or the named parts, for 20,000 images of the full Fashion-MNIST and 3 epochs. Networks go to
runs/chen_*, numbers to results/chen, tables into docs/lens.md. What is finished is not done again: the same
command continues it. The same table for the embedded sample is rendered from what `make study` measured.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import insert, markdown  # noqa: E402
from lit_xai.reporting.reading import read_table  # noqa: E402

REGIMES = {"natural": "NATURAL", "pgd": "Madry", "ig_norm": "IG-NORM", "ig_sum_norm": "IG-SUM-NORM"}
RESULTS = ROOT / "results"
FILES = {"embedded": RESULTS / "study" / "results.csv", "fashion": RESULTS / "chen" / "fashion.csv"}
PAGE = ROOT / "docs" / "lens.md"
COLUMNS = {
    ("none", "unattacked", "accuracy"): "accuracy",
    ("none", "pgd", "accuracy"): "PGD accuracy",
    ("integrated_gradients", "top_k", "top_k"): "top-k",
    ("integrated_gradients", "top_k", "kendall"): "Kendall",
}


EPOCHS = 3
OPTIONS = ("--data=configs/data/fashion_mnist.yaml", "--data.init_args.max_train=20000")


def newest(experiment: str) -> Path | None:
    """Return the newest run directory of an experiment, if there is any."""
    found = [path for path in Path("runs", experiment).glob("[0-9]*") if path.name.isdigit()]
    return max(found, key=lambda path: int(path.name), default=None)


def is_finished(run: Path) -> bool:
    """Return whether the last checkpoint of a run is that of its last epoch."""
    from lit_xai.evaluation.checkpoints import read_checkpoint

    file = run / "checkpoints" / "last.ckpt"
    return file.is_file() and read_checkpoint(file)["epoch"] == EPOCHS - 1


def command_of(regime: str) -> list[str] | None:
    """Return the options that train a network, or go on with its training, or None where it is finished."""
    experiment = f"chen_fashion_{regime}"
    run = newest(experiment)
    if run is not None:
        return None if is_finished(run) else ["--resume", str(run)]
    return [
        f"--config=configs/experiments/embedded_{regime}.yaml",
        f"--experiment={experiment}",
        "--trainer.callbacks=configs/callbacks/checkpoint.yaml",
        "--trainer.logger=configs/loggers/csv.yaml",
        f"--trainer.max_epochs={EPOCHS}",
        *OPTIONS,
    ]


def train() -> None:
    """Train the networks, each in a process of its own.

    Raises:
        SystemExit: If a training fails.
    """
    for regime in REGIMES:
        options = command_of(regime)
        if options is None:
            continue
        quiet = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
        if subprocess.run([sys.executable, "train.py", "fit", *options, *quiet], check=False).returncode:
            sys.exit(f"The training of chen_fashion_{regime} failed. The same command continues it.")
        sys.stdout.write(f"trained chen_fashion_{regime}\n")
        sys.stdout.flush()


def evaluate() -> None:
    """Measure the networks and keep the results.

    Raises:
        SystemExit: If a network is not trained.
    """
    from lit_xai.evaluation.cli import evaluated

    files = []
    for regime in REGIMES:
        run = newest(f"chen_fashion_{regime}")
        if run is None or not is_finished(run):
            sys.exit(f"Expected runs/chen_fashion_{regime}, but got none that is finished. Train it.")
        files.append(f"{regime}={run / 'checkpoints' / 'last.ckpt'}")
    arguments = ["-c", "configs/evaluate/chen.yaml", "--devices=1", "--output=runs/chen_fashion"]
    output = evaluated([*arguments, "--checkpoints", *files])
    target = FILES["fashion"]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(output / "results.csv", target)
    shutil.copy(output / "card.json", target.with_name("fashion_card.json"))


def text(name: str) -> str:
    """Render results as Markdown: a table, and what it shows; or that there are none."""
    if not FILES[name].is_file():
        return "Not measured: `make chen` does it."
    results = read_table(FILES[name])
    return f"{table(results)}\n\n{findings(results)}"


def table(results: pd.DataFrame) -> str:
    """Render means with their standard errors, a row for each training."""
    keys = ["checkpoint", "attribution", "attack", "metric"]
    cells = results.set_index(keys)
    rows = []
    for regime, title in REGIMES.items():
        found = [cells.loc[(regime, *column)] for column in COLUMNS]
        attacked = found[-1]
        counts = [str(int(attacked[column])) for column in ("count", "failed", "excluded")]
        rows.append([title, *(cell(row) for row in found), *counts])
    return markdown(["training", *COLUMNS.values(), "n", "failed", "excluded"], rows)


def findings(results: pd.DataFrame) -> str:
    """Say for each column how many of the robust trainings are above NATURAL, and which is the highest."""
    scores = results.set_index(["attribution", "attack", "metric"])
    sentences = []
    for column, title in COLUMNS.items():
        own = scores.loc[column].set_index("checkpoint")
        natural, others = own.loc["natural"], own.drop("natural")
        rise, error = (
            others["value"] - natural["value"],
            (others["stderr"] ** 2 + natural["stderr"] ** 2) ** 0.5,
        )
        above, clearly = int((rise > 0).sum()), int((rise > 2 * error).sum())
        sentences.append(
            f"{title}: {above} of {len(others)} above NATURAL, {clearly} of them by more than two standard "
            f"errors; the highest is {REGIMES[str(own['value'].idxmax())]}."
        )
    return "\n".join(f"- {sentence}" for sentence in sentences)


def cell(row: pd.Series) -> str:
    """Render a mean with its standard error."""
    return f"{row['value']:.3f} ± {row['stderr']:.3f}"


def render() -> None:
    """Write the tables into the page."""
    for name in FILES:
        PAGE.write_text(insert(PAGE.read_text(), f"chen_{name}", text(name)))


def main(words: list[str]) -> None:
    """Do the named parts, or all."""
    parts = {"train": train, "evaluate": evaluate, "render": render}
    if unknown := set(words) - parts.keys():
        sys.exit(f"Expected {', '.join(parts)}, but got {' '.join(sorted(unknown))}.")
    os.chdir(ROOT)
    for part, do in parts.items():
        if part in words or not words:
            do()


if __name__ == "__main__":
    main(sys.argv[1:])
