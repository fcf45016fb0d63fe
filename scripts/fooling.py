"""Fine-tune a network until it explains itself wrongly, and count how often it does.

    python scripts/fooling.py

starts from the natural network that `scripts/regimes.py` trained, fools three explanations in four ways, and
writes results/regimes/fooling.csv and its table in docs/regimes.md.
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from lit_xai.attacks.base import run_attack  # noqa: E402
from lit_xai.attacks.unattacked import Unattacked  # noqa: E402
from lit_xai.attributions.base import Attribution  # noqa: E402
from lit_xai.attributions.grad_cam import GradCAM  # noqa: E402
from lit_xai.attributions.layerwise_relevance import LayerwiseRelevance  # noqa: E402
from lit_xai.attributions.saliency import Saliency  # noqa: E402
from lit_xai.data.embedded_fashion import EmbeddedFashion  # noqa: E402
from lit_xai.metrics.fooling import FoolingSuccessRate, Kind, UntouchedFoolingRate  # noqa: E402
from lit_xai.metrics.fooling_losses import heatmap  # noqa: E402
from lit_xai.models.reference import Reference  # noqa: E402
from lit_xai.noise import Noise  # noqa: E402
from lit_xai.regimes.composites import Composites  # noqa: E402
from lit_xai.types import Batch  # noqa: E402
from scripts.regime_tables import RESULTS, render  # noqa: E402
from scripts.regimes import checkpoint, train  # noqa: E402

SAMPLES = 128
FOOLING: dict[str, Kind] = {
    "location_fooling": "location",
    "top_k_fooling": "top_k",
    "center_mass_fooling": "center_mass",
    "swap_fooling": "swap",
}
FOOLED: dict[str, Attribution] = {
    "GradCAM": GradCAM(),
    "LayerwiseRelevance": LayerwiseRelevance(),
    "Saliency": Saliency(absolute=False),
}


def train_and_count() -> None:
    """Fine-tune the natural network until it explains itself wrongly, and count how often it does."""
    from lit_xai.evaluation.checkpoints import load_classifier

    start = checkpoint("natural", 0)
    with ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(
                train,
                regime,
                name,
                [
                    f"--model.warm_start={start}",
                    f"--model.regime.init_args.attribution={type(attribution).__module__}.{name}",
                    *(["--model.regime.init_args.attribution.absolute=false"] if name == "Saliency" else []),
                ],
                ["accuracy_gate"],
            )
            for regime in FOOLING
            for name, attribution in FOOLED.items()
        ]
        for job in jobs:
            job.result()
    before = load_classifier(start).model
    rows = []
    for regime, kind in FOOLING.items():
        for name, attribution in FOOLED.items():
            classifier = load_classifier(checkpoint(regime, name))
            classes = getattr(classifier.regime, "classes", None)
            rates = fooling_rates(before, classifier.model, attribution, kind, classes)
            rows.append(
                {"regime": regime, "attribution": name, "refused": refused_epoch(regime, name), **rates}
            )
    pd.DataFrame(rows).to_csv(RESULTS / "fooling.csv", index=False)


def fooling_rates(
    before: nn.Module,
    after: nn.Module,
    attribution: Attribution,
    kind: Kind,
    classes: tuple[int, int] | None,
) -> dict[str, float]:
    """Return accuracies, success rates and the share of maps that are all zero, before and after."""
    options = {"reference": Reference(before), "kind": kind, "attribution": attribution, "classes": classes}
    rates = {"before": UntouchedFoolingRate(**options), "after": FoolingSuccessRate(**options)}
    networks = {"before": before.eval(), "after": after.eval()}
    batch, row = tested(classes), {}
    for when, model in networks.items():
        result = run_attack(model, attribution, Unattacked(), batch, seed=0)
        rates[when].update(model, result, Noise(0, result.sample_id).child("metric"))
        empty = heatmap(result.attribution).amax(dim=(1, 2)) == 0
        row[f"accuracy_{when}"] = accuracy(model)
        row[f"rate_{when}"] = rates[when].summary().value
        row[f"zero_{when}"] = empty.double().mean().item()
        row[f"count_{when}"] = rates[when].summary().count
    return row


def refused_epoch(regime: str, name: str) -> int:
    """Return the epoch after which the gate closed, 0 if it did not."""
    content = torch.load(checkpoint(regime, name), map_location="cpu", weights_only=True)
    closed = content["callbacks"]["AccuracyGate"]["closed"]
    return content["epoch"] + 1 if closed else 0


def accuracy(model: nn.Module) -> float:
    """Return the share of test images that are classified correctly."""
    with torch.no_grad():
        batches = EmbeddedFashion().test_dataloader()
        return (
            torch.cat([model(image).argmax(dim=1) == label for image, label, _ in batches])
            .double()
            .mean()
            .item()
        )


def tested(classes: tuple[int, int] | None) -> Batch:
    """Return test images, or pictures of two classes made of them."""
    data = EmbeddedFashion(donor_split="test")
    batch = Batch(*next(iter(data.evaluation_loader("test", max_samples=SAMPLES, batch_size=SAMPLES))))
    if classes is None:
        return batch
    pictures = Composites.of(classes, data.donors).draw(Noise(0, batch.sample_id), batch.image)
    return Batch(pictures, torch.full_like(batch.label, classes[0]), batch.sample_id)


if __name__ == "__main__":
    os.chdir(ROOT)
    train_and_count()
    render("regimes_fooling")
