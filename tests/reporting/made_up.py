"""Result files of an evaluation that never ran: everything `evaluate.py` writes, small and seeded."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

METRICS = {
    "top_k": ("lit_xai.metrics.top_k.TopKIntersection", True),
    "lens_precision": ("lit_xai.metrics.lens.LENSPrecision", True),
    "change": ("lit_xai.metrics.change.ExplanationChange", False),
    "ssim": ("lit_xai.metrics.ssim.ImageSSIM", True),
    "confidence_change": ("lit_xai.metrics.prediction.ConfidenceChange", False),
}
RADII = (0.05, 0.1, 0.2)
ALPHAS, SHARES = (0.06, 0.15), (0.05, 0.2, 0.6)


def write_results(
    directory: Path,
    checkpoints: tuple[str, ...] = ("natural", "pgd"),
    *,
    attributions: tuple[str, ...] = ("integrated_gradients", "saliency"),
    groups: dict[str, tuple[str, int]] | None = None,
    samples: int = 40,
    claims: tuple[dict, ...] = (),
) -> Path:
    """Write a finished evaluation and return its directory.

    Args:
        directory: Made if it is missing.
        checkpoints: Names; each later one is more robust and less accurate than the one before.
        attributions: Names of explanations.
        groups: Regime and seed of a checkpoint; by default every checkpoint is its own regime with seed 0.
        samples: Size of the subset.
        claims: What the card claims.
    """
    directory.mkdir(parents=True, exist_ok=True)
    frame = made_up_samples(checkpoints, attributions, samples)
    frame.to_parquet(directory / "samples.parquet", index=False)
    made_up_table(frame).to_csv(directory / "results.csv", index=False)
    made_up_agreement(checkpoints, attributions, samples).to_parquet(
        directory / "agreement.parquet", index=False
    )
    made_up_examples(checkpoints, attributions).to_parquet(directory / "examples.parquet", index=False)
    made_up_training(checkpoints).to_csv(directory / "training.csv", index=False)
    card = made_up_card(checkpoints, attributions, groups or {}, samples, claims)
    (directory / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return directory


def attacks() -> dict[str, dict]:
    """Return the card's attacks: two controls, an epsilon sweep of two attacks, a surface of eXIAA."""
    found = {"unattacked": _attack("unattacked.Unattacked", radius=0.0)}
    for eps in RADII:
        for family, name in (("random_sign", "random_sign.RandomSign"), ("top_k", "top_k.TopK")):
            swept = f"{family}_eps_{str(eps).replace('.', '_')}"
            found[swept] = _attack(name, radius=eps, sweep=family, values={"eps": eps})
    for alpha in ALPHAS:
        for share in SHARES:
            name = f"exiaa_alpha_{str(alpha).replace('.', '_')}_k_{str(share).replace('.', '_')}"
            values = {"alpha": alpha, "k": share}
            found[name] = _attack("exiaa.EXIAA", radius=None, sweep="exiaa", values=values)
    return found


def _attack(path: str, *, radius: float | None, sweep: str | None = None, values: dict | None = None) -> dict:
    return {
        "class_path": f"lit_xai.attacks.{path}",
        "init_args": values or {},
        "radius": radius,
        "needs_gradient": path.startswith("top_k"),
        "sweep": sweep,
        "values": values or {},
    }


def made_up_samples(
    checkpoints: tuple[str, ...], attributions: tuple[str, ...], samples: int
) -> pd.DataFrame:
    """Return the content of `samples.parquet`."""
    generator = np.random.default_rng(0)
    ids = np.sort(generator.choice(10 * samples, samples, replace=False))
    difficulty = generator.normal(size=samples)
    frames = []
    for order, checkpoint in enumerate(checkpoints):
        for kind, rate in (("unattacked", 0.9 - 0.05 * order), ("pgd", 0.2 + 0.2 * order)):
            correct = generator.random(10 * samples) < rate
            frames.append(_frame(checkpoint, "none", kind, "accuracy", np.arange(10 * samples), correct))
        for attribution in attributions:
            for attack, options in attacks().items():
                strength = sum(options["values"].values()) * (2.0 if options["needs_gradient"] else 1.0)
                excluded = generator.random(samples) < 0.1
                failed = (generator.random(samples) < 0.05) | (attack == "unattacked")
                cell = (checkpoint, attribution, attack)
                frames.append(_frame(*cell, "excluded", ids, excluded))
                frames.append(_frame(*cell, "failed", ids[~excluded], failed[~excluded]))
                for metric, (_, rises) in METRICS.items():
                    noise = 0.05 * difficulty + 0.05 * generator.normal(size=samples)
                    kept = np.clip(1 - strength / (1 + order) + noise * (strength > 0), 0, 1)
                    value = kept if rises else 100 * (1 - kept)
                    frames.append(_frame(*cell, metric, ids[~excluded], value[~excluded]))
    return pd.concat(frames, ignore_index=True)


def _frame(checkpoint, attribution, attack, metric, ids, value) -> pd.DataFrame:
    columns = {"checkpoint": checkpoint, "attribution": attribution, "attack": attack, "metric": metric}
    return pd.DataFrame({**columns, "sample_id": ids, "value": np.asarray(value, dtype=np.float64)})


def made_up_table(samples: pd.DataFrame) -> pd.DataFrame:
    """Return the content of `results.csv`, its intervals those of a normal mean."""
    rows = []
    for cell, frame in samples.groupby(["checkpoint", "attribution", "attack"], sort=False):
        failed = frame[(frame.metric == "failed") & (frame.value == 1)].sample_id
        excluded = int(frame[frame.metric == "excluded"].value.sum())
        for metric, scores in frame.groupby("metric", sort=False):
            if metric in ("failed", "excluded"):
                continue
            kept = scores[~scores.sample_id.isin(failed)].value
            stderr = scores.value.std() / len(scores) ** 0.5
            mean = scores.value.mean()
            numbers = (mean, stderr, len(scores), len(failed), excluded, kept.mean(), len(kept))
            rows.append((*cell, metric, *numbers, mean - 1.96 * stderr, mean + 1.96 * stderr))
    names = "checkpoint attribution attack metric"
    numbers = "value stderr count failed excluded kept_value kept_count low high"
    return pd.DataFrame(rows, columns=[*names.split(), *numbers.split()])


def made_up_agreement(
    checkpoints: tuple[str, ...], attributions: tuple[str, ...], samples: int
) -> pd.DataFrame:
    """Return the content of `agreement.parquet`."""
    generator = np.random.default_rng(1)
    frames = [
        pd.DataFrame(
            {
                "checkpoint": checkpoint, "first": first, "second": second, "metric": metric,
                "sample_id": np.arange(samples), "value": generator.random(samples),
            }
        )
        for checkpoint in checkpoints
        for first in attributions
        for second in attributions
        if first != second
        for metric in ("top_k", "lens_precision")
    ]  # fmt: skip
    columns = ["checkpoint", "first", "second", "metric", "sample_id", "value"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def made_up_examples(checkpoints: tuple[str, ...], attributions: tuple[str, ...]) -> pd.DataFrame:
    """Return the content of `examples.parquet`: the two extremes of every attacked cell."""
    generator = np.random.default_rng(2)
    rows = []
    for checkpoint in checkpoints:
        for attribution in attributions:
            for attack in attacks():
                if attack == "unattacked":
                    continue
                for place, extreme in enumerate(("worst", "best")):
                    image = generator.integers(0, 256, (8, 8, 1), dtype=np.uint8)
                    before, after = generator.random((2, 8, 8), dtype=np.float32)
                    rows.append(
                        {
                            "checkpoint": checkpoint, "attribution": attribution, "attack": attack,
                            "metric": "top_k", "extreme": extreme, "place": 1, "sample_id": place,
                            "value": 0.1 + 0.8 * place, "label": 3, "target": 3, "kept": True,
                            "height": 8, "width": 8, "channels": 1,
                            "image": image.tobytes(), "image_adv": (255 - image).tobytes(),
                            "map": before.tobytes(), "map_adv": after.tobytes(),
                        }
                    )  # fmt: skip
    return pd.DataFrame(rows)


def made_up_training(checkpoints: tuple[str, ...]) -> pd.DataFrame:
    """Return the content of `training.csv`."""
    rows = []
    for order, checkpoint in enumerate(checkpoints):
        for epoch in (1, 2, 3):
            rows.append((checkpoint, epoch, "val/accuracy", 0.5 + 0.1 * epoch - 0.05 * order))
            rows.append((checkpoint, epoch, "val/pgd_accuracy", 0.1 + 0.05 * epoch * (1 + order)))
            for attack in ("random_sign", "top_k"):
                key = f"robustness/integrated_gradients/{attack}"
                rows.append((checkpoint, epoch, f"{key}/top_k", 0.3 + 0.05 * epoch + 0.1 * order))
                rows.append((checkpoint, epoch, f"{key}/top_k_count", 60.0))
                rows.append((checkpoint, epoch, f"{key}/failed", 2.0))
    return pd.DataFrame(rows, columns=["checkpoint", "epoch", "key", "value"])


def made_up_card(checkpoints, attributions, groups, samples, claims) -> dict:
    """Return the content of `card.json`."""
    return {
        "format": 1,
        "created": "2026-01-02T03:04:05+00:00",
        "command": ["evaluate.py", "-c", "configs/evaluate/quick.yaml"],
        "versions": {"python": "3.11.7", "lit_xai": "0.1.0", "torch": "2.14.1"},
        "device": {"type": "cpu", "processes": 1},
        "precision": "float32",
        "seeds": {"grid": 0, "subset": 0},
        "samples": {"split": "test", "count": samples, "accuracy_count": 10 * samples, "batch_size": 64},
        "data": {
            "class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion",
            "init_args": {"max_train": 2000},
            "sha256": {"test": "ab" * 32, "donors": "cd" * 32},
        },
        "checkpoints": {
            name: {
                "file": f"runs/{name}/1/checkpoints/last.ckpt",
                "sha256": f"{order:064x}",
                "model": "lit_xai.models.small.SmallCNN",
                "parameters": 12345,
                "regime": groups.get(name, (name, 0))[0],
                "group": groups.get(name, (name, 0))[0],
                "seed": groups.get(name, (name, 0))[1],
                "epoch": 3,
                "steps": 48,
                "precision": "bf16-mixed",
            }
            for order, name in enumerate(checkpoints)
        },
        "attributions": {
            name: {"class_path": f"lit_xai.attributions.{name}", "init_args": {}} for name in attributions
        },
        "attacks": attacks(),
        "metrics": {
            name: {
                "class_path": path,
                "init_args": {},
                "higher_is_better": rises,
                "description": f"Mean {name}.",
            }
            for name, (path, rises) in METRICS.items()
        },
        "claims": list(claims),
        "passes": {"forward": 123456, "backward": 7890},
        "seconds": dict.fromkeys(checkpoints, 1.5),
        "config": {},
    }
