"""The README's first command, as a new user runs it, but for the installation."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_demo_trains_attacks_and_compares_three_regimes(tmp_path):
    for name in ("lit_xai", "configs", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PYTEST"))
    }
    ended = subprocess.run(
        [sys.executable, "scripts/compare.py", "demo"],
        cwd=tmp_path,
        env={**environment, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    results = pd.read_csv(tmp_path / "runs" / "evaluate" / "1" / "results.csv")
    assert list(results.checkpoint.unique()) == ["natural", "pgd", "ig_sum_norm"]
    cells = results[results.attribution == "integrated_gradients"]
    metrics = {"top_k", "lens_precision", "lens_recall", "spearman", "kendall", "change"}
    for attack in ("top_k", "exiaa", "random_sign"):
        attacked = cells[(cells.attack == attack) & cells.metric.isin(metrics)]
        assert len(attacked) == 3 * len(metrics)
        assert attacked["count"].min() >= 128
    accuracy = results[results.metric == "accuracy"].pivot(
        index="checkpoint", columns="attack", values="value"
    )
    assert accuracy.unattacked.min() > 0.65
    assert accuracy.pgd["pgd"] > accuracy.pgd["natural"] + 0.2
    top_k = cells[(cells.attack == "top_k") & (cells.metric == "top_k")].set_index("checkpoint").value
    assert top_k["pgd"] > top_k["natural"]
    assert top_k["ig_sum_norm"] > top_k["natural"]
    assert re.search(r"Wall time: \d+ s", ended.stdout)
    for regime in ("natural", "pgd", "ig_sum_norm"):
        run = tmp_path / "runs" / f"demo_{regime}" / "1"
        assert f"runs/demo_{regime}/1/csv/metrics.csv" in ended.stdout
        curve = pd.read_csv(run / "csv" / "metrics.csv")[
            "robustness/integrated_gradients/top_k/top_k"
        ].dropna()
        assert len(curve) == 3
        assert len(list((run / "explanations").glob("*.png"))) == 3
        assert len(list((run / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
