"""Train under every regime for the same number of steps and compare what became of the explanations.

    python scripts/regimes.py [train | evaluate | cost | render]...

does all of it, or the named parts of it, on the embedded sample: networks go to runs/regimes_*, figures to
results/regimes, tables into docs/regimes.md. Two trainings run side by side.
"""

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
import yaml
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.data.embedded_fashion import EmbeddedFashion  # noqa: E402
from lit_xai.noise import Noise  # noqa: E402
from lit_xai.regimes.base import Regime  # noqa: E402
from lit_xai.regimes.natural import Natural  # noqa: E402
from lit_xai.types import Batch  # noqa: E402
from scripts.regime_tables import RESULTS, render  # noqa: E402

MAIN = ("natural", "pgd", "ig_norm", "ig_sum_norm")
OTHERS = (
    "trades",
    "igr",
    "gradient_alignment",
    "triplet",
    "smooth_surface",
    "rank_thickness",
    "lens_training",
    "exiaa_training",
)
# Its donors are ranked by a network that should know the classes.
TUNED = ("exiaa_training",)
SEEDS = (0, 1, 2)
EPOCHS = 6
SAMPLES = 128
REPEATS = 5


def networks() -> Iterator[tuple[str, int]]:
    """Yield the regimes that are compared, each with its seeds."""
    for regime in MAIN:
        for seed in SEEDS:
            yield regime, seed
    for regime in OTHERS:
        yield regime, 0


def experiment_of(regime: str, detail: object) -> str:
    """Return the name of the run directories of a network."""
    return f"regimes_{regime}_{detail}"


def checkpoint(regime: str, detail: object) -> Path:
    """Return the checkpoint of the newest run of a network.

    Raises:
        SystemExit: If there is none.
    """
    name = experiment_of(regime, detail)
    files = list(ROOT.glob(f"runs/{name}/[0-9]*/checkpoints/last.ckpt"))
    if not files:
        sys.exit(f"Expected a network in runs/{name}, but got none. Run `python scripts/regimes.py train`.")
    return max(files, key=lambda path: int(path.parts[-3])).relative_to(ROOT)


def train(regime: str, detail: object, options: Sequence[str], callbacks: Sequence[str] = ()) -> None:
    """Run the training command in a process of its own.

    Args:
        regime: The stem of `configs/experiments/embedded_*.yaml`.
        detail: The end of the run directory's name.
        options: Of the command.
        callbacks: Stems of `configs/callbacks/*.yaml`, beside that of checkpoints; the curves of the
            explanations would take most of the time.

    Raises:
        SystemExit: If it fails.
    """
    name = experiment_of(regime, detail)
    listed = [str(ROOT / "configs" / "callbacks" / f"{stem}.yaml") for stem in (*callbacks, "checkpoint")]
    replaced = ROOT / "runs" / f"{name}.yaml"
    replaced.parent.mkdir(exist_ok=True)
    replaced.write_text(yaml.safe_dump({"trainer": {"callbacks": listed}}))
    command = [
        sys.executable,
        "train.py",
        "fit",
        f"--config=configs/experiments/embedded_{regime}.yaml",
        f"--config={replaced}",
        f"--experiment={name}",
        "--trainer.logger=false",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        *options,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    replaced.unlink()
    if ended.returncode:
        sys.exit(f"{name}: {ended.stderr[-2000:]}")
    sys.stdout.write(f"trained {name}\n")
    sys.stdout.flush()


def options(seed: int, epochs: int, *more: str) -> list[str]:
    """Return options of the training command."""
    seeds = [f"--{name}={seed}" for name in ("seed_everything", "model.noise_seed", "data.init_args.seed")]
    return [*seeds, f"--trainer.max_epochs={epochs}", *more]


def train_all() -> None:
    """Train every network that is compared; those that are fine-tuned start from half a natural training."""
    scratch = [(regime, seed, options(seed, EPOCHS)) for regime, seed in networks() if regime not in TUNED]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda job: train(*job), [("natural", "half", options(0, EPOCHS // 2)), *scratch]))
    start = f"--model.warm_start={checkpoint('natural', 'half')}"
    for regime in TUNED:
        train(regime, 0, options(0, EPOCHS - EPOCHS // 2, start))


def evaluate(config: str, checkpoints: list[str]) -> None:
    """Run the evaluation command and keep its results under the name of its configuration."""
    from lit_xai.evaluation.cli import evaluated

    file = f"configs/evaluate/{config}.yaml"
    output = evaluated(["-c", file, "--devices=1", "--checkpoints", *checkpoints])
    for file in ("results.csv", "card.json"):
        shutil.copy(output / file, RESULTS / f"{config}_{file}")


def evaluate_all() -> None:
    """Evaluate every network, and one of each main regime under the standard ensemble."""
    evaluate("regimes", [f"{regime}/{seed}={checkpoint(regime, seed)}" for regime, seed in networks()])
    evaluate("regimes_standard", [f"{regime}={checkpoint(regime, 0)}" for regime in MAIN])


def cost_all() -> None:
    """Time a training step of each regime beside a natural one, without the optimiser, on one thread."""
    from lit_xai.evaluation.checkpoints import load_classifier

    torch.set_num_threads(1)
    data, rows = EmbeddedFashion(max_train=2000), []
    batch = Batch(*next(iter(data.train_dataloader())))
    for regime in (*MAIN, *OTHERS):
        classifier = load_classifier(checkpoint(regime, 0))
        model = classifier.model.train()
        method = classifier.regime.prepare(model, data.donors)
        ratios = []
        for _ in range(REPEATS):
            natural = statistics.mean(seconds(model, Natural(), batch) for _ in range(5))
            ratios.append(seconds(model, method, batch) / natural)
        rows.append(
            {"regime": regime, "cost": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        )
    pd.DataFrame(rows).to_csv(RESULTS / "cost.csv", index=False)


def seconds(model: nn.Module, regime: Regime, batch: Batch) -> float:
    """Return the time of a loss and its gradient."""
    begun = time.perf_counter()
    regime.loss(model, batch.image, batch.label, Noise(0, batch.sample_id)).total.backward()
    return time.perf_counter() - begun


def render_all() -> None:
    """Write the tables of these parts into the page."""
    render("regimes", "regimes_integrated_gradients", "regimes_saliency", "regimes_standard")


PARTS = {"train": train_all, "evaluate": evaluate_all, "cost": cost_all, "render": render_all}


def main(names: list[str]) -> None:
    """Do the named parts, or all."""
    unknown = set(names) - PARTS.keys()
    if unknown:
        sys.exit(f"Expected {', '.join(PARTS)}, but got {' '.join(sorted(unknown))}.")
    os.chdir(ROOT)
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name, part in PARTS.items():
        if not names or name in names:
            part()


if __name__ == "__main__":
    main(sys.argv[1:])
