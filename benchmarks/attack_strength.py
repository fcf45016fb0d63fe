"""How strong attacks on maps are for the passes that they take: the published loop, and ours.

`TopK` and `MassCenter` against integrated gradients of 100 points by the right rule, on correctly classified
Fashion-MNIST images at a radius of 0.1. The published loop takes 100 steps of 0.01, follows all points and
judges every iterate. Ours takes adaptive steps along a few points of Gauss and Legendre, judges some of its
iterates by all points, and leaves samples that are finished. Strength is what the explanation of 100 points
keeps: the intersection of the top 100 pixels and Kendall's tau, and how far the centre moves, in pixels.

Rows through the network are counted by kind for each image: those that a step differentiates twice (on the
softplus twin), those that a judgement differentiates once, those that are only classified. A pass is one
forward or backward pass of a row: 4 for a row differentiated twice (forward, backward, and back through
both), 2 for one differentiated once, 1 for one classified. The goal is the published loop's intersection and
Kendall's tau, or lower, at a fifth of its passes or fewer.

A sharper twin makes either loop stronger, so both run with either sharpness.

Scores of each sample are kept in `results/attack_strength/samples.csv`; the table is made from them and
written to `results.csv` beside it and to docs/attacks.md. Settings were chosen on validation images.
Arguments are checkpoints, by default those of `make demo`; `--settings` runs some again and keeps the scores
of the others.
"""

import argparse
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import torch
from scipy import stats
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from lit_xai.attacks.adaptive_steps import AdaptiveSteps
from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.mass_center import MassCenter
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.base import Explain
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.checkpoints import load_classifier
from lit_xai.evaluation.naming import named_checkpoints
from lit_xai.evaluation.table import insert, markdown
from lit_xai.metrics.center_shift import center_shift
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.rank import kendall
from lit_xai.metrics.top_k import top_k_intersection
from lit_xai.models.softplus import SoftplusTwin
from lit_xai.noise import Noise
from lit_xai.types import Batch

FOLDER = Path("results/attack_strength")
PAGE = Path("docs/attacks.md")
CHECKPOINTS = tuple(f"{name}=runs/demo_{name}/1/checkpoints/last.ckpt" for name in ("natural", "pgd"))
EXPLANATION = IntegratedGradients(path_steps=100, rule="right")
EPS, K, BATCH = 0.1, 100, 8
KEY = ["model", "attack", "setting"]
SCORES = ["intersection", "kendall", "center_shift"]
OURS = {"stepping": AdaptiveSteps(), "path_steps": 5, "judge_every": 4, "beta": 10.0, "recover": True}
PASSES = {"rows_second_order": 4, "rows_first_order": 2, "rows_forward": 1}

SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "published": {"steps": 100, "step_size": 0.01},
    "published, beta 10": {"steps": 100, "step_size": 0.01, "beta": 10.0},
    "ours, beta 1": {**OURS, "steps": 40, "beta": 1.0},
    "ours": {**OURS, "steps": 40},
    "ours, 20 steps": {**OURS, "steps": 20},
}
ATTACKS: Mapping[str, Callable[[Mapping[str, Any]], Attack]] = {
    "TopK": lambda options: TopK(eps=EPS, k=K, **options),
    "MassCenter": lambda options: MassCenter(eps=EPS, **options),
}


@dataclass
class Counted(Attack):
    """An attack, with the rows that it sends through the network and the time that it takes.

    Args:
        attack: The attack.
    """

    attack: Attack
    second: int = 0
    every: int = 0
    forward: int = 0
    seconds: float = 0.0
    needs_gradient: ClassVar[bool] = True

    def perturb(
        self, model: nn.Module, explain: Explain, image: Tensor, target: Tensor, noise: Noise
    ) -> Tensor:
        def count(module: nn.Module, given: tuple[Tensor]) -> None:
            if isinstance(module, SoftplusTwin):
                self.second += len(given[0])
            if module is model:
                self.every += len(given[0])
                self.forward += 0 if given[0].requires_grad else len(given[0])

        hook, begun = register_module_forward_pre_hook(count), time.perf_counter()
        found = self.attack.perturb(model, explain, image, target, noise)
        self.seconds = time.perf_counter() - begun
        hook.remove()
        return found

    def per_image(self, images: int) -> dict[str, float]:
        """Return the rows by kind and the seconds, for each image."""
        first = self.every - self.second - self.forward
        rows = zip(PASSES, (self.second, first, self.forward), strict=True)
        return {name: count / images for name, count in rows} | {"seconds": self.seconds / images}


def correct_images(network: nn.Module, split: str, images: int) -> Batch:
    """Return the first images that a network classifies correctly."""
    batch = Batch(*next(iter(EmbeddedFashion().evaluation_loader(split, batch_size=2 * images))))
    with torch.no_grad():
        chosen = (network(batch.image).argmax(dim=1) == batch.label).nonzero().squeeze(1)[:images]
    return Batch(*(tensor[chosen] for tensor in batch))


def attacked(network: nn.Module, attack: Attack, batch: Batch) -> pd.DataFrame:
    """Return the scores of each sample, beside the rows and the seconds for each image."""
    counted = Counted(attack)
    result = run_attack(network, EXPLANATION, counted, batch, seed=0)
    maps = pixel_map(result.attribution), pixel_map(result.attribution_adv)
    scores = {
        "sample_id": result.sample_id,
        "intersection": top_k_intersection(*maps, k=K),
        "kendall": kendall(*maps),
        "center_shift": center_shift(*maps),
        "failed": result.failed,
    }
    frame = pd.DataFrame({name: values.numpy() for name, values in scores.items()})
    return frame.assign(**counted.per_image(len(batch.image)))


def measure(checkpoints: Mapping[str, Path], settings: list[str], images: int, split: str) -> pd.DataFrame:
    """Return the scores of each sample under each setting, the samples in batches of 8."""
    frames = []
    for name, path in checkpoints.items():
        network = load_classifier(path).model.eval()
        batch = correct_images(network, split, images)
        for attack, build in ATTACKS.items():
            for setting in settings:
                for first in range(0, len(batch.image), BATCH):
                    part = Batch(*(tensor[first : first + BATCH] for tensor in batch))
                    scores = attacked(network, build(SETTINGS[setting]), part)
                    frames.append(scores.assign(model=name, attack=attack, setting=setting))
    return pd.concat(frames)


def merged(new: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Return the samples in a file, those of the same name replaced by new ones."""
    old = pd.read_csv(path) if path.is_file() else new[:0]
    return (
        pd.concat([old, new])
        .drop_duplicates([*KEY, "sample_id"], keep="last")
        .sort_values([*KEY, "sample_id"])
    )


def summary(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the means of each setting, over those samples that the published loop was run on too.

    A difference is ours minus the published one, sample by sample, with the half-width of its 95 % interval
    (Student's t).
    """
    rows = []
    for (model, attack), every in samples.groupby(["model", "attack"]):
        published = every[every["setting"] == "published"].set_index("sample_id")
        for setting, own in every.groupby("setting", sort=False):
            scores = own.set_index("sample_id")
            both = scores.index.intersection(published.index)
            scores, other = scores.loc[both], published.loc[both]
            row = {"model": model, "attack": attack, "setting": setting, "images": len(both)}
            row |= scores[[*PASSES, *SCORES, "failed", "seconds"]].mean().to_dict()
            row |= {"passes_ratio": passes(scores) / passes(other)}
            row |= {"seconds_ratio": scores["seconds"].mean() / other["seconds"].mean()}
            for score in SCORES:
                row |= difference(score, scores[score] - other[score])
            rows.append(row)
    return pd.DataFrame(rows)


def passes(samples: pd.DataFrame) -> float:
    """Return the mean number of passes for each image."""
    return float(sum(weight * samples[rows].mean() for rows, weight in PASSES.items()))


def difference(name: str, values: pd.Series) -> dict[str, float]:
    """Return a mean difference and the half-width of its interval."""
    width = stats.t.ppf(0.975, max(len(values) - 1, 1)) * values.std() / len(values) ** 0.5
    return {f"{name}_difference": values.mean(), f"{name}_half_width": width}


def rendered(table: pd.DataFrame) -> str:
    """Render a summary as Markdown: means, and what sets them apart from the published loop's."""
    rows = []
    for row in table.to_dict("records"):
        scores = [
            f"{row[score]:.3f}" + ("" if row["setting"] == "published" else f" ({_signed(row, score)})")
            for score in SCORES
        ]
        kinds = [f"{row[kind]:.0f}" for kind in PASSES]
        ratios = [f"{row['passes_ratio']:.3f}", f"{row['seconds_ratio']:.3f}"]
        names = [row["model"], row["attack"], row["setting"]]
        failed = f"{row['failed'] * row['images']:.0f}"
        rows.append([*names, *scores, *kinds, *ratios, failed, str(row["images"])])
    header = ["network", "attack", "setting", "top-100 intersection", "Kendall", "centre shift"]
    counts = ["twice", "once", "classified", "passes", "time", "failed", "n"]
    return markdown([*header, *counts], rows)


def _signed(row: dict[str, float], score: str) -> str:
    return f"{row[f'{score}_difference']:+.3f} ± {row[f'{score}_half_width']:.3f}"


def main() -> None:
    """Attack, keep the scores, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", nargs="*", default=CHECKPOINTS)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--split", default="test", choices=("val", "test"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    new = measure(named_checkpoints(options.checkpoints), options.settings, options.images, options.split)
    FOLDER.mkdir(parents=True, exist_ok=True)
    samples = merged(new, FOLDER / "samples.csv")
    samples.to_csv(FOLDER / "samples.csv", index=False, float_format="%.6g")
    table = summary(pd.read_csv(FOLDER / "samples.csv"))
    table.to_csv(FOLDER / "results.csv", index=False, float_format="%.6g")
    text = rendered(table)
    PAGE.write_text(insert(PAGE.read_text(), FOLDER.name, text))
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
