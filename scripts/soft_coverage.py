"""Compare `SoftCoverage` with its rivals at equal radius and, within early stops, equal passes.

    python scripts/soft_coverage.py [NAME=FILE ...]

attacks correctly classified embedded test images on checkpoints, by default the newest that `make demo`
trained, and writes results/soft_coverage and its tables in docs/attacks.md. Every checkpoint gets every
surrogate for the 1-LENS precision; the first one gets a wider window, the recall and diverse sets too, and
the rivals by their own criteria.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from scipy import stats
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.attacks.adaptive_steps import AdaptiveSteps  # noqa: E402
from lit_xai.attacks.base import run_attack  # noqa: E402
from lit_xai.attacks.coverage_surrogates import (  # noqa: E402
    HingedMargin,
    LogRatio,
    NoisyOr,
    SigmoidMembership,
    SoftTopK,
)
from lit_xai.attacks.criteria import LENSOverlap  # noqa: E402
from lit_xai.attacks.map_attack import MapAttack  # noqa: E402
from lit_xai.attacks.mass_center import MassCenter  # noqa: E402
from lit_xai.attacks.soft_coverage import SoftCoverage  # noqa: E402
from lit_xai.attacks.top_k import TopK  # noqa: E402
from lit_xai.attacks.window_union import WindowUnion  # noqa: E402
from lit_xai.attributions.base import Attribution  # noqa: E402
from lit_xai.attributions.integrated_gradients import IntegratedGradients  # noqa: E402
from lit_xai.attributions.saliency import Saliency  # noqa: E402
from lit_xai.data.embedded_fashion import EmbeddedFashion  # noqa: E402
from lit_xai.evaluation.table import insert, markdown  # noqa: E402
from lit_xai.metrics.maps import pixel_map  # noqa: E402
from lit_xai.types import AttackResult, Batch  # noqa: E402
from scripts.attacks import PAGE, REGIMES, checkpoint  # noqa: E402

RESULTS = ROOT / "results" / "soft_coverage" / "samples.parquet"
EXPLANATIONS = {"integrated_gradients": IntegratedGradients(path_steps=10), "saliency": Saliency()}
SURROGATES = (SoftTopK(), NoisyOr(), LogRatio(), SigmoidMembership(), HingedMargin())
SAMPLES = 64
PASSES = {"eps": 0.1, "steps": 15, "path_steps": 3, "judge_every": 5}
SIGNS = {"step_size": 0.01}
ADAPTIVE = {"step_size": 0.05, "stepping": AdaptiveSteps()}


# What is lowered; no more than some 80 pixels fit into the images with none in another's window.
PRECISION = LENSOverlap(100, 1)
SCORES = {
    "1-LENS precision": PRECISION,
    "2-LENS precision": LENSOverlap(100, 2),
    "1-LENS recall": LENSOverlap(100, 1, "recall"),
    "1-LENS precision of diverse sets, k = 30": LENSOverlap(30, 1, diverse=True),
}


def rivals(lens: LENSOverlap) -> dict[tuple[str, str], MapAttack]:
    """Return the known attacks by name and step rule: as published, and as `SoftCoverage` steps."""
    known = {
        "top_k": TopK(k=lens.k),
        "mass_center": MassCenter(),
        "window_union": WindowUnion(k=lens.k, w=lens.w),
    }
    rules = {"signs": SIGNS, "adaptive": {"beta": SoftCoverage.beta, **ADAPTIVE}}
    return {
        (name, rule): replace(attack, **PASSES, **options)
        for rule, options in rules.items()
        for name, attack in known.items()
    }


def trials(lens: LENSOverlap, *, own: bool) -> Iterator[tuple[dict[str, str], MapAttack]]:
    """Yield attacks on a score with what the table calls them, the rivals by their `own` criteria too."""
    for (name, stepping), attack in rivals(lens).items():
        yield _named(name, stepping, "lens"), replace(attack, criterion=lens)
        if own:
            yield _named(name, stepping, "own"), attack
    ours = SoftCoverage(k=lens.k, w=lens.w, side=lens.side, diverse=lens.diverse, **PASSES, **ADAPTIVE)
    for surrogate in SURROGATES if lens == PRECISION else SURROGATES[:1]:
        name = f"soft_coverage, {type(surrogate).__name__}"
        yield _named(name, "adaptive", "lens"), replace(ours, surrogate=surrogate)
    falling = replace(ours, temperature=0.5, temperature_end=0.2)
    yield _named("soft_coverage, SoftTopK from .5 to .2", "adaptive", "lens"), falling


def _named(attack: str, stepping: str, criterion: str) -> dict[str, str]:
    return {"attack": attack, "stepping": stepping, "criterion": criterion}


def correct(model: nn.Module) -> Batch:
    """Return the first test images that a network classifies correctly."""
    batch = Batch(*next(iter(EmbeddedFashion().evaluation_loader("test"))))
    with torch.no_grad():
        rows = (model(batch.image).argmax(dim=1) == batch.label).nonzero().squeeze(1)[:SAMPLES]
    return Batch(*(tensor[rows] for tensor in batch))


def counted(
    model: nn.Module, explanation: Attribution, attack: MapAttack, batch: Batch
) -> tuple[AttackResult, float]:
    """Attack a batch; return the result, and for each sample the images that the network was run on."""
    seen: list[int] = []
    handle = model.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    result = run_attack(model, explanation, attack, batch, seed=0)
    handle.remove()
    # Measuring takes both predictions and both maps.
    points = getattr(explanation, "path_steps", 1)
    return result, sum(seen) / len(batch.label) - 2 * (1 + points)


def measure(model: nn.Module, *, full: bool) -> pd.DataFrame:
    """Attack one network and return each sample's scores."""
    batch, parts = correct(model), []
    for explanation, attribution in EXPLANATIONS.items():
        for score, lens in SCORES.items() if full else [next(iter(SCORES.items()))]:
            for name, attack in trials(lens, own=full and lens == PRECISION):
                result, rows = counted(model, attribution, attack, batch)
                maps = pixel_map(result.attribution), pixel_map(result.attribution_adv)
                columns = {
                    "attribution": explanation,
                    **name,
                    "score": score,
                    "sample_id": result.sample_id.numpy(),
                    "value": lens.score(*maps).numpy(),
                    "kept": result.kept.numpy(),
                    "failed": result.failed.numpy(),
                    "rows": rows,
                }
                parts.append(pd.DataFrame(columns))
    return pd.concat(parts)


def tables(samples: pd.DataFrame) -> str:
    """Render a table for each score, network and explanation as Markdown, the strongest attack first."""
    keys = ["score", "model", "attribution"]
    compared = samples[samples["attack"].str.startswith("soft")]
    level = 1 - 0.05 / len(compared.groupby([*keys, "attack"]))
    return "\n\n".join(
        f"{score}, {attribution}, {model}\n\n{_table(part, level)}"
        for (score, model, attribution), part in samples.groupby(keys, sort=False)
    )


def _table(part: pd.DataFrame, level: float) -> str:
    keys = ["attack", "stepping", "criterion"]
    scores = part.pivot_table(index="sample_id", columns=keys, values="value")
    means = scores.mean().sort_values(kind="stable")
    rival = next(key for key in means.index if not key[0].startswith("soft"))
    lines = []
    for key in means.index:
        own = part.set_index(keys).loc[key]
        difference = _interval(scores[key] - scores[rival], level)
        lines.append(
            [
                *key,
                f"{means[key]:.3f}",
                difference if key[0].startswith("soft") else "",
                f"{own['rows'].iloc[0]:.0f}",
                str(own["failed"].sum()),
                str(len(own)),
            ]
        )
    return markdown([*keys, "score", "minus best rival", "passes", "failed", "n"], lines)


def _interval(difference: pd.Series, level: float) -> str:
    found = stats.ttest_1samp(difference, 0.0).confidence_interval(level)
    return f"{difference.mean():+.3f} [{found.low:+.3f}, {found.high:+.3f}]"


def main(checkpoints: Sequence[str]) -> None:
    """Measure everything and write the results and the page."""
    from lit_xai.evaluation.checkpoints import load_classifier
    from lit_xai.evaluation.naming import named_checkpoints

    torch.set_num_threads(1)
    parts = []
    for number, (name, path) in enumerate(named_checkpoints(checkpoints).items()):
        model = load_classifier(path).model.eval()
        parts.append(measure(model, full=number == 0).assign(model=name))
    samples = pd.concat(parts, ignore_index=True)
    samples = samples[["model", *(column for column in samples.columns if column != "model")]]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    samples.to_parquet(RESULTS, index=False)
    PAGE.write_text(insert(PAGE.read_text(), "soft_coverage", tables(samples)))


if __name__ == "__main__":
    files = [str(Path(name).resolve()) if Path(name).exists() else name for name in sys.argv[1:]]
    os.chdir(ROOT)
    main(files or [f"{regime}={checkpoint(regime)}" for regime in REGIMES])
