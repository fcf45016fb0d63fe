"""The README's first command, as a new user runs it, but for the installation."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.reporting.browser import EXECUTABLE, SORTED, Browser

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> tuple[Path, str]:
    """What the demo wrote, and what it said."""
    directory = tmp_path_factory.mktemp("demo")
    for name in ("lit_xai", "configs", "scripts"):
        shutil.copytree(ROOT / name, directory / name)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("WANDB", "PYTEST"))
    }
    ended = subprocess.run(
        [sys.executable, "scripts/compare.py", "demo"],
        cwd=directory,
        env={**environment, "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return directory, ended.stdout


@pytest.mark.slow
def test_the_demo_trains_attacks_and_compares_three_regimes(demo):
    directory, said = demo
    results = pd.read_csv(directory / "runs" / "evaluate" / "1" / "results.csv")
    assert list(results.checkpoint.unique()) == ["natural", "pgd", "ig_sum_norm"]
    cells = results[results.attribution == "integrated_gradients"]
    metrics = {"top_k", "lens_precision", "lens_recall", "spearman", "kendall", "change"}
    for attack in ("top_k_eps_0_05", "top_k_eps_0_1", "exiaa_alpha_0_06_k_0_2", "random_sign_eps_0_1"):
        attacked = cells[(cells.attack == attack) & cells.metric.isin(metrics)]
        assert len(attacked) == 3 * len(metrics)
        assert attacked["count"].min() >= 64
    accuracy = results[results.metric == "accuracy"].pivot(
        index="checkpoint", columns="attack", values="value"
    )
    assert accuracy.unattacked.min() > 0.65
    assert accuracy.pgd["pgd"] > accuracy.pgd["natural"] + 0.2
    top_k = cells[(cells.attack == "top_k_eps_0_1") & (cells.metric == "top_k")].set_index("checkpoint").value
    assert top_k["pgd"] > top_k["natural"]
    assert top_k["ig_sum_norm"] > top_k["natural"]
    harm = cells[cells.metric == "top_k"].pivot(index="attack", columns="checkpoint", values="value")
    assert (harm.loc["top_k_eps_0_1"] < harm.loc["random_sign_eps_0_1"] - 0.05).all()
    assert (harm.loc["top_k_eps_0_1"] < harm.loc["top_k_eps_0_05"]).all()
    assert "Report:    runs/evaluate/1/report.html" in said
    assert re.search(r"Wall time: \d+ s", said)
    for regime in ("natural", "pgd", "ig_sum_norm"):
        run = directory / "runs" / f"demo_{regime}" / "1"
        assert f"runs/demo_{regime}/1/csv/metrics.csv" in said
        curve = pd.read_csv(run / "csv" / "metrics.csv")[
            "robustness/integrated_gradients/top_k/top_k"
        ].dropna()
        assert len(curve) == 3
        assert len(list((run / "explanations").glob("*.png"))) == 3
        assert len(list((run / "wandb").glob("offline-run-*/run-*.wandb"))) == 1
        assert len(list((directory / "runs" / "evaluate" / "1" / "wandb").glob("offline-run-*"))) == 1


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 360])
def test_the_report_of_the_demo_is_shown_on_a_desk_and_on_a_phone(demo, width):
    report = demo[0] / "runs" / "evaluate" / "1" / "report.html"
    with Browser() as browser:
        browser.viewport(width)
        browser.open(report)
        assert browser.complaints == []
        asked = [address for address in browser.requests if not address.startswith("data:")]
        assert asked == [report.resolve().as_uri()]
        browser.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        browser.settle()
        assert browser.evaluate("document.documentElement.scrollWidth") <= width
        broken, clicks = browser.evaluate(SORTED)
        assert broken == []
        assert clicks > 100
        images, missing = browser.evaluate("""(() => {
          const found = Array.from(document.images);
          return [found.length, found.filter((one) => !one.complete || !one.naturalWidth).length];
        })()""")
        # Two ends of three samples, for three networks and two explanations, four pictures each.
        assert (images, missing) == (6 * 3 * 2 * 4, 0)
        assert browser.evaluate("document.querySelectorAll('svg[role=img]').length") > 10
        headings = browser.evaluate("Array.from(document.querySelectorAll('h2'), (one) => one.innerText)")
        assert {"Radius", "Epochs", "Injection strength", "Worst and best samples"} <= set(headings)
