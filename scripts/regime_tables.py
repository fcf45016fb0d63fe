"""The tables of docs/regimes.md, from results/regimes alone."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from lit_xai.evaluation.table import insert, markdown
from lit_xai.reporting.reading import read_table

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "regimes"
PAGE = ROOT / "docs" / "regimes.md"
SCORES = {"top_k": "top-k", "lens_precision": "LENS", "kendall": "Kendall"}
CLEAN = {"insertion": "insertion", "deletion": "deletion"}


def split(results: pd.DataFrame) -> pd.DataFrame:
    """Return results with the regime and the seed in columns of their own."""
    names = results["checkpoint"].str.split("/", expand=True)
    return results.assign(regime=names[0], seed=names[1] if names.shape[1] > 1 else "0")


def cell(values: pd.DataFrame, digits: int = 3) -> str:
    """Render a score of a regime: mean and range over seeds, or a mean with its standard error."""
    if len(values) > 1:
        low, high = values["value"].min(), values["value"].max()
        return f"{values['value'].mean():.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"
    row = values.iloc[0]
    return f"{row['value']:.{digits}f} ± {row['stderr']:.{digits}f}"


def span(counts: pd.Series) -> str:
    """Render numbers of samples, one for each seed."""
    least, most = counts.min(), counts.max()
    return str(least) if least == most else f"{least} to {most}"


def pick(part: pd.DataFrame, attribution: str, attack: str, metric: str) -> pd.DataFrame:
    """Return the rows of one score, one for each seed."""
    chosen = (part["attribution"] == attribution) & (part["attack"] == attack) & (part["metric"] == metric)
    return part[chosen]


def accuracies(results: pd.DataFrame, cost: pd.DataFrame) -> str:
    """Render accuracies and the cost of a training step."""
    costs = cost.set_index("regime")
    rows = []
    for regime, part in split(results).groupby("regime", sort=False):
        times = costs.loc[regime]
        rows.append(
            [
                str(regime),
                str(part["seed"].nunique()),
                cell(pick(part, "none", "unattacked", "accuracy")),
                cell(pick(part, "none", "pgd", "accuracy")),
                f"{times['cost']:.1f} [{times['least']:.1f}, {times['most']:.1f}]",
            ]
        )
    return markdown(["regime", "seeds", "accuracy", "PGD accuracy", "natural steps"], rows)


def explanations(results: pd.DataFrame, attribution: str) -> str:
    """Render what an attack leaves of one explanation under each regime, and how faithful it is."""
    rows = []
    for regime, part in split(results).groupby("regime", sort=False):
        attacked = pick(part, attribution, "top_k", "top_k")
        rows.append(
            [
                str(regime),
                *(cell(pick(part, attribution, "top_k", metric)) for metric in SCORES),
                cell(pick(part, attribution, "random_sign", "top_k")),
                cell(pick(part, attribution, "exiaa", "change"), digits=1),
                *(cell(pick(part, attribution, "unattacked", metric)) for metric in CLEAN),
                *(span(attacked[column]) for column in ("count", "failed")),
            ]
        )
    header = [
        "regime",
        *SCORES.values(),
        "top-k, random signs",
        "change, eXIAA",
        *CLEAN.values(),
        "n",
        "failed",
    ]
    return markdown(header, rows)


def standard(results: pd.DataFrame) -> str:
    """Render what the standard ensemble leaves of both explanations."""
    rows = []
    for (attribution, regime), part in results[results["attribution"] != "none"].groupby(
        ["attribution", "checkpoint"], sort=False
    ):
        scores = part.set_index("metric")
        first = scores.iloc[0]
        cells = [cell(scores.loc[[metric]]) for metric in SCORES]
        rows.append([str(attribution), str(regime), *cells, str(first["count"]), str(first["failed"])])
    return markdown(["explanation", "regime", *SCORES.values(), "n", "failed"], rows)


def fooling(results: pd.DataFrame) -> str:
    """Render accuracies, success rates and shares of empty maps before and after fooling."""
    rows = [
        [
            str(row["regime"]),
            str(row["attribution"]),
            f"{row['accuracy_before']:.3f}",
            f"{row['accuracy_after']:.3f}",
            f"{row['rate_before']:.2f}",
            f"{row['rate_after']:.2f}",
            f"{row['zero_before']:.2f}",
            f"{row['zero_after']:.2f}",
            f"{row['count_before']}, {row['count_after']}",
            str(row["refused"] or "no"),
        ]
        for row in results.to_dict("records")
    ]
    header = [
        "regime",
        "explanation",
        "accuracy before",
        "after",
        "success before",
        "after",
        "empty before",
        "after",
        "n",
        "refused",
    ]
    return markdown(header, rows)


def memory(results: pd.DataFrame) -> str:
    """Render what a step costs whose path does not fit at once."""
    rows = [
        [str(row["name"]), f"{row['median']:.2f} [{row['least']:.2f}, {row['most']:.2f}]"]
        for row in results.to_dict("records")
    ]
    return markdown(["50 points of 64 images, 5 at once", "ratio"], rows)


def _main_results() -> pd.DataFrame:
    return read_table(RESULTS / "regimes_results.csv")


TABLES: dict[str, Callable[[], str]] = {
    "regimes_memory": lambda: memory(pd.read_csv(RESULTS / "memory.csv")),
    "regimes": lambda: accuracies(_main_results(), pd.read_csv(RESULTS / "cost.csv")),
    "regimes_integrated_gradients": lambda: explanations(_main_results(), "integrated_gradients"),
    "regimes_saliency": lambda: explanations(_main_results(), "saliency"),
    "regimes_standard": lambda: standard(read_table(RESULTS / "regimes_standard_results.csv")),
    "regimes_fooling": lambda: fooling(pd.read_csv(RESULTS / "fooling.csv")),
}


def render(*names: str) -> None:
    """Write the named tables into the page."""
    page = PAGE.read_text()
    for name in names:
        page = insert(page, name, TABLES[name]())
    PAGE.write_text(page)
