"""Run every attack on three trained networks and score it by every metric.

    python scripts/attacks.py

takes the newest networks that `make demo` trained and writes results/attacks and the first tables of
docs/attacks.md.
"""

import os
import shutil
import sys
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import insert, markdown, read_results  # noqa: E402

REGIMES = ("natural", "pgd", "ig_sum_norm")
RESULTS = ROOT / "results" / "attacks"
PAGE = ROOT / "docs" / "attacks.md"


def newest(experiment: str) -> Path:
    """Return the newest run directory of an experiment.

    Raises:
        SystemExit: If there is none.
    """
    runs = list(Path("runs", experiment).glob("[0-9]*"))
    if not runs:
        sys.exit(f"Expected networks in runs/{experiment}, but got none. Run `make demo` first.")
    return max(runs, key=lambda path: int(path.name))


def checkpoint(regime: str) -> Path:
    """Return the newest network that the demo trained under a regime."""
    return newest(f"demo_{regime}") / "checkpoints" / "last.ckpt"


def measure() -> None:
    """Evaluate the three networks and keep the results."""
    from lit_xai.evaluation.cli import evaluate_cli

    files = [f"{regime}={checkpoint(regime)}" for regime in REGIMES]
    evaluate_cli(["-c", "configs/evaluate/attacks.yaml", "--devices", "1", "--checkpoints", *files])
    RESULTS.mkdir(parents=True, exist_ok=True)
    for file in ("results.csv", "card.json"):
        shutil.copy(newest("evaluate") / file, RESULTS / file)


def tables(results: pd.DataFrame) -> str:
    """Render a table for each network and explanation as Markdown: metrics down, attacks across."""
    cells = results[results["attribution"] != "none"]
    parts = []
    for (network, explanation), part in cells.groupby(["checkpoint", "attribution"], sort=False):
        parts.append(f"{explanation}, {network}\n\n{_table(part)}")
    return "\n\n".join(parts)


def _table(part: pd.DataFrame) -> str:
    attacks = list(dict.fromkeys(part["attack"]))
    rows = []
    for metric, values in part.groupby("metric", sort=False):
        by_attack = values.set_index("attack")
        rows.append([str(metric), *(_cell(by_attack.loc[attack]) for attack in attacks)])
    first = part.drop_duplicates("attack").set_index("attack")
    rows.extend(
        [f"*{column}*", *(str(first.loc[attack, column]) for attack in attacks)]
        for column in ("failed", "excluded")
    )
    tried = part.groupby("attack")["count"].max()
    rows.append(["*n*", *(str(tried[attack]) for attack in attacks)])
    return markdown(["metric", *attacks], rows)


def _cell(row: pd.Series) -> str:
    return f"{row['value']:.1f}" if abs(row["value"]) >= 10 else f"{row['value']:.3f}"


def render() -> None:
    """Write the tables into the page."""
    PAGE.write_text(insert(PAGE.read_text(), "attacks", tables(read_results(RESULTS / "results.csv"))))


if __name__ == "__main__":
    os.chdir(ROOT)
    measure()
    render()
