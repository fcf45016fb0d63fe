"""Figures 2, 4, 5 and 8 of Kamath et al. (2024, arXiv 2312.10534), from the rows of `scripts/lens.py`."""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from lit_xai.reporting.plots.base import Plot
from lit_xai.reporting.plots.lines import Line, line_plot, told
from lit_xai.reporting.plots.style import (
    GAP,
    LEFT,
    RIGHT,
    SMALL,
    WIDTH,
    Entry,
    Look,
    frame,
    look,
    small_multiples,
    styled,
)
from lit_xai.reporting.plots.units import Unit
from lit_xai.reporting.plots.words import family_words, in_words, shortened, slug

HEADING = "share of the top k, higher is more robust"
SHORT = {"saliency": "SG", "integrated_gradients": "IG", "deep_lift": "DeepLIFT"}
WIDTHS = (0, 1, 2, 3)
# What a figure shows: kind, half-width of the windows, whether the sets are diverse.
CURVES = {
    "top-k": ("top_k", 0, False),
    "3-LENS-recall": ("recall", 3, False),
    "3-LENS-recall-div": ("recall", 3, True),
}
BARS = {
    "top-k intersection": ("top_k", 0, False),
    "1-LENS-precision": ("precision", 1, False),
    "1-LENS-recall": ("recall", 1, False),
}
CHANCE = "maps that have nothing in common"
_CHANCE_LOOK = Look("#7a7f87", "", (0, (2.5, 2.0)))


def short(attribution: str) -> str:
    """Return the paper's name of an explanation."""
    return SHORT.get(attribution) or in_words(attribution)


def pick(rows: pd.DataFrame, score: tuple[str, int, bool], **columns: object) -> pd.DataFrame:
    """Return the rows of a score: kind, half-width of the windows, whether the sets are diverse."""
    names = {"kind": score[0], "w": score[1], "diverse": score[2], **columns}
    found = rows
    for name, value in names.items():
        found = found[found[name] == value]
    return found


def complete(rows: pd.DataFrame, scores: Iterable[tuple[str, int, bool]]) -> list[int]:
    """Return the values of k, in ascending order, at which every score was measured."""
    found = [set(pick(rows, score)["k"]) for score in scores]
    return sorted(int(k) for k in set.intersection(*found))


def series(rows: pd.DataFrame, chance: pd.DataFrame) -> list[Unit]:
    """Return a line's look for every attack, and for chance where it is known."""
    attacks = list(dict.fromkeys(rows["attack"]))
    found = [Unit(family_words(name), (), (), None, look(place)) for place, name in enumerate(attacks)]
    return [*found, Unit(CHANCE, (), (), None, _CHANCE_LOOK)] if len(chance) else found


def line(panel: int, unit: int, label: str, across: str, rows: pd.DataFrame) -> Line:
    """Return the line of rows over one of their columns."""
    rows = rows.sort_values(across)
    columns = (rows[name].to_numpy(dtype=np.float64) for name in (across, "value", "low", "high"))
    return Line(panel, unit, label, *columns)


def _over_radius(rows: pd.DataFrame, chance: pd.DataFrame, k: int, name: str) -> Plot:
    attributions = list(dict.fromkeys(rows["attribution"]))
    units, lines, titles = series(rows, chance), [], []
    for label, score in CURVES.items():
        for attribution in attributions:
            cells = pick(rows, score, k=k, attribution=attribution)
            drawn = [
                (unit, cells[cells["attack"] == attack])
                for unit, attack in enumerate(dict.fromkeys(rows["attack"]))
            ]
            for place, found in drawn:
                lines.append(line(len(titles), place, units[place].label, "eps", found))
            level = pick(chance, score, k=k) if len(chance) else chance
            if len(level):
                ends = pd.DataFrame({"eps": [cells["eps"].min(), cells["eps"].max()]})
                flat = ends.assign(**dict.fromkeys(("value", "low", "high"), level["value"].iloc[0]))
                lines.append(line(len(titles), len(units) - 1, CHANCE, "eps", flat))
            titles.append(f"{short(attribution)}: {label}")
    below = "radius, in pixel units of [0, 1]"
    figure = line_plot(units, titles, lines, heading=f"{HEADING}, k = {k}", below=below)
    title = f"Figure 2: {', '.join(CURVES)} over radius, {name}"
    return Plot(slug("figure_2", name), title, f"{title}. {told(titles, lines, 'at radius')}", figure)


def figures_2(rows: pd.DataFrame, chance: pd.DataFrame) -> list[Plot]:
    """Return a plot of the shares over the radius for each network that was attacked at several radii.

    Args:
        rows: Of `lens.collect`.
        chance: Of `lens.chance`; may be empty.
    """
    ks = complete(rows, CURVES.values())
    swept = rows.groupby("network")["eps"].nunique() > 1
    names = [name for name in dict.fromkeys(rows["network"]) if swept[name]]
    if not ks:
        return []
    with styled():
        return [_over_radius(rows[rows["network"] == name], chance, ks[0], name) for name in names]


def widths(rows: pd.DataFrame, k: int, *, diverse: bool) -> pd.DataFrame:
    """Return the rows of w-LENS-precision for w = 0, 1, 2, 3; 0 is the top-k intersection."""
    scores = [("top_k", 0, False), *(("precision", w, diverse) for w in WIDTHS[1:])]
    return pd.concat([pick(rows, score, k=k) for score in scores])


def _over_width(rows: pd.DataFrame, chance: pd.DataFrame, k: int, name: str) -> Plot:
    units, lines, titles = series(rows, chance), [], []
    rows = rows[rows["eps"] == rows["eps"].max()]
    attacks = list(dict.fromkeys(rows["attack"]))
    for attribution in dict.fromkeys(rows["attribution"]):
        for diverse in (False, True):
            cells = widths(rows[rows["attribution"] == attribution], k, diverse=diverse)
            for place, attack in enumerate(attacks):
                found = cells[cells["attack"] == attack]
                lines.append(line(len(titles), place, units[place].label, "w", found))
            if len(chance):
                level = widths(chance, k, diverse=diverse)
                level = level.assign(low=level["value"], high=level["value"])
                lines.append(line(len(titles), len(units) - 1, CHANCE, "w", level))
            titles.append(f"{short(attribution)}: w-LENS-prec{'-div' if diverse else ''}")
    heading = f"{HEADING}, k = {k}"
    figure = line_plot(units, titles, lines, heading=heading, below="w, in pixels", whole=True)
    title = f"Figure 5: w-LENS-precision over w, with and without diversity, {name}"
    return Plot(slug("figure_5", name), title, f"{title}. {told(titles, lines, 'at w =')}", figure)


def figures_5(rows: pd.DataFrame, chance: pd.DataFrame) -> list[Plot]:
    """Return a plot of w-LENS-precision over w, at the greatest radius, for each network; see `figures_2`."""
    needed = [("top_k", 0, False), *(("precision", w, d) for w in WIDTHS[1:] for d in (False, True))]
    ks = complete(rows, needed)
    if not ks:
        return []
    networks = [(name, rows[rows["network"] == name]) for name in dict.fromkeys(rows["network"])]
    with styled():
        return [_over_width(own, chance, ks[0], name) for name, own in networks if complete(own, needed)]


def under_top_k(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the first top-k attack of each network at its greatest radius and greatest k."""
    own = rows[rows["method"] == "TopK"]
    kept = [own.iloc[:0]]
    for _, cells in own.groupby("network", sort=False):
        ks = complete(cells, BARS.values())
        if ks:
            first = cells[cells["attack"] == cells["attack"].iloc[0]]
            kept.append(first[(first["eps"] == first["eps"].max()) & (first["k"] == ks[-1])])
    return pd.concat(kept)


def bars(rows: pd.DataFrame, number: int, what: str) -> list[Plot]:
    """Return a plot of three scores under the top-k attack beside each other for every network.

    Args:
        rows: Of `lens.collect`.
        number: Of the figure.
        what: The title's words for the networks.
    """
    rows = under_top_k(rows)
    if rows.empty:
        return []
    attributions, networks = list(dict.fromkeys(rows["attribution"])), list(dict.fromkeys(rows["network"]))
    looks = [look(place) for place in range(len(BARS))]
    entries = [Entry(label, own.colour, "s", "") for label, own in zip(BARS, looks, strict=True)]
    titles = [short(name) for name in attributions]
    ks = ", ".join(str(int(k)) for k in dict.fromkeys(rows["k"]))
    with styled():
        figure, panels = small_multiples(
            titles, entries, heading=f"{HEADING}, k = {ks}", below="", height=165.0
        )
        frame(panels, 0.0, 1.0)
        said = []
        for panel, attribution in zip(panels, attributions, strict=True):
            for place, score in enumerate(BARS.values()):
                cells = pick(rows, score, attribution=attribution).set_index("network").reindex(networks)
                across = np.arange(len(networks)) + 0.27 * (place - 1)
                value = cells["value"].to_numpy(dtype=np.float64)
                ends = np.clip([value - cells["low"], cells["high"] - value], 0, None)
                style = {"ecolor": "#16191d", "error_kw": {"linewidth": 0.9}}
                panel.bar(across, value, 0.25, yerr=ends, color=looks[place].colour, **style)
            room = (WIDTH - LEFT - RIGHT - GAP) / min(2, len(panels)) / len(networks)
            labels = [shortened(name, max(4, int(room / 6.2))) for name in networks]
            panel.set_xticks(range(len(networks)), labels, size=SMALL)
            said.append(f"{short(attribution)}: {_spoken(rows, attribution, networks)}.")
    title = f"Figure {number}: {what} under the top-k attack"
    return [Plot(f"figure_{number}", title, f"{title}. {' '.join(said)}", figure)]


def _spoken(rows: pd.DataFrame, attribution: str, networks: Sequence[str]) -> str:
    parts = []
    for name in networks:
        cells = rows[rows["network"] == name]
        found = [pick(cells, score, attribution=attribution)["value"] for score in BARS.values()]
        shares = [
            f"{label} {value.iloc[0]:.2f}" for label, value in zip(BARS, found, strict=True) if len(value)
        ]
        parts.append(f"{name} {', '.join(shares)}")
    return "; ".join(parts)
