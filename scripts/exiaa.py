"""Sweep eXIAA against its controls, compare its blends, and repeat its paper's two ablations.

    python scripts/exiaa.py

takes the newest network that `make demo` trained without a defence and writes results/exiaa and the tables of
docs/attacks.md.
"""

import os
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.attacks.base import Attack  # noqa: E402
from lit_xai.attacks.blending import LocalContrastBlend, PlainBlend  # noqa: E402
from lit_xai.attacks.exiaa import EXIAA  # noqa: E402
from lit_xai.attacks.gaussian import GaussianInjection, MatchedGaussian  # noqa: E402
from lit_xai.attacks.poisson import PoissonBlend  # noqa: E402
from lit_xai.evaluation.table import insert, markdown  # noqa: E402
from scripts.attacks import PAGE, checkpoint  # noqa: E402

RESULTS = ROOT / "results" / "exiaa"
ALPHAS = (0.03, 0.06, 0.09, 0.12, 0.15)
SHARES = (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
DONORS = (0, 1, 2)
BLENDS = {"plain": PlainBlend(), "contrast": LocalContrastBlend(), "poisson": PoissonBlend()}
BLEND_ALPHAS = (0.03, 0.06, 0.09, 0.12, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)
BLEND_AT, BLEND_SHARE = 0.12, 0.2
CLASSES, RANKS = range(1, 10), (*range(5), *range(94, 100))
SAMPLES = 128
SETTINGS = list(product(ALPHAS, SHARES))
CONTROLS = ("gaussian", "equal_l2", "equal_ssim", "random_places")
SWEEP_LEVEL = 1 - 0.05 / (len(SETTINGS) * len(CONTROLS))
KEYS = ["attribution", "study", "kind", "alpha", "k"]
Cell = tuple[str, str, float, float]


def controlled(alpha: float, k: float, rank: int) -> dict[str, Attack]:
    """Return eXIAA and its controls at one setting."""
    attack = EXIAA(alpha=alpha, k=k, rank=rank)
    return {
        "exiaa": attack,
        "gaussian": GaussianInjection(alpha=alpha, k=k),
        "equal_l2": MatchedGaussian(attack),
        "equal_ssim": MatchedGaussian(attack, equal="ssim"),
        "random_places": EXIAA(alpha=alpha, k=k, rank=rank, features="random"),
    }


def cells() -> dict[Cell, list[Attack]]:
    """Return every cell's attacks, over whose donors its scores are averaged, by study, kind, alpha and k."""
    found: dict[Cell, list[Attack]] = {}
    for (alpha, k), rank in product(SETTINGS, DONORS):
        for kind, attack in controlled(alpha, k, rank).items():
            cell = found.setdefault(("sweep", kind, alpha, k), [])
            # Noise that knows no donor is the same for each of them.
            cell.extend([attack] if attack not in cell else [])
    for (kind, blend), alpha in product(BLENDS.items(), BLEND_ALPHAS):
        attack = EXIAA(alpha=alpha, k=BLEND_SHARE, blend=blend)
        found["blend", kind, alpha, BLEND_SHARE] = [attack]
    for alpha in ALPHAS:
        for number in CLASSES:
            attack = EXIAA(alpha=alpha, class_rank=number)
            found["class", str(number), alpha, attack.k] = [attack]
        for rank in RANKS:
            attack = EXIAA(alpha=alpha, rank=rank)
            found["rank", str(rank), alpha, attack.k] = [attack]
    return found


def measure() -> pd.DataFrame:
    """Return the scores of every cell and sample: change, SSIM and change of confidence."""
    from lit_xai.attributions.integrated_gradients import IntegratedGradients
    from lit_xai.attributions.saliency import Saliency
    from lit_xai.data.embedded_fashion import EmbeddedFashion
    from lit_xai.evaluation.checkpoints import load_classifier
    from lit_xai.evaluation.grid import Grid
    from lit_xai.metrics.change import ExplanationChange
    from lit_xai.metrics.prediction import ConfidenceChange
    from lit_xai.metrics.ssim import ImageSSIM

    named = {
        f"cell_{place}_{part}": (cell, attack)
        for place, (cell, attacks) in enumerate(cells().items())
        for part, attack in enumerate(attacks)
    }
    grid = Grid(
        {"integrated_gradients": IntegratedGradients(path_steps=10), "saliency": Saliency()},
        {name: attack for name, (_, attack) in named.items()},
        {"change": ExplanationChange(), "ssim": ImageSSIM(), "confidence_change": ConfidenceChange()},
    )
    model, data = load_classifier(checkpoint("natural")).model, EmbeddedFashion()
    grid.prepare(model, data.donors)
    for batch in data.evaluation_loader("test", max_samples=SAMPLES, batch_size=64):
        grid.update(model, batch)
    return averaged(grid.records(), {name: cell for name, (cell, _) in named.items()})


def averaged(records: pd.DataFrame, named: Mapping[str, Cell]) -> pd.DataFrame:
    """Return the records with the cell each attack belongs to, averaged over the donors of a cell."""
    places = pd.DataFrame([(name, *cell) for name, cell in named.items()], columns=["attack", *KEYS[1:]])
    whole = records.merge(places, on="attack")
    wide = whole.pivot_table(index=[*KEYS, "attack", "sample_id"], columns="metric", values="value")
    rounded = wide.groupby([*KEYS, "sample_id"]).mean().round(5)
    return rounded.reset_index().rename_axis(columns=None)


def interval(difference: pd.Series, level: float, digits: int = 2) -> str:
    """Render the mean of paired differences with Student's interval."""
    low, high = bounds_of(difference, level)
    return f"{difference.mean():+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def bounds_of(difference: pd.Series, level: float) -> tuple[float, float]:
    """Return the bounds of Student's interval for a mean of paired differences."""
    low, high = stats.ttest_1samp(difference.dropna(), 0.0).confidence_interval(level)
    return float(low), float(high)


def study(samples: pd.DataFrame, explanation: str, name: str, metric: str) -> pd.DataFrame:
    """Return one metric of one study: a row for each sample, a column for each (kind, alpha, k)."""
    chosen = samples[(samples["attribution"] == explanation) & (samples["study"] == name)]
    return chosen.pivot_table(index="sample_id", columns=["kind", "alpha", "k"], values=metric)


def verdict_table(samples: pd.DataFrame) -> str:
    """Render in how many cells of the sweep eXIAA changes explanations more than each control, or less."""
    rows = []
    for explanation in dict.fromkeys(samples["attribution"]):
        change = study(samples, explanation, "sweep", "change")
        for kind in CONTROLS:
            pairs = [(change["exiaa", alpha, k], change[kind, alpha, k]) for alpha, k in SETTINGS]
            bounds = [bounds_of(own - other, SWEEP_LEVEL) for own, other in pairs]
            ahead, behind = sum(low > 0 for low, _ in bounds), sum(high < 0 for _, high in bounds)
            counts = [ahead, behind, len(bounds) - ahead - behind]
            rows.append([explanation, kind, *(str(count) for count in counts)])
    return markdown(["explanation", "control", "eXIAA ahead", "behind", "undecided"], rows)


def sweep_table(samples: pd.DataFrame, explanation: str) -> str:
    """Render eXIAA's explanation change over alpha and k, with its paired lead over each control."""
    values = {
        metric: study(samples, explanation, "sweep", metric)
        for metric in ("change", "ssim", "confidence_change", "failed")
    }
    change = values["change"]
    rows = []
    for alpha, k in SETTINGS:
        own = ("exiaa", alpha, k)
        leads = [interval(change[own] - change[kind, alpha, k], SWEEP_LEVEL) for kind in CONTROLS]
        means = [f"{values[metric][own].mean():.3f}" for metric in ("ssim", "confidence_change", "failed")]
        rows.append([f"{alpha:g}", f"{k:g}", f"{change[own].mean():.1f}", *leads, *means])
    header = ["alpha", "k", "change %", *(f"minus {kind}" for kind in CONTROLS)]
    return markdown([*header, "SSIM", "confidence change %", "failed"], rows)


def blend_table(samples: pd.DataFrame, explanation: str) -> str:
    """Render each blend's image at the explanation change that plain blending reaches, sample by sample."""
    change, ssim, confidence = (
        study(samples, explanation, "blend", metric) for metric in ("change", "ssim", "confidence_change")
    )
    goal = change["plain", BLEND_AT, BLEND_SHARE]
    rows = []
    for kind in BLENDS:
        alpha = pd.Series(
            {row: _alpha_at(change.loc[row, kind].to_numpy(), goal[row]) for row in change.index}
        )
        reached = alpha.dropna().index
        cells = [kind, f"{alpha.median():.3f}"]
        for values, digits in ((ssim, 3), (confidence, 2)):
            plain = values["plain", BLEND_AT, BLEND_SHARE][reached]
            own = pd.Series({row: _at(values.loc[row, kind].to_numpy(), alpha[row]) for row in reached})
            cells += [
                f"{own.mean():.{digits}f}",
                "" if kind == "plain" else interval(own - plain, 0.95, digits),
            ]
        rows.append([*cells, str(len(reached)), str(len(alpha) - len(reached))])
    header = ["blend", "median alpha", "SSIM", "minus plain", "confidence change %", "minus plain"]
    return markdown([*header, "n", "not comparable"], rows)


def _alpha_at(change: np.ndarray, goal: float) -> float:
    """Return the least alpha at which a sample's change reaches a goal, between the measured ones; or NaN."""
    above = np.flatnonzero(change >= goal - 1e-9)
    if not len(above):
        return float("nan")
    last = above[0]
    if last == 0:
        return BLEND_ALPHAS[0] if change[0] <= goal + 1e-9 else float("nan")
    low, high = change[last - 1], change[last]
    share = (goal - low) / (high - low)
    return BLEND_ALPHAS[last - 1] + share * (BLEND_ALPHAS[last] - BLEND_ALPHAS[last - 1])


def _at(values: np.ndarray, alpha: float) -> float:
    return float(np.interp(alpha, BLEND_ALPHAS, values))


def ablation_table(samples: pd.DataFrame, name: str, groups: Mapping[str, tuple[str, ...]]) -> str:
    """Render the mean change of groups of cells over alpha, and the first's paired lead over the others."""
    rows = []
    level = 1 - 0.05 / (2 * len(ALPHAS))
    for explanation in dict.fromkeys(samples["attribution"]):
        change = study(samples, explanation, name, "change")
        for alpha in ALPHAS:
            k = EXIAA().k
            means = [change[[(kind, alpha, k) for kind in kinds]].mean(axis=1) for kinds in groups.values()]
            paired = pd.concat(means, axis=1).dropna()
            cells = [f"{paired[column].mean():.1f}" for column in paired]
            lead = interval(paired[0] - paired[1], level)
            rows.append([explanation, f"{alpha:g}", *cells, lead, str(len(paired))])
    return markdown(["explanation", "alpha", *groups, "difference", "n"], rows)


def tables(samples: pd.DataFrame) -> dict[str, str]:
    """Return the tables of the page, by the names of their markers."""
    explanations = list(dict.fromkeys(samples["attribution"]))
    per = {"exiaa_sweep": sweep_table, "exiaa_blends": blend_table}
    found = {
        name: "\n\n".join(f"{explanation}\n\n{table(samples, explanation)}" for explanation in explanations)
        for name, table in per.items()
    }
    others = tuple(str(number) for number in CLASSES if number > 1)
    found["exiaa_verdicts"] = verdict_table(samples)
    found["exiaa_classes"] = ablation_table(
        samples, "class", {"runner-up class": ("1",), "all other classes": others}
    )
    first, last = (tuple(str(rank) for rank in RANKS if (rank < 50) == early) for early in (True, False))
    found["exiaa_ranks"] = ablation_table(samples, "rank", {"donors 1 to 5": first, "donors 95 to 100": last})
    return found


def render() -> None:
    """Write the tables into the page."""
    page = PAGE.read_text()
    for name, table in tables(pd.read_parquet(RESULTS / "samples.parquet")).items():
        page = insert(page, name, table)
    PAGE.write_text(page)


if __name__ == "__main__":
    os.chdir(ROOT)
    RESULTS.mkdir(parents=True, exist_ok=True)
    measure().to_parquet(RESULTS / "samples.parquet", index=False)
    render()
