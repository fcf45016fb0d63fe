"""Run the study of Kamath et al. (2024, arXiv 2312.10534) on the demo's networks, for docs/lens.md.

    python scripts/lens_study.py [evaluate | render]...

does both, or one of them: networks that are missing are trained as `make demo` trains them; results go to
results/lens, figures and tables into docs. The same command continues an evaluation that was stopped.
"""

import io
import os
import shutil
import sys
from pathlib import Path

import pandas as pd
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import insert, markdown  # noqa: E402
from lit_xai.reporting.plots.base import Plot, png  # noqa: E402
from lit_xai.reporting.plots.words import family_words  # noqa: E402
from scripts import lens_findings as findings  # noqa: E402
from scripts.compare import SIZES, last_run, train  # noqa: E402
from scripts.lens import TABLE, chance, collect, plots, table  # noqa: E402
from scripts.lens_figures import BARS, CURVES, WIDTHS, complete, pick, short, under_top_k, widths  # noqa: E402

RESULTS = ROOT / "results" / "lens"
PAGE = ROOT / "docs" / "lens.md"
CONFIGS = {"figures": "lens_fashion", "table": "lens_fashion_table"}
SHOWN = ("figure_2-natural", "figure_5-natural", "figure_8")
SIDE = 28
# Table 2 of the paper: ResNet-50 on ImageNet, top-k, 3-LR@k and 3-LR@k-div at k = 1000.
PUBLISHED = {
    ("natural", "SG"): (0.3825, 0.7875, 0.8290),
    ("natural", "DeepLIFT"): (0.2907, 0.7641, 0.8504),
    ("natural", "IG"): (0.2638, 0.7148, 0.8380),
    ("pgd", "SG"): (0.1725, 0.7245, 0.8004),
    ("pgd", "DeepLIFT"): (0.5572, 0.9746, 0.8977),
    ("pgd", "IG"): (0.1947, 0.7335, 0.8584),
}
PNG_WIDTH, COLOURS = 800, 32


def checkpoints() -> list[str]:
    """Return the demo's networks as the evaluation command takes them; those that are missing are trained."""
    size, found = SIZES["demo"], []
    for regime in size.regimes:
        missing = not any(Path("runs").glob(f"demo_{regime}/[0-9]*/checkpoints/last.ckpt"))
        run = train("demo", size, regime) if missing else last_run(f"demo_{regime}")
        found.append(f"{regime}={run / 'checkpoints' / 'last.ckpt'}")
    return found


def evaluate() -> None:
    """Measure, and keep what the page needs."""
    from lit_xai.evaluation.cli import evaluated

    files, outputs = checkpoints(), {}
    for name, config in CONFIGS.items():
        output = Path("runs", f"lens_{name}")
        if not (output / "results.csv").is_file():
            options = ["-c", f"configs/evaluate/{config}.yaml", "--devices=1", f"--output={output}"]
            evaluated([*options, "--checkpoints", *files])
        outputs[name] = output
    keep(outputs)


def keep(outputs: dict[str, Path]) -> None:
    """Write the rows of evaluations, the level of chance and the cards to the committed results.

    Args:
        outputs: Directories, by the names of `CONFIGS`.
    """
    RESULTS.mkdir(parents=True, exist_ok=True)
    rows = {name: collect([output]) for name, output in outputs.items()}
    for name, found in rows.items():
        found.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.6g")
        shutil.copy(outputs[name] / "card.json", RESULTS / f"{name}_card.json")
    levels = chance(SIDE, pd.concat(rows.values()))
    levels.to_csv(RESULTS / "chance.csv", index=False, float_format="%.6g")


def rows(name: str) -> pd.DataFrame:
    """Return committed rows."""
    return pd.read_csv(RESULTS / f"{name}.csv")


def levels() -> pd.DataFrame:
    """Return the committed level of chance."""
    return pd.read_csv(RESULTS / "chance.csv")


def mean(row: pd.Series) -> str:
    """Render a mean with its standard error."""
    return f"{row['value']:.2f} ± {row['stderr']:.2f}"


def over_radius() -> str:
    """Render Figure 2 of the natural network at the least and the greatest radius."""
    found = rows("figures")
    found = found[found["network"] == "natural"]
    k = complete(found, CURVES.values())[0]
    lines = []
    for (attribution, attack), cells in found.groupby(["attribution", "attack"], sort=False):
        for eps in (cells["eps"].min(), cells["eps"].max()):
            values = [mean(pick(cells, score, k=k, eps=eps).iloc[0]) for score in CURVES.values()]
            lines.append([short(attribution), family_words(attack), f"{eps:g}", *values])
    level = [f"{pick(levels(), score, k=k)['value'].iloc[0]:.2f}" for score in CURVES.values()]
    lines.append(["two random maps", "–", "–", *level])
    return markdown(["explanation", "attack", "eps", *CURVES], lines)


def over_width() -> str:
    """Render Figure 5: w-LENS-precision of integrated gradients of the natural network."""
    found = rows("figures")
    found = found[(found["network"] == "natural") & (found["attribution"] == "integrated_gradients")]
    found = found[found["eps"] == found["eps"].max()]
    k, lines = complete(found, CURVES.values())[0], []
    for attack in dict.fromkeys(found["attack"]):
        for diverse in (False, True):
            cells = widths(found[found["attack"] == attack], k, diverse=diverse).sort_values("w")
            values = [mean(row) for _, row in cells.iterrows()]
            lines.append([family_words(attack), "diverse" if diverse else "plain", *values])
    for diverse in (False, True):
        cells = widths(levels(), k, diverse=diverse).sort_values("w")
        kind = "diverse" if diverse else "plain"
        lines.append(["two random maps", kind, *(f"{value:.2f}" for value in cells["value"])])
    return markdown(["attack", "sets", *(f"w = {w}" for w in WIDTHS)], lines)


def networks() -> str:
    """Render Figures 4 and 8: three scores under the top-k attack, with the rank correlations."""
    found, lines = rows("figures"), []
    tops = under_top_k(found)
    for (network, attribution), cells in tops.groupby(["network", "attribution"], sort=False):
        values = [mean(pick(cells, score).iloc[0]) for score in BARS.values()]
        own = found[(found["network"] == network) & (found["attribution"] == attribution)]
        same = own[(own["attack"] == cells["attack"].iloc[0]) & (own["eps"] == cells["eps"].iloc[0])]
        values += [mean(pick(same, ("kendall", w, False)).iloc[0]) for w in (0, 1)]
        counts = [str(int(cells[name].iloc[0])) for name in ("count", "failed", "excluded")]
        lines.append([network, short(attribution), *values, *counts])
    header = ["network", "explanation", *BARS, "Kendall", "1-LENS-Kendall", "n", "failed", "excluded"]
    return markdown(header, lines)


def beside_published() -> str:
    """Render Table 2 with the published values beside those of the same training."""
    lines = []
    for row in table(rows("table")).to_dict("records"):
        published = PUBLISHED.get((row["train"], row["attribution"]), (None,) * len(TABLE))
        cells = []
        for title, value in zip(TABLE, published, strict=True):
            cells += [
                f"{row[title]:.3f} ± {row[f'{title} error']:.3f}",
                "" if value is None else f"{value:.4f}",
            ]
        counts = [str(row[name]) for name in ("count", "failed", "excluded")]
        lines.append([row["train"], row["attribution"], *cells, *counts])
    titles = [name for title in TABLE for name in (title, "paper")]
    return markdown(["train", "attribution", *titles, "n", "failed", "excluded"], lines)


TABLES = {
    "lens_figure_2": lambda: f"{over_radius()}\n\n{findings.over_radius(rows('figures'), levels())}",
    "lens_figure_5": lambda: f"{over_width()}\n\n{findings.over_width(rows('figures'))}",
    "lens_figure_8": lambda: f"{networks()}\n\n{findings.of_networks(rows('figures'))}",
    "lens_table_2": lambda: f"{beside_published()}\n\n{findings.of_table(table(rows('table')))}",
}


def bitmap(plot: Plot) -> bytes:
    """Return a figure of the page, with few colours: a quarter of the bytes."""
    buffer = io.BytesIO()
    whole = Image.open(io.BytesIO(png(plot, PNG_WIDTH))).convert("RGB")
    whole.quantize(COLOURS, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
    return buffer.getvalue()


def render() -> None:
    """Write tables and figures of the page."""
    for name, text in TABLES.items():
        PAGE.write_text(insert(PAGE.read_text(), name, text()))
    for plot in plots(rows("figures"), levels()):
        if plot.name in SHOWN:
            (PAGE.parent / f"lens_{plot.name.partition('-')[0]}.png").write_bytes(bitmap(plot))


PARTS = {"evaluate": evaluate, "render": render}


def main(names: list[str]) -> None:
    """Do the named parts, or both."""
    unknown = set(names) - PARTS.keys()
    if unknown:
        sys.exit(f"Expected {', '.join(PARTS)}, but got {' '.join(sorted(unknown))}.")
    os.chdir(ROOT)
    for name, part in PARTS.items():
        if not names or name in names:
            part()


if __name__ == "__main__":
    main(sys.argv[1:])
