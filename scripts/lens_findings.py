"""What the results of the locality study say about the claims of Kamath et al. (2024, arXiv 2312.10534)."""

import pandas as pd

from lit_xai.reporting.plots.words import family_words
from scripts.lens_figures import BARS, CURVES, complete, pick, short, under_top_k, widths

ROBUST = ("pgd", "ig_sum_norm")
_CELL = ["network", "attribution", "attack", "eps"]


def bullets(sentences: list[str]) -> str:
    """Return sentences as a list in Markdown."""
    return "\n".join(f"- {sentence}" for sentence in sentences)


def value(rows: pd.DataFrame, score: tuple[str, int, bool], **columns: object) -> float:
    """Return the mean of the one row of a score."""
    return float(pick(rows, score, **columns)["value"].item())


def of_networks(rows: pd.DataFrame) -> str:
    """Say what Figures 4 and 8 show: locality under the top-k attack, and robust trainings beside natural."""
    tops, sentences = under_top_k(rows), []
    for attribution in dict.fromkeys(tops["attribution"]):
        own = tops[(tops["network"] == "natural") & (tops["attribution"] == attribution)]
        top_k, precision, recall = (value(own, score) for score in BARS.values())
        sentences.append(
            f"{short(attribution)} of the natural network: 1-LENS-precision {precision:.2f} and "
            f"1-LENS-recall {recall:.2f} are {precision / top_k:.1f} and {recall / top_k:.1f} times "
            f"the top-k intersection, {top_k:.2f}."
        )
    wide = rows[rows["k"] == tops["k"].iloc[0]].pivot_table(
        index=_CELL, columns=["kind", "w"], values="value"
    )
    higher = [int((wide[kind, 1] > wide["top_k", 0]).sum()) for kind in ("precision", "recall")]
    sentences.append(
        "Over all networks, explanations, attacks and radii, 1-LENS-precision is above the top-k "
        f"intersection in {higher[0]} of {len(wide)} cells, 1-LENS-recall in {higher[1]}."
    )
    return bullets([*sentences, *_beside_natural(rows, tops)])


def _beside_natural(rows: pd.DataFrame, tops: pd.DataFrame) -> list[str]:
    same = rows[(rows["attack"] == tops["attack"].iloc[0]) & (rows["eps"] == tops["eps"].iloc[0])]
    scores = {**dict.fromkeys(BARS.values(), tops), ("kendall", 0, False): same, ("kendall", 1, False): same}
    found = []
    for network in ROBUST:
        above = clearly = total = 0
        for score, cells in scores.items():
            for attribution in dict.fromkeys(tops["attribution"]):
                own, natural = (
                    pick(cells, score, network=name, attribution=attribution).iloc[0]
                    for name in (network, "natural")
                )
                rise, error = (
                    own["value"] - natural["value"],
                    (own["stderr"] ** 2 + natural["stderr"] ** 2) ** 0.5,
                )
                above, clearly, total = above + (rise > 0), clearly + (rise > 2 * error), total + 1
        found.append(
            f"{network} is above natural in {above} of {total} comparisons (five scores, two explanations), "
            f"in {clearly} of them by more than two standard errors."
        )
    return found


def over_width(rows: pd.DataFrame) -> str:
    """Say what Figure 5 shows: how w-LENS-precision grows with w, and under which attack the most."""
    last = rows[rows["eps"] == rows["eps"].max()]
    k = complete(last, CURVES.values())[0]
    sentences = []
    for diverse in (False, True):
        wide = widths(last, k, diverse=diverse).pivot_table(index=_CELL, columns="w", values="value")
        rising = int((wide.diff(axis=1).iloc[:, 1:] >= 0).all(axis=1).sum())
        sets = "diverse" if diverse else "plain"
        sentences.append(
            f"With {sets} sets the score never falls from w to w + 1 in {rising} of {len(wide)} cells."
        )
    plain = widths(last, k, diverse=False).pivot_table(index=_CELL, columns="w", values="value")
    rise = (plain[1] - plain[0]).unstack("attack")
    most = rise.idxmax(axis=1).value_counts()
    counts = ", ".join(f"{family_words(str(name))} {count}" for name, count in most.items())
    sentences.append(
        f"The rise from w = 0 to w = 1 of plain sets is largest under: {counts} "
        f"(of {len(rise)} networks and explanations)."
    )
    return bullets(sentences)


def over_radius(rows: pd.DataFrame, levels: pd.DataFrame) -> str:
    """Say what Figure 2 shows: what random signs and the top-k attack leave, and what chance reaches."""
    k = complete(rows, CURVES.values())[0]
    cells = rows[(rows["network"] == "natural") & (rows["eps"] == rows["eps"].max())]
    sentences = []
    for label, score in CURVES.items():
        parts = []
        for attribution in dict.fromkeys(cells["attribution"]):
            signs, attack = (
                value(cells, score, k=k, attribution=attribution, attack=name)
                for name in ("random_sign", "top_k")
            )
            parts.append(
                f"{short(attribution)} {signs:.2f} under random signs, {attack:.2f} under the top-k attack"
            )
        level = value(levels, score, k=k)
        sentences.append(f"{label}: {'; '.join(parts)}; two random maps reach {level:.2f}.")
    return bullets(sentences)


def of_table(found: pd.DataFrame) -> str:
    """Say what Table 2 shows: locality and diversity in every row, and PGD beside natural training."""
    local, diverse = (found["3-LR@k"] > found["top-k"]).sum(), (found["3-LR@k-div"] > found["3-LR@k"]).sum()
    wide = found.set_index(["attribution", "train"])["top-k"].unstack("train")
    rise = wide["pgd"] - wide["natural"]
    return bullets(
        [
            f"3-LR@k is above the top-k intersection in {local} of {len(found)} rows (paper: 6 of 6).",
            f"3-LR@k-div is above 3-LR@k in {diverse} of {len(found)} rows (paper: 5 of 6).",
            f"The top-k intersection of pgd is above that of natural for {int((rise > 0).sum())} of "
            f"{len(rise)} explanations (paper: 1 of 3, DeepLIFT).",
        ]
    )
