"""Evaluations that never ran, each of a few numbers, to be ranked."""

from datetime import datetime

import pandas as pd

from lit_xai.reporting.cards import Evaluation

COLUMNS = "checkpoint attribution attack metric value stderr count failed excluded low high"
ATTACKS = {"unattacked": ("Unattacked", 0.0), "sign": ("RandomSign", 0.1), "top_k": ("TopK", 0.1)}


def evaluation(path: str, values: dict, *, created: str = "2026-01-02T03:04:05+00:00", **parts) -> Evaluation:
    """Return an evaluation of the metric `top_k` on saliency.

    Args:
        path: Of its card.
        values: For every checkpoint, its means under attacks: a number, or (value, low, high).
        created: Its date.
        parts: Replace parts of its card. A checkpoint's checksum is its name unless they say otherwise.
    """
    rows = []
    for checkpoint, means in values.items():
        for name, mean in means.items():
            value, low, high = mean if isinstance(mean, tuple) else (mean, mean - 0.01, mean + 0.01)
            kind = ("none", name, "accuracy") if name == "pgd" else ("saliency", name, "top_k")
            rows.append((checkpoint, *kind, value, 0.005, 40, 2, 3, low, high))
    card = {
        "format": 1,
        "created": created,
        "samples": {"split": "test", "count": 40, "batch_size": 64},
        "seeds": {"grid": 0, "subset": 0},
        "data": {"class_path": "my.data.Images", "sha256": {"test": "aa", "donors": "bb"}},
        "checkpoints": {name: {"sha256": name, "regime": "natural", "seed": 0} for name in values},
        "attributions": {"saliency": {"class_path": "my.Saliency", "init_args": {}}},
        "attacks": {name: attack(*settings) for name, settings in ATTACKS.items()},
        "metrics": {"top_k": {"class_path": "my.TopK", "init_args": {"k": 8}, "higher_is_better": True}},
        "claims": [],
    } | parts
    moment = datetime.fromisoformat(created)
    return Evaluation(path, card, pd.DataFrame(rows, columns=COLUMNS.split()), moment)


def attack(name: str, radius: float | None, **settings) -> dict:
    """Return what a card says about an attack."""
    settings = settings or ({"eps": radius} if radius else {})
    return {"class_path": f"my.{name}", "init_args": settings, "radius": radius, "values": settings}
