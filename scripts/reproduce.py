"""Set what was measured on ImageNet's images beside what was published, in docs/reproduce.md.

    python scripts/reproduce.py

renders the page's tables from results/imagenet, which scripts/imagenet.py writes.
"""

import json
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.evaluation.table import insert, markdown  # noqa: E402
from scripts.exiaa import bounds_of, interval  # noqa: E402
from scripts.exiaa_imagenet import KINDS, over_donors  # noqa: E402
from scripts.top_k_imagenet import top_k_table  # noqa: E402

RESULTS = ROOT / "results" / "imagenet"
PAGE = ROOT / "docs" / "reproduce.md"
PUBLISHED = ("ResNet-18", "ViT-B16")
CONTROLS = [kind for kind in KINDS if kind != "exiaa"]
Setting = tuple[float, float]
Count = Callable[[pd.DataFrame, list[Setting]], str]


class Results(NamedTuple):
    """What stands in results/imagenet: samples of both studies, the card, and the papers' tables."""

    exiaa: pd.DataFrame
    top_k: pd.DataFrame
    card: Mapping[str, Any]
    published: pd.DataFrame
    published_top_k: pd.DataFrame


def read_results(folder: Path = RESULTS) -> Results:
    """Read everything that the page shows."""
    return Results(
        pd.read_parquet(folder / "exiaa.parquet"),
        pd.read_parquet(folder / "top_k.parquet"),
        json.loads((folder / "card.json").read_text()),
        pd.read_csv(folder / "published.csv"),
        pd.read_csv(folder / "published_top_k.csv"),
    )


def explanations(results: Results) -> list[str]:
    """Return the explanations that were attacked."""
    return [str(name) for name in dict.fromkeys(results.exiaa["attribution"])]


def measured_settings(results: Results, attribution: str) -> list[Setting]:
    """Return the measured (alpha, k) of an explanation, in order."""
    cells = over_donors(results.exiaa)
    own = cells[(cells["attribution"] == attribution) & (cells["kind"] == "exiaa")]
    return sorted(set(zip(own["alpha"], own["k"], strict=True)))


def by_sample(results: Results, attribution: str, metric: str) -> pd.DataFrame:
    """Return a metric of an explanation: a row for each sample, a column for each (kind, alpha, k)."""
    cells = over_donors(results.exiaa)
    chosen = cells[cells["attribution"] == attribution]
    return chosen.pivot_table(index="sample_id", columns=["kind", "alpha", "k"], values=metric)


def published_means(results: Results, attribution: str, model: str, metric: str) -> pd.Series:
    """Return the paper's means of one metric by (kind, alpha, k)."""
    table = results.published
    chosen = table[(table["attribution"] == attribution) & (table["model"] == model)]
    return chosen.set_index(["kind", "alpha", "k"])[metric]


def exiaa_table(results: Results, attribution: str) -> str:
    """Render change / confidence change / SSIM of eXIAA and its controls beside the paper's means."""
    values = {name: by_sample(results, attribution, name) for name in ("change", "confidence_change", "ssim")}
    rows = []
    for alpha, k in measured_settings(results, attribution):
        cells = []
        for kind in KINDS:
            change, confidence, ssim = (table[kind, alpha, k].mean() for table in values.values())
            cells.append(f"{change:.1f} / {confidence:.2f} / {ssim:.3f}")
        for model in PUBLISHED:
            for kind in ("exiaa", "gaussian"):
                pair = [
                    published_means(results, attribution, model, metric)[kind, alpha, k]
                    for metric in ("change", "confidence_change")
                ]
                cells.append(f"{pair[0]:.1f} / {pair[1]:.2f}")
        rows.append([f"{alpha:g}", f"{k:g}", *cells])
    papers = [f"paper, {model}, {who}" for model in PUBLISHED for who in ("eXIAA", "baseline")]
    return markdown(["alpha", "k", *KINDS.values(), *papers], rows)


def counts_table(results: Results) -> str:
    """Render how many images stand behind the means, and how many were left out or failed."""
    rows = []
    for attribution, own in results.exiaa.groupby("attribution", sort=False):
        part = results.card["parts"][f"exiaa_{attribution}"]
        wrong = part["misclassified"]
        chosen = own[own["kind"] == "exiaa"]
        attacked = chosen[chosen["excluded"] == 0]
        images = str(attacked["sample_id"].nunique())
        without = {
            kind: int((own.loc[own["kind"] == kind, "excluded"] == 1).sum()) - wrong
            for kind in ("exiaa_donor_2", "exiaa_donor_3")
            if kind in set(own["kind"])
        }
        donors = ", ".join(str(count) for count in without.values()) or "not measured"
        lost = f"{int((1 - attacked['prediction_kept']).sum())} of {len(attacked)}"
        rows.append(
            [
                str(attribution),
                images,
                str(wrong),
                donors,
                lost,
                f"{part['accuracy']:.3f} of {part['classified']}",
            ]
        )
    header = ["explanation", "images", "misclassified", "without a second, third donor"]
    return markdown([*header, "predictions lost to eXIAA", "accuracy"], rows)


def leads_table(results: Results) -> str:
    """Render eXIAA's lead in explanation change over each control, with simultaneous 95 % intervals."""
    level, rows = _level(results), []
    for name in explanations(results):
        change = by_sample(results, name, "change")
        for alpha, k in measured_settings(results, name):
            leads = [
                interval(change["exiaa", alpha, k] - change[kind, alpha, k], level, 1) for kind in CONTROLS
            ]
            rows.append([name, f"{alpha:g}", f"{k:g}", *leads])
    return markdown(["explanation", "alpha", "k", *(f"over {KINDS[kind]}" for kind in CONTROLS)], rows)


def _level(results: Results) -> float:
    cells = sum(len(measured_settings(results, name)) for name in explanations(results))
    return 1 - 0.05 / (cells * len(CONTROLS))


def claims_table(results: Results) -> str:
    """Render how often the paper's statements hold at the measured settings, in its tables and here."""
    rows = []
    for name in explanations(results):
        settings = measured_settings(results, name)
        frames = [_published(results, name, model) for model in PUBLISHED]
        own = pd.DataFrame(
            {
                metric: by_sample(results, name, metric).mean()
                for metric in ("change", "confidence_change", "ssim")
            }
        )
        for text, count in CLAIMS.items():
            rows.append([name, text, *(count(frame, settings) for frame in [*frames, own])])
        for text, count in OWN_CLAIMS.items():
            rows.append([name, text, *[""] * len(PUBLISHED), count(own, settings)])
    return markdown(["explanation", "eXIAA", *PUBLISHED, "here"], rows)


def _published(results: Results, attribution: str, model: str) -> pd.DataFrame:
    names = ("change", "confidence_change")
    return pd.DataFrame({name: published_means(results, attribution, model, name) for name in names})


def _rising(place: int) -> Count:
    """Return what counts the steps of one part of the setting, the other fixed, that raise the change."""

    def count(means: pd.DataFrame, settings: list[Setting]) -> str:
        steps = []
        for fixed in sorted({setting[1 - place] for setting in settings}):
            line = [setting for setting in sorted(settings) if setting[1 - place] == fixed]
            values = [means["change"]["exiaa", *setting] for setting in line]
            steps += [later > earlier for earlier, later in pairwise(values)]
        return f"{sum(steps)} of {len(steps)} steps" if steps else "one value"

    return count


def _compared(metric: str, kind: str, sign: int = 1) -> Count:
    """Return what counts the settings in which eXIAA's mean is above (if -1, below) another attack's."""

    def count(means: pd.DataFrame, settings: list[Setting]) -> str:
        values = sign * means[metric]
        above = sum(values["exiaa", *setting] > values[kind, *setting] for setting in settings)
        return f"{above} of {len(settings)}"

    return count


def _small(means: pd.DataFrame, settings: list[Setting]) -> str:
    values = means["confidence_change"]
    return f"{sum(values['exiaa', *setting] <= 10 for setting in settings)} of {len(settings)}"


# What the paper's tables and the measurement can both be asked, and what only the measurement can.
CLAIMS: dict[str, Count] = {
    "changes more with a larger k": _rising(1),
    "changes more with a larger alpha": _rising(0),
    "changes more than the Gaussian baseline": _compared("change", "gaussian"),
    "changes the confidence more than the baseline": _compared("confidence_change", "gaussian"),
    "changes the confidence by at most 10 %": _small,
}
OWN_CLAIMS: dict[str, Count] = {
    "changes more than Gaussian of equal L2": _compared("change", "gaussian_equal_l2"),
    "changes more than random places": _compared("change", "exiaa_random_places"),
    "has a lower SSIM than the Gaussian baseline": _compared("ssim", "gaussian", -1),
    "has a lower SSIM than Gaussian of equal L2": _compared("ssim", "gaussian_equal_l2", -1),
    "has a lower SSIM than random places": _compared("ssim", "exiaa_random_places", -1),
}


def verdicts_table(results: Results) -> str:
    """Render in how many settings eXIAA is ahead of a control, or behind, beyond chance."""
    level, rows = _level(results), []
    for name in explanations(results):
        change, settings = by_sample(results, name, "change"), measured_settings(results, name)
        for kind in CONTROLS:
            bounds = [bounds_of(change["exiaa", *each] - change[kind, *each], level) for each in settings]
            ahead, behind = sum(low > 0 for low, _ in bounds), sum(high < 0 for _, high in bounds)
            counts = [ahead, behind, len(bounds) - ahead - behind]
            rows.append([name, KINDS[kind], *(str(count) for count in counts)])
    return markdown(["explanation", "control", "eXIAA ahead", "behind", "undecided"], rows)


def tables(results: Results) -> dict[str, str]:
    """Return the tables of the page, by the names of their markers."""
    names = explanations(results)
    return {
        "imagenet_counts": counts_table(results),
        "imagenet_exiaa": "\n\n".join(f"{name}\n\n{exiaa_table(results, name)}" for name in names),
        "imagenet_claims": claims_table(results),
        "imagenet_verdicts": verdicts_table(results),
        "imagenet_leads": leads_table(results),
        "imagenet_top_k": top_k_table(results.top_k, results.published_top_k),
    }


def render() -> None:
    """Write the tables into the page."""
    page = PAGE.read_text()
    for name, table in tables(read_results()).items():
        page = insert(page, name, table)
    PAGE.write_text(page)


if __name__ == "__main__":
    render()
