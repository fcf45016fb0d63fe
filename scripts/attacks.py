"""Run every attack on three trained networks and score it by every metric.

    python scripts/attacks.py

takes the newest networks that `make demo` trained and writes results/attacks and two tables of
docs/attacks.md: every attack by every metric, and the standard ensemble beside each of its members.
"""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from jsonargparse import ArgumentParser

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.attacks.base import Attack, run_attack  # noqa: E402
from lit_xai.attacks.worst_of import WorstOf  # noqa: E402
from lit_xai.attributions.grad_cam import GradCAM  # noqa: E402
from lit_xai.attributions.integrated_gradients import IntegratedGradients  # noqa: E402
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance  # noqa: E402
from lit_xai.attributions.saliency import Saliency  # noqa: E402
from lit_xai.evaluation.table import insert, markdown  # noqa: E402
from lit_xai.metrics.maps import pixel_map  # noqa: E402
from lit_xai.reporting.reading import read_table  # noqa: E402
from lit_xai.types import Batch  # noqa: E402

EXPLANATIONS = {
    "integrated_gradients": IntegratedGradients(path_steps=10),
    "saliency": Saliency(),
    "layerwise_relevance": LayerwiseRelevance(),
    "grad_cam": GradCAM(),
}
MEMBER_SAMPLES = 64
REGIMES = ("natural", "pgd", "ig_sum_norm")
RESULTS = ROOT / "results" / "attacks"
PAGE = ROOT / "docs" / "attacks.md"


def newest(experiment: str) -> Path:
    """Return the newest run directory of an experiment.

    Raises:
        SystemExit: If there is none.
    """
    runs = list(Path("runs", experiment).glob("[0-9]*"))
    if not runs:
        sys.exit(f"Expected networks in runs/{experiment}, but got none. Run `make demo` first.")
    return max(runs, key=lambda path: int(path.name))


def checkpoint(regime: str) -> Path:
    """Return the newest network that the demo trained under a regime."""
    return newest(f"demo_{regime}") / "checkpoints" / "last.ckpt"


def measure() -> None:
    """Evaluate the three networks and keep the results."""
    from lit_xai.evaluation.cli import evaluated

    files = [f"{regime}={checkpoint(regime)}" for regime in REGIMES]
    output = evaluated(["-c", "configs/evaluate/attacks.yaml", "--devices", "1", "--checkpoints", *files])
    for file in ("results.csv", "card.json"):
        shutil.copy(output / file, RESULTS / file)


def standard() -> WorstOf:
    """Return the ensemble of configs/attacks/standard.yaml."""
    parser = ArgumentParser()
    parser.add_subclass_arguments(Attack, "attack")
    parsed = parser.parse_args([f"--attack={ROOT / 'configs' / 'attacks' / 'standard.yaml'}"])
    built: WorstOf = parser.instantiate(parsed).attack
    return built


def measure_members() -> pd.DataFrame:
    """Return each sample's score under the standard ensemble, and under each member alone with its draws."""
    from lit_xai.data.embedded_fashion import EmbeddedFashion
    from lit_xai.evaluation.checkpoints import load_classifier

    whole, rows = standard(), []
    alone = {name: replace(whole, attacks={name: member}) for name, member in whole.attacks.items()}
    for regime in REGIMES:
        model = load_classifier(checkpoint(regime)).model.eval()
        batch = Batch(*next(iter(EmbeddedFashion().evaluation_loader("test", max_samples=MEMBER_SAMPLES))))
        with torch.no_grad():
            correct = model(batch.image).argmax(dim=1) == batch.label
        batch = Batch(*(tensor[correct] for tensor in batch))
        for explanation, attribution in EXPLANATIONS.items():
            for name, attack in {"standard": whole, **alone}.items():
                result = run_attack(model, attribution, attack, batch, seed=0)
                maps = pixel_map(result.attribution), pixel_map(result.attribution_adv)
                columns = {"sample_id": result.sample_id, "score": whole.criterion.score(*maps)}
                frame = pd.DataFrame({key: values.numpy() for key, values in columns.items()})
                rows.append(frame.assign(network=regime, explanation=explanation, attack=name))
    return pd.concat(rows)


def members_table(samples: pd.DataFrame) -> str:
    """Render the mean scores of the ensemble and of its members, and how often each alone is the worst."""
    rows = []
    for (network, explanation), part in samples.groupby(["network", "explanation"], sort=False):
        scores = part.pivot_table(index="sample_id", columns="attack", values="score")
        members = [name for name in dict.fromkeys(part["attack"]) if name != "standard"]
        lowest = scores[members].eq(scores[members].min(axis=1), axis=0)
        cells = [f"{scores['standard'].mean():.3f}"]
        for name in members:
            alone = int((lowest[name] & (lowest.sum(axis=1) == 1)).sum())
            cells.append(f"{scores[name].mean():.3f} ({alone})")
        weaker = int((scores[members].min(axis=1) < scores["standard"]).sum())
        rows.append([explanation, network, *cells, str(weaker), str(len(scores))])
    header = ["explanation", "network", "standard", *members, "weaker than a member", "n"]
    return markdown(header, rows)


def tables(results: pd.DataFrame) -> str:
    """Render a table for each network and explanation as Markdown: metrics down, attacks across."""
    cells = results[results["attribution"] != "none"]
    parts = []
    for (network, explanation), part in cells.groupby(["checkpoint", "attribution"], sort=False):
        parts.append(f"{explanation}, {network}\n\n{_table(part)}")
    return "\n\n".join(parts)


def _table(part: pd.DataFrame) -> str:
    attacks = list(dict.fromkeys(part["attack"]))
    rows = []
    for metric, values in part.groupby("metric", sort=False):
        by_attack = values.set_index("attack")
        rows.append([str(metric), *(_cell(by_attack.loc[attack]) for attack in attacks)])
    first = part.drop_duplicates("attack").set_index("attack")
    rows.extend(
        [f"*{column}*", *(str(first.loc[attack, column]) for attack in attacks)]
        for column in ("failed", "excluded")
    )
    tried = part.groupby("attack")["count"].max()
    rows.append(["*n*", *(str(tried[attack]) for attack in attacks)])
    return markdown(["metric", *attacks], rows)


def _cell(row: pd.Series) -> str:
    return f"{row['value']:.1f}" if abs(row["value"]) >= 10 else f"{row['value']:.3f}"


def render() -> None:
    """Write the tables into the page."""
    page = insert(PAGE.read_text(), "attacks", tables(read_table(RESULTS / "results.csv")))
    members = members_table(pd.read_csv(RESULTS / "members.csv"))
    PAGE.write_text(insert(page, "standard", members))


if __name__ == "__main__":
    os.chdir(ROOT)
    RESULTS.mkdir(parents=True, exist_ok=True)
    measure_members().to_csv(RESULTS / "members.csv", index=False, float_format="%.6g")
    measure()
    render()
