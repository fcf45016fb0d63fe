"""Render the eXIAA paper's tables and figures from evaluations of configs/evaluate/exiaa_imagenet.yaml.

    python scripts/exiaa_imagenet.py DIRECTORY ...

reads the directories that `evaluate.py` wrote, of one or several networks, and writes into `exiaa_imagenet`
in the first one: tables B.1 to B.3 (alpha down, k across, explanation change / confidence change in percent,
eXIAA above its baseline and the controls) as Markdown and CSV; figures 2 to 4 (explanation change, SSIM and
confidence change over k, a line for each alpha, the baseline dotted) as PNG and SVG; the counts of each cell.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import markdown  # noqa: E402
from lit_xai.refusal import one_line_errors  # noqa: E402

# Attacks of the study, as its figures and tables call them.
KINDS = {
    "exiaa": "eXIAA",
    "gaussian": "Gaussian",
    "gaussian_equal_l2": "Gaussian of equal L2",
    "exiaa_random_places": "random places",
}
FIGURES = {
    "change": "Explanation change, %",
    "ssim": "SSIM of the images",
    "confidence_change": "Confidence change, %",
}
SETTING = ["checkpoint", "attribution", "kind", "alpha", "k"]


def read_samples(directories: Sequence[Path]) -> pd.DataFrame:
    """Return every attacked sample, misclassified ones left out.

    Args:
        directories: Of evaluations.

    Returns:
        A row for each checkpoint, attribution, attack and sample: `kind` (the attack, or what it is a version
        of), `alpha`, `k`, `rank`, `sample_id`, `excluded` and a column for each metric.

    Raises:
        FileNotFoundError: If a directory holds no evaluation.
    """
    return pd.concat([_of_one(directory) for directory in directories], ignore_index=True)


def _of_one(directory: Path) -> pd.DataFrame:
    if not (directory / "card.json").is_file() or not (directory / "samples.parquet").is_file():
        raise FileNotFoundError(f"Expected the directory of a finished evaluation, but got {directory}.")
    card = json.loads((directory / "card.json").read_text())
    places = pd.DataFrame([_place(name, entry) for name, entry in card["attacks"].items()])
    scores = pd.read_parquet(directory / "samples.parquet")
    scores = scores[scores["attribution"] != "none"].astype({"metric": str})
    keys = ["checkpoint", "attribution", "attack", "sample_id"]
    wide = scores.pivot_table(index=keys, columns="metric", values="value", sort=False).reset_index()
    return wide.rename_axis(columns=None).merge(places, on="attack")


def _place(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    values = {key.rpartition(".")[2]: value for key, value in entry["values"].items()}
    return {
        "attack": name,
        "kind": entry["sweep"] or name,
        "alpha": values.get("alpha", float("nan")),
        "k": values.get("k", float("nan")),
        "rank": values.get("rank", float("nan")),
    }


def over_donors(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the sweep's cells with each sample's mean over its donors; a sample without any is left out."""
    sweep = samples[samples["kind"].isin(KINDS) & samples["alpha"].notna() & (samples["excluded"] == 0)]
    dropped = ["attack", "rank", "excluded"]
    grouped = sweep.drop(columns=dropped).groupby([*SETTING, "sample_id"], sort=False)
    return grouped.mean().reset_index()


def means(samples: pd.DataFrame) -> pd.DataFrame:
    """Return mean, standard deviation (`..._std`) and `count` over the samples of every cell of the sweep."""
    single = over_donors(samples)
    grouped = single.groupby(SETTING, sort=False)
    metrics = [name for name in single if name not in (*SETTING, "sample_id")]
    spread = grouped[metrics].std().add_suffix("_std")
    return grouped[metrics].mean().join(spread).join(grouped.size().rename("count")).reset_index()


def counts(samples: pd.DataFrame) -> pd.DataFrame:
    """Return, for every cell and donor, the samples that were attacked, failed and had no donor."""
    keys = [*SETTING, "rank"]
    attacked = samples.assign(attacked=1 - samples["excluded"])
    attacked["failed"] = attacked["failed"].where(attacked["excluded"] == 0, 0)
    totals = attacked.groupby(keys, sort=False, dropna=False)[["attacked", "failed", "excluded"]].sum()
    return totals.astype(int).reset_index()


def paper_table(cells: pd.DataFrame, attribution: str) -> pd.DataFrame:
    """Return one of Tables B.1 to B.3: explanation change / confidence change, alpha down and k across."""
    own = cells[cells["attribution"] == attribution]
    text = [
        f"{change:.1f} / {confidence:.2f}"
        for change, confidence in zip(own["change"], own["confidence_change"], strict=True)
    ]
    shown = own.assign(cell=text, attack=own["kind"].map(KINDS))
    keys = ["checkpoint", "alpha", "attack"]
    shown["attack"] = pd.Categorical(shown["attack"], categories=list(KINDS.values()), ordered=True)
    table = shown.pivot_table(index=keys, columns="k", values="cell", aggfunc="first", observed=True)
    table = table.reset_index().astype({"attack": str})
    return table.rename_axis(columns=None).rename(
        columns=lambda name: name if isinstance(name, str) else f"k={name:g}"
    )


def as_markdown(table: pd.DataFrame) -> str:
    """Render a table of texts and numbers."""
    rows = [
        [cell if isinstance(cell, str) else f"{cell:g}" for cell in row]
        for row in table.fillna("").to_numpy()
    ]
    return markdown([str(name) for name in table.columns], rows)


def figure(cells: pd.DataFrame, metric: str, paths: Sequence[Path]) -> None:
    """Draw a metric over k: a row of panels for each network, a column for each explanation.

    Args:
        cells: As `means` returns them.
        metric: A key of `FIGURES`.
        paths: Files to write, in the format that their names end with.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    networks, explanations = (list(dict.fromkeys(cells[name])) for name in ("checkpoint", "attribution"))
    size = (1 + 3.6 * len(explanations), 0.8 + 3.0 * len(networks))
    with mpl.rc_context({"svg.hashsalt": "lit_xai"}):
        drawing, panels = plt.subplots(
            len(networks), len(explanations), figsize=size, sharey="row", squeeze=False, layout="constrained"
        )
        for row, network in zip(panels, networks, strict=True):
            for panel, explanation in zip(row, explanations, strict=True):
                own = cells[(cells["checkpoint"] == network) & (cells["attribution"] == explanation)]
                _lines(panel, own, metric)
                panel.set_title(f"{network}, {explanation.replace('_', ' ')}", fontsize=9)
                panel.set_xlabel("k, share of the positive features")
            row[0].set_ylabel(FIGURES[metric])
        panels[0, -1].legend(fontsize=7, title="solid eXIAA, dotted Gaussian", title_fontsize=7)
        for path in paths:
            drawing.savefig(path, dpi=150, metadata={"Date": None} if path.suffix == ".svg" else None)
        plt.close(drawing)


def _lines(panel: Any, cells: pd.DataFrame, metric: str) -> None:
    from matplotlib import colormaps

    alphas = sorted(cells["alpha"].unique())
    for place, alpha in enumerate(alphas):
        color = colormaps["viridis"](place / max(1, len(alphas) - 1) * 0.9)
        for kind, style in (("exiaa", "-"), ("gaussian", ":")):
            line = cells[(cells["alpha"] == alpha) & (cells["kind"] == kind)].sort_values("k")
            label = f"alpha {alpha:g}" if kind == "exiaa" else None
            panel.plot(line["k"], line[metric], style, color=color, label=label, marker=".", markersize=3)
            if kind == "exiaa":
                low, high = (line[metric] + sign * line[f"{metric}_std"] for sign in (-1, 1))
                panel.fill_between(line["k"], low, high, color=color, alpha=0.12, linewidth=0)


def write(directories: Sequence[Path], output: Path) -> list[Path]:
    """Write every table and figure, and return the files.

    Raises:
        FileNotFoundError: If a directory holds no evaluation.
        ValueError: If the evaluations hold no eXIAA of the study's sweep.
    """
    samples = read_samples(directories)
    cells = means(samples)
    if "exiaa" not in set(cells["kind"]):
        raise ValueError(
            "Expected evaluations with a sweep of `exiaa` over alpha and k, but got none. "
            "Evaluate with -c configs/evaluate/exiaa_imagenet.yaml."
        )
    output.mkdir(parents=True, exist_ok=True)
    files = [output / "counts.csv", output / "cells.csv", output / "tables.md"]
    counts(samples).to_csv(files[0], index=False)
    cells.round(5).to_csv(files[1], index=False)
    explanations = list(dict.fromkeys(cells["attribution"]))
    tables = {name: paper_table(cells, name) for name in explanations}
    texts = [f"## {name}\n\n{as_markdown(table)}\n" for name, table in tables.items()]
    files[2].write_text("\n".join(["# Explanation change / confidence change, %\n", *texts]))
    for name, table in tables.items():
        files.append(output / f"table_{name}.csv")
        table.to_csv(files[-1], index=False)
    for metric in FIGURES:
        pair = [output / f"figure_{metric}{suffix}" for suffix in (".png", ".svg")]
        figure(cells, metric, pair)
        files.extend(pair)
    return files


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Render the eXIAA paper's tables and figures.")
    parser.add_argument("directories", type=Path, nargs="+", help="Of evaluations.")
    parser.add_argument("--output", type=Path, default=None, help="Default: exiaa_imagenet in the first one.")
    given = parser.parse_args()
    with one_line_errors():
        for path in write(given.directories, given.output or given.directories[0] / "exiaa_imagenet"):
            sys.stdout.write(f"{path}\n")
