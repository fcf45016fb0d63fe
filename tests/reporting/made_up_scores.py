"""Results whose scores are given one by one."""

import pandas as pd

from lit_xai.reporting.reading import Results
from lit_xai.reporting.summary import summarize
from tests.reporting.made_up import made_up_card

WEAK, STRONG, SIGNS = "top_k_eps_0_1", "top_k_eps_0_2", "random_sign_eps_0_1"


def scored(scores, *, accuracy=None, failed=None, excluded=None, groups=None, rises=True) -> Results:
    """Return results of one attribution and metric.

    Args:
        scores: By checkpoint and attack: a score for each sample, by its place.
        accuracy: By checkpoint: 0 or 1 for each image.
        failed: By checkpoint and attack: 0 or 1 for each sample, else 0.
        excluded: By checkpoint and attack: the number of excluded samples beside those with a score.
        groups: Regime and seed by checkpoint.
        rises: Whether higher is more robust.
    """
    failed, excluded, rows = failed or {}, excluded or {}, []

    def add(checkpoint, attribution, attack, metric, values):
        rows.extend((checkpoint, attribution, attack, metric, *item) for item in enumerate(values))

    for (checkpoint, attack), values in scores.items():
        cell = (checkpoint, "saliency", attack)
        left_out = excluded.get((checkpoint, attack), 0)
        add(*cell, "excluded", [0.0] * len(values) + [1.0] * left_out)
        add(*cell, "failed", failed.get((checkpoint, attack), [0.0] * len(values)))
        add(*cell, "top_k", values)
    for checkpoint, values in (accuracy or {}).items():
        add(checkpoint, "none", "unattacked", "accuracy", values)
    checkpoints = tuple(dict.fromkeys([checkpoint for checkpoint, _ in scores]))
    card = made_up_card(checkpoints, ("saliency",), groups or {}, 10, ())
    card["metrics"] = {"top_k": {**card["metrics"]["top_k"], "higher_is_better": rises}}
    names = ["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]
    samples, empty = pd.DataFrame(rows, columns=names), pd.DataFrame()
    return Results(card, samples, summarize(samples), empty, empty, empty)
