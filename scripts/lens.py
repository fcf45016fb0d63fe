"""Draw figures and write a table as Kamath et al. (2024, arXiv 2312.10534) from results of evaluations.

    python scripts/lens.py RUN_DIRECTORY... [--output DIRECTORY] [--size PIXELS]

A run directory holds the `card.json` and `results.csv` of an evaluation, whatever its networks, by
configs/evaluate/lens*.yaml or another configuration with the same metrics. What the results suffice for is
drawn: Figure 2 (over the radius) and 5 (over w) for each network, at the smallest k; Figure 4 (the first
network of each directory) and 8 (all of them) at the greatest k; and Table 2. `--size` gives the side of
square images: the level that maps without anything in common reach is drawn beside.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import markdown  # noqa: E402
from lit_xai.metrics.lens import lens_precision  # noqa: E402
from lit_xai.noise import Noise  # noqa: E402
from lit_xai.refusal import one_line_errors  # noqa: E402
from lit_xai.reporting.plots.base import Plot, png, svg  # noqa: E402
from lit_xai.reporting.reading import read_table  # noqa: E402
from lit_xai.reporting.results_card import read_card  # noqa: E402
from scripts.lens_figures import bars, complete, figures_2, figures_5, pick, short  # noqa: E402

KINDS = {
    "TopKIntersection": "top_k",
    "LENSPrecision": "precision",
    "LENSRecall": "recall",
    "Spearman": "spearman",
    "Kendall": "kendall",
}
# Of metrics that leave an option to its default; correlations have no k.
DEFAULTS = {
    "TopKIntersection": {"k": 100, "w": 0},
    "LENSPrecision": {"k": 100, "w": 1},
    "LENSRecall": {"k": 100, "w": 1},
    "Spearman": {"k": 0, "w": 0},
    "Kendall": {"k": 0, "w": 0},
}
NUMBERS = ["value", "stderr", "low", "high", "count", "failed", "excluded"]
TABLE = {
    "top-k": ("top_k", 0, False),
    "3-LR@k": ("recall", 3, False),
    "3-LR@k-div": ("recall", 3, True),
}
PAIRS = 64
PNG_WIDTH = 900


def class_name(entry: Mapping[str, Any]) -> str:
    """Return the class of a part of the card, without its modules."""
    return str(entry["class_path"]).rpartition(".")[2]


def scores(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return kind, half-width, diversity and k of every metric that the paper has, by its name."""
    found = {}
    for name, entry in card["metrics"].items():
        method = class_name(entry)
        if method in KINDS:
            options = {"diverse": False, **DEFAULTS[method], **entry.get("init_args", {})}
            found[name] = {"kind": KINDS[method], **{key: options[key] for key in ("w", "diverse", "k")}}
    return found


def attacks(card: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return family, class and radius of every attack with a radius, by its name."""
    found = {}
    for name, entry in card["attacks"].items():
        eps = (entry.get("values") or {}).get("eps", entry.get("radius"))
        if eps:
            found[name] = {"attack": entry.get("sweep") or name, "method": class_name(entry), "eps": eps}
    return found


def collect(directories: list[Path]) -> pd.DataFrame:
    """Return the scores of the paper in one table, a row for each network, explanation, attack and score.

    Args:
        directories: Of evaluations. A network's name is preceded by its directory's where two have the same.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or there is no such score.
    """
    frames = []
    for directory in directories:
        card, table = read_card(directory / "card.json"), read_table(directory / "results.csv")
        rows = table[table["metric"].isin(scores(card)) & table["attack"].isin(attacks(card))]
        parts = [
            rows["metric"].map(scores(card)).apply(pd.Series),
            rows["attack"].map(attacks(card)).apply(pd.Series),
        ]
        if len(rows):
            names = rows[["checkpoint", "attribution"]].rename(columns={"checkpoint": "network"})
            frames.append(pd.concat([names, *parts, rows[NUMBERS]], axis=1).assign(source=directory.name))
    if not frames:
        raise ValueError(
            f"Expected results of LENS metrics under attacks with a radius, but got none in "
            f"{', '.join(map(str, directories))}. Evaluate by configs/evaluate/lens.yaml."
        )
    found = pd.concat(frames, ignore_index=True)
    owners = found.groupby("network")["source"].nunique()
    if len(directories) > 1 and (owners > 1).any():
        found["network"] = found["source"] + "/" + found["network"]
    return found


def chance(size: int, rows: pd.DataFrame) -> pd.DataFrame:
    """Return what two maps of independent uniform values reach in every score: the level of no likeness.

    Args:
        size: Height and width of the maps, in pixels.
        rows: Of `collect`; says which scores.
    """
    noise = Noise(0, torch.arange(PAIRS))
    first, second = (noise.child(place).uniform(torch.zeros(PAIRS, size, size)) for place in (0, 1))
    found = []
    sets = rows[rows["kind"].isin(["top_k", "precision", "recall"])]
    for kind, w, diverse, k in sets[["kind", "w", "diverse", "k"]].drop_duplicates().itertuples(index=False):
        # Precision and recall of maps of one law are the same in the mean.
        values = lens_precision(first, second, k=int(k), w=int(w), diverse=bool(diverse))
        found.append({"kind": kind, "w": w, "diverse": diverse, "k": k, "value": float(values.mean())})
    return pd.DataFrame(found)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the layout of Table 2: networks and explanations under random signs, at the greatest radius.

    Returns:
        Means at the smallest k, with the number of samples; without rows if a score is missing.
    """
    signs = rows[rows["method"] == "RandomSign"]
    lines = []
    for (network, attribution), cells in signs.groupby(["network", "attribution"], sort=False):
        ks = complete(cells, TABLE.values())
        if not ks:
            continue
        last = cells[(cells["eps"] == cells["eps"].max()) & (cells["k"] == ks[0])]
        found = {title: pick(last, score).iloc[0] for title, score in TABLE.items()}
        line = {"train": network, "attribution": short(attribution)}
        for title, row in found.items():
            line |= {title: row["value"], f"{title} error": row["stderr"]}
        counts = {name: int(last[name].iloc[0]) for name in ("count", "failed", "excluded")}
        lines.append({**line, **counts, "k": ks[0], "eps": last["eps"].iloc[0]})
    return pd.DataFrame(lines)


def table_text(found: pd.DataFrame) -> str:
    """Render Table 2 as Markdown: means with their standard errors."""
    lines = [
        [
            str(line["train"]),
            str(line["attribution"]),
            *(f"{line[title]:.4f} ± {line[f'{title} error']:.4f}" for title in TABLE),
            *(str(line[name]) for name in ("count", "failed", "excluded")),
        ]
        for line in found.to_dict("records")
    ]
    return markdown(["train", "attribution", *TABLE, "n", "failed", "excluded"], lines)


def plots(rows: pd.DataFrame, level: pd.DataFrame) -> list[Plot]:
    """Return the figures that the rows suffice for; see the top of this file."""
    firsts = [cells["network"].iloc[0] for _, cells in rows.groupby("source", sort=False)]
    found = [*figures_2(rows, level), *bars(rows[rows["network"].isin(firsts)], 4, "networks of data sets")]
    found += figures_5(rows, level)
    return found + bars(rows, 8, "networks") if rows["network"].nunique() > 1 else found


def write(directories: list[Path], output: Path, size: int | None) -> list[Path]:
    """Write figures (PNG and SVG), the table (CSV and Markdown) and the rows; return the files."""
    rows = collect(directories)
    level = pd.DataFrame() if size is None else chance(size, rows)
    output.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for plot in plots(rows, level):
        for ending, content in ((".png", png(plot, PNG_WIDTH)), (".svg", standing(plot).encode())):
            written.append(output / f"{plot.name}{ending}")
            written[-1].write_bytes(content)
    found = table(rows)
    if len(found):
        found.to_csv(output / "table_2.csv", index=False)
        (output / "table_2.md").write_text(table_text(found) + "\n")
        written += [output / "table_2.csv", output / "table_2.md"]
    for name, frame in (("rows.csv", rows), ("chance.csv", level)):
        if len(frame):
            frame.to_csv(output / name, index=False, float_format="%.6g")
            written.append(output / name)
    return written


def standing(plot: Plot) -> str:
    """Return a plot as an SVG file that needs no page around it."""
    return svg(plot).replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="DejaVu Sans" ', 1)


def main(arguments: list[str]) -> None:
    """Read the command line and write the files."""
    parser = argparse.ArgumentParser(prog="lens.py", description=__doc__.splitlines()[0])
    parser.add_argument("directories", nargs="+", type=Path, metavar="RUN_DIRECTORY")
    parser.add_argument("--output", type=Path, help="Of the files (default: lens in the first directory).")
    parser.add_argument("--size", type=int, help="Height and width of the images, for the level of chance.")
    given = parser.parse_args(arguments)
    with one_line_errors():
        files = write(given.directories, given.output or given.directories[0] / "lens", given.size)
    sys.stdout.write("".join(f"{path}\n" for path in files))


if __name__ == "__main__":
    main(sys.argv[1:])
