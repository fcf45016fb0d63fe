"""Render the tables of AttEXplore's paper (Zhu et al., 2024, ICLR) from evaluations.

    python scripts/attexplore.py DIRECTORY... [--output DIRECTORY]

takes directories that evaluate.py wrote with configs/evaluate/attexplore*.yaml (`results.csv`) or that
benchmarks/frames_per_second.py wrote (`frames_per_second.csv`), and writes `attexplore.md` and a
`table_N.csv` for each table that they have values for. A network's name says which published values stand
beside its own: inception_v3, resnet50, vgg16 and vit_b_16 are the paper's. Networks whose name begins with
`vit` are in table 7 and not in table 1.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import markdown  # noqa: E402
from lit_xai.refusal import one_line_errors  # noqa: E402
from scripts.attexplore_names import ATTACKS, RIVALS  # noqa: E402

PUBLISHED = ROOT / "scripts" / "attexplore_published.csv"
GAMES = {
    "insertion_union": "Insertion",
    "deletion_union": "Deletion",
    "insertion": "Insertion, standard",
    "deletion": "Deletion, standard",
}
INFIDELITY = {"infidelity": "INFD"}
SPEED = {
    "frames_per_second": "FPS",
    "forwards": "forward passes",
    "backwards": "backward passes",
    "ratio": "time / bare passes",
}
METHODS = {
    **RIVALS,
    "attexplore": "AttEXplore",
    "input_x_gradient": "input x gradient",
    "constant_map": "constant map",
    "random_map": "random map",
}
# What infidelity is without any forecast, E[d^2].
NO_MAP = {"no_map": "no map"}
KEYS = ["network", "attribution", "metric"]


@dataclass(frozen=True)
class Table:
    """A table of the paper.

    Attributes:
        title: What it shows.
        head: Of the column of row labels.
        rows: Labels by name of the attribution.
        metrics: Labels by name of the metric.
        turned: Whether the paper has networks and metrics as rows.
    """

    title: str
    head: str
    rows: Mapping[str, str]
    metrics: Mapping[str, str]
    turned: bool = False


def _over(head: str, values: Sequence[int], name: str, title: str, *, turned: bool = False) -> Table:
    rows = {name.format(value): str(value) for value in values}
    return Table(title, head, rows, GAMES, turned)


def _attacks() -> dict[str, str]:
    rows = {"attexplore_16": "AttEXplore"}
    for name, label in ATTACKS.items():
        rows[f"attexplore_{name}_as_coded"] = f"AttEXplore-{label}"
    for name, label in ATTACKS.items():
        rows[f"attexplore_{name}"] = f"{label}, as its paper has it"
    return rows


_N16, _T, _EPS = "eps_16_samples_{}_steps_10", "eps_16_samples_20_steps_{}", "eps_{}_samples_20_steps_10"
TABLES: Mapping[int, Table] = {
    1: Table("Insertion and deletion by method", "method", METHODS, GAMES),
    2: Table("Frames per second", "method", METHODS, SPEED),
    3: _over("N", (10, 20, 30, 40, 50, 60), _N16, "Number of samples N at a radius of 16/255"),
    4: _over("T", (5, 10, 15, 20, 25, 30), _T, "Number of steps T at a radius of 16/255"),
    5: _over("eps", (8, 16, 24, 32, 40, 48), _EPS, "Radius in 255ths"),
    6: Table("The attack that is used, at a radius of 16/255", "method", _attacks(), GAMES),
    7: Table("Insertion and deletion by method on networks of attention", "method", METHODS, GAMES),
    8: Table("Infidelity by method", "network", {**METHODS, **NO_MAP}, INFIDELITY, turned=True),
    9: _over("N", range(1, 10), _N16, "Number of samples N below 10 at a radius of 16/255"),
    10: _over(
        "N",
        (*range(1, 11), 20, 30, 40, 50, 60),
        "eps_48_samples_{}_steps_10",
        "Number of samples N at a radius of 48/255",
        turned=True,
    ),
    11: _over("T", (1, 2, 3, 4), _T, "Number of steps T below 5 at a radius of 16/255"),
    12: _over("eps", range(1, 8), _EPS, "Radius below 8/255, in 255ths", turned=True),
}


def read(directories: Sequence[Path]) -> pd.DataFrame:
    """Return what the directories hold as `network`, `attribution`, `metric`, `value`, `stderr` and `count`.

    Raises:
        FileNotFoundError: If a directory has no file of results.
        ValueError: If two of them measure the same.
    """
    found = []
    for directory in directories:
        parts = [_evaluated(directory / "results.csv"), _timed(directory / "frames_per_second.csv")]
        if all(part is None for part in parts):
            raise FileNotFoundError(
                f"Expected a directory with results.csv or frames_per_second.csv, but got {directory}."
            )
        found += [part for part in parts if part is not None]
    values = pd.concat(found, ignore_index=True)
    if (double := values[values.duplicated(KEYS)]).size:
        first = "/".join(double.iloc[0][KEYS])
        raise ValueError(f"Expected each value once, but got {first} from two directories.")
    return values


def _evaluated(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    results = pd.read_csv(path, keep_default_na=False, na_values=[""]).rename(
        columns={"checkpoint": "network"}
    )
    cells = results[(results["attribution"] != "none") & (results["attack"] == "unattacked")]
    without = cells[(cells["attribution"] == "constant_map") & (cells["metric"] == "zero_map_infidelity")]
    cells = pd.concat([cells, without.assign(attribution="no_map", metric="infidelity")])
    return cells[[*KEYS, "value", "stderr", "count"]]


def _timed(path: Path) -> pd.DataFrame | None:
    if not path.is_file():
        return None
    wide = pd.read_csv(path)
    long = wide.melt(["network", "attribution", "count"], list(SPEED), "metric", "value")
    return long.assign(stderr=float("nan"))


def chosen(number: int, values: pd.DataFrame) -> pd.DataFrame:
    """Return the values of a table in the order of its rows.

    The published ones are texts in the column `published`, as they are printed; where a method was published
    for a network that was measured, but not measured itself, `value` is missing.
    """
    table = TABLES[number]
    known = values["attribution"].isin(list(table.rows)) & values["metric"].isin(list(table.metrics))
    attention = values["network"].str.startswith("vit")
    cells = values[known & {1: ~attention, 7: attention}.get(number, True)]
    published = pd.read_csv(PUBLISHED, dtype={"value": str})
    own = published[published["table"] == number].rename(columns={"value": "published"})
    if number == 2:  # The paper does not say which network it timed.
        own = own.drop(columns="network").merge(cells[["network"]].drop_duplicates(), how="cross")
    own = own.drop(columns="table").merge(cells[["network", "metric"]].drop_duplicates())
    places = {name: place for place, name in enumerate(table.rows)}
    whole = cells.merge(own, how="left", on=KEYS)
    alone = own.merge(cells[KEYS], how="left", on=KEYS, indicator=True).query("_merge == 'left_only'")
    # A table of missing values alone would change the columns' types.
    whole = pd.concat([whole, alone[[*KEYS, "published"]]]) if len(alone) else whole
    return whole.sort_values("attribution", key=lambda names: names.map(places), kind="stable")


def rendered(number: int, cells: pd.DataFrame) -> str:
    """Render cells of a table as Markdown.

    A published value stands in brackets, as it is printed, behind the measured one, or behind a dash.
    """
    if not len(cells):
        return "Not measured."
    table = TABLES[number]
    texts = {(row.network, row.metric, row.attribution): _text(row) for row in cells.itertuples()}
    measured = cells.dropna(subset="value")
    networks = list(dict.fromkeys(measured["network"]))
    metrics = [metric for metric in table.metrics if metric in set(cells["metric"])]
    columns = [(network, metric) for network in networks for metric in metrics]
    present = [name for name in table.rows if name in set(cells["attribution"])]
    if table.turned:
        heads = [table.head, *(table.rows[name] for name in present)]
        lines = [
            [_label(table, column, turned=True), *(texts.get((*column, name), "") for name in present)]
            for column in columns
        ]
    else:
        heads = [table.head, *(_label(table, column, turned=False) for column in columns)]
        lines = [
            [table.rows[name], *(texts.get((*column, name), "") for column in columns)] for name in present
        ]
    counts = measured.astype({"count": int}).groupby("network", sort=False)["count"].agg(["min", "max"])
    sizes = ", ".join(
        f"{network} {row['min']}" + (f" to {row['max']}" if row["max"] > row["min"] else "")
        for network, row in counts.iterrows()
    )
    return f"{markdown(heads, lines)}\n\nImages: {sizes}."


def _label(table: Table, column: tuple[str, str], *, turned: bool) -> str:
    network, metric = column
    return network if turned and len(table.metrics) == 1 else f"{network}: {table.metrics[metric]}"


def _text(row: object) -> str:
    value, published = (getattr(row, name) for name in ("value", "published"))
    digits = 0 if getattr(row, "metric") in ("forwards", "backwards") else 3 if abs(value) >= 1 else 4  # noqa: B009
    text = "–" if pd.isna(value) else f"{value:.{digits}f}"
    return text if pd.isna(published) else f"{text} ({published})"


def main(directories: Sequence[Path], output: Path) -> list[int]:
    """Write every table that there are values for, and return their numbers."""
    values = read(directories)
    output.mkdir(parents=True, exist_ok=True)
    parts, written = [], []
    for number, table in TABLES.items():
        cells = chosen(number, values)
        if len(cells):
            cells.to_csv(output / f"table_{number}.csv", index=False, float_format="%.6g")
            parts.append(f"## Table {number}: {table.title}\n\n{rendered(number, cells)}")
            written.append(number)
    (output / "attexplore.md").write_text("\n\n".join(["# AttEXplore", *parts]) + "\n")
    return written


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Render the tables of AttEXplore's paper from evaluations.")
    parser.add_argument("directories", type=Path, nargs="+", help="Directories that evaluate.py wrote.")
    parser.add_argument("--output", type=Path, help="Where the tables go (default: the first directory).")
    given = parser.parse_args()
    with one_line_errors():
        target = given.output or given.directories[0]
        numbers = main(given.directories, target)
        sys.stdout.write(f"Tables {', '.join(map(str, numbers))}: {target / 'attexplore.md'}\n")
