"""Measure AttEXplore and what its paper compares it with on two small networks, and write the page.

    python scripts/attexplore_study.py
    python scripts/attexplore_study.py publish NAME=DIRECTORY...

The first trains a narrow network of convolutions and a small one of attention on 5,000 embedded images,
evaluates both, times both, and writes results/attexplore and the tables of docs/attexplore.md. Started again,
it goes on where it was stopped. The second takes finished evaluations of other networks into both.
"""

import json
import os
import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import insert  # noqa: E402
from scripts.attexplore import TABLES, chosen, read, rendered  # noqa: E402
from scripts.attexplore_trends import measured, trends_table  # noqa: E402

RESULTS = ROOT / "results" / "attexplore"
PAGE = ROOT / "docs" / "attexplore.md"
WORK = Path("runs", "attexplore")
DATA = ("--data.init_args.max_train=5000",)
TRAINING = {
    "small_cnn": ("--trainer.max_epochs=6",),
    "vit": ("--model.model=configs/models/small_vit.yaml", "--trainer.max_epochs=8"),
}
# Name of the evaluation: its file in configs/evaluate, its network, its images.
EVALUATIONS = {
    "small_cnn_comparison": ("attexplore", "small_cnn", 128),
    "small_cnn_attacks": ("attexplore_attacks", "small_cnn", 128),
    "vit_comparison": ("attexplore_vit", "vit", 48),
    "small_cnn_parameters": ("attexplore_parameters", "small_cnn", 32),
}
GRIDS = {"small_cnn": "attexplore", "vit": "attexplore_vit"}
COLUMNS = ["checkpoint", "attribution", "attack", "metric", "value", "stderr", "count", "failed", "excluded"]
# Of the card, what says nothing of the machine's folders.
CARD = (
    "created",
    "seconds",
    "versions",
    "device",
    "precision",
    "seeds",
    "samples",
    "attributions",
    "metrics",
)


def checkpoint(network: str) -> Path:
    """Train a network unless that was done, and return its checkpoint."""
    from lit_xai.cli import train_cli

    def found() -> list[Path]:
        paths = WORK.glob(f"attexplore_{network}/[0-9]*/checkpoints/last.ckpt")
        return sorted(paths, key=lambda path: int(path.parts[-3]))

    if not found():
        options = [*TRAINING[network], *DATA, "--trainer.callbacks=[configs/callbacks/checkpoint.yaml]"]
        place = ["--experiment", f"attexplore_{network}", "--runs", str(WORK)]
        train_cli(["fit", "--config", "configs/experiments/embedded_natural.yaml", *place, *options])
    return found()[-1]


def evaluate(name: str) -> Path:
    """Make an evaluation unless that was done, and return its directory."""
    from lit_xai.evaluation.cli import evaluated

    stem, network, images = EVALUATIONS[name]
    options = ["--max_samples", str(images), "--devices", "1", "--output", str(WORK / name)]
    files = ["--checkpoints", f"{network}={checkpoint(network)}"]
    return evaluated(["-c", f"configs/evaluate/{stem}.yaml", *options, *files])


def speed(network: str) -> Path:
    """Time every explanation of a network and return the directory of the table."""
    from benchmarks.frames_per_second import main as time_all

    output = WORK / f"{network}_speed"
    grid = ["--grid", f"configs/grids/{GRIDS[network]}.yaml", "--output", str(output)]
    files = ["--networks", f"{network}={checkpoint(network)}", "--data", "configs/data/embedded_fashion.yaml"]
    time_all([*files, *grid])
    return output


def publish(directories: dict[str, Path]) -> None:
    """Take finished evaluations into the results, and render the page from all results."""
    for name, directory in directories.items():
        target = RESULTS / name
        target.mkdir(parents=True, exist_ok=True)
        if (directory / "frames_per_second.csv").is_file():
            shutil.copy(directory / "frames_per_second.csv", target)
            continue
        results = pd.read_csv(directory / "results.csv")
        results[COLUMNS].to_csv(target / "results.csv", index=False, float_format="%.6g")
        card = json.loads((directory / "card.json").read_text())
        (target / "card.json").write_text(json.dumps({key: card[key] for key in CARD}, indent=1) + "\n")
        found = measured(pd.read_parquet(directory / "samples.parquet"))
        if len(found):
            found.to_csv(target / "trends.csv", index=False, float_format="%.6g")
    PAGE.write_text(page(PAGE.read_text()))


def page(text: str) -> str:
    """Return the page with the tables that the results render."""
    values = read(sorted(path for path in RESULTS.iterdir() if path.is_dir()))
    for number in TABLES:
        text = insert(text, f"attexplore_table_{number}", rendered(number, chosen(number, values)))
    trends = [pd.read_csv(path) for path in sorted(RESULTS.glob("*/trends.csv"))]
    return insert(text, "attexplore_trends", trends_table(pd.concat(trends, ignore_index=True)))


def main(arguments: list[str]) -> None:
    """Measure and publish, or only publish."""
    os.chdir(ROOT)
    if arguments[:1] == ["publish"]:
        publish({name: Path(path) for name, _, path in (text.partition("=") for text in arguments[1:])})
        return
    directories = {name: evaluate(name) for name in EVALUATIONS}
    publish(directories | {f"{network}_speed": speed(network) for network in TRAINING})


if __name__ == "__main__":
    main(sys.argv[1:])
