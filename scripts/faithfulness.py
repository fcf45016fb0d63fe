"""Score every explanation of one network by insertion and deletion, and find a sharpness for `Softened`.

    python scripts/faithfulness.py

trains a narrow network on 5,000 embedded images, scores all explanations of 500 test images, unattacked, and
writes results/faithfulness, results/agreement and the tables of docs/faithfulness.md.
"""

import os
import shutil
import sys
from pathlib import Path

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

BETAS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0)
TRAINING = ("--trainer.max_epochs=6", "--data.init_args.max_train=5000")


def newest(experiment: str) -> Path:
    """Return the newest run directory of an experiment."""
    return max(Path("runs", experiment).iterdir(), key=lambda path: int(path.name))


def train() -> Path:
    """Train the network and return its checkpoint."""
    from lit_xai.cli import train_cli

    config = "configs/experiments/embedded_natural.yaml"
    train_cli(["fit", "--config", config, "--experiment", "faithfulness", *TRAINING])
    return newest("faithfulness") / "checkpoints" / "last.ckpt"


def score(checkpoint: Path) -> Path:
    """Score every explanation and return the directory of the results."""
    from lit_xai.evaluation.cli import evaluated

    config = "configs/evaluate/faithfulness.yaml"
    return evaluated(["-c", config, "--devices", "1", "--checkpoints", f"natural={checkpoint}"])


def agreement(checkpoint: Path) -> pd.DataFrame:
    """Return the share of all test images for which the softplus network predicts the same, by sharpness."""
    from lit_xai.attributions.softened import top_one_agreement
    from lit_xai.data.embedded_fashion import EmbeddedFashion
    from lit_xai.evaluation.checkpoints import load_classifier

    model = load_classifier(checkpoint).model
    batches = EmbeddedFashion().evaluation_loader("test")
    same = torch.cat([top_one_agreement(model, image, BETAS) for image, _, _ in batches])
    return pd.DataFrame({"beta": BETAS, "agreement": same.double().mean(dim=0), "count": len(same)})


def agreement_table(results: pd.DataFrame) -> str:
    """Render the agreement of each sharpness as Markdown."""
    from lit_xai.evaluation.table import markdown

    rows = [[f"{row.beta:g}", f"{row.agreement:.3f}", str(row.count)] for row in results.itertuples()]
    return markdown(["beta", "top-1 agreement", "n"], rows)


def publish(results: Path, curve: pd.DataFrame) -> None:
    """Copy the results to where the tables are rendered from, and render them."""
    from lit_xai.evaluation.paired import main as render
    from lit_xai.evaluation.table import insert

    document = ROOT / "docs" / "faithfulness.md"
    for name in ("faithfulness", "agreement"):
        (ROOT / "results" / name).mkdir(parents=True, exist_ok=True)
    for file in ("samples.parquet", "card.json"):
        shutil.copy(results / file, ROOT / "results" / "faithfulness" / file)
    curve.to_csv(ROOT / "results" / "agreement" / "results.csv", index=False)
    render(str(ROOT / "results" / "faithfulness" / "samples.parquet"), str(document))
    document.write_text(insert(document.read_text(), "agreement", agreement_table(curve)))


if __name__ == "__main__":
    os.chdir(ROOT)
    trained = train()
    publish(score(trained), agreement(trained))
