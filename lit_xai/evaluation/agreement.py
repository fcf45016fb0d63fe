"""Whether several explanations of one image say the same."""

from collections.abc import Mapping
from itertools import permutations

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from lit_xai.gate import evaluating, measuring
from lit_xai.metrics.base import SampleMetric
from lit_xai.metrics.maps import Reduce, check_finite, pixel_map
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch

_COLUMNS: dict[str, type] = {
    "first": str,
    "second": str,
    "metric": str,
    "sample_id": np.int64,
    "value": np.float64,
}


def agreement_scores(
    model: nn.Module,
    metrics: Mapping[str, SampleMetric],
    maps: Mapping[str, Tensor],
    batch: Batch,
    noise: Noise,
) -> pd.DataFrame:
    """Score every ordered pair of explanations by what compares maps before and after an attack.

    Kamath et al. (2024, arXiv 2312.10534, section 3.1) name this use of their measures. The first explanation
    takes the place of the clean map, the second that of the attacked one. Explanations may differ in
    channels, so maps over pixels are compared: reduced as the metric says (`reduce`), by `abs_sum` where it
    would compare every channel.

    Args:
        model: The explained network.
        metrics: By name; those that do not compare maps (`compares_maps`) are left out.
        maps: Explanations of the clean images, by name, (N, C, H, W) or (N, 1, H, W).
        batch: N samples, all of them classified correctly.
        noise: The randomness that the metrics are given, keyed by sample.

    Returns:
        Columns first, second, metric, sample_id, value: the score of each sample, NaN where undefined.

    Raises:
        ValueError: If a map is not finite; the sample is named.
    """
    for values in maps.values():
        check_finite(values, batch.sample_id)
    sample_id = batch.sample_id.cpu().numpy()
    frames = [pd.DataFrame(columns=list(_COLUMNS)).astype(_COLUMNS)]
    with measuring(), evaluating(model), torch.no_grad():
        logits = model(batch.image)
        for first, second in permutations(maps, 2):
            for name, metric in metrics.items():
                if metric.compares_maps:
                    pair = _pair(metric, maps[first], maps[second], batch, logits)
                    value = metric.scores(model, pair, noise).double().cpu().numpy()
                    columns = {"first": first, "second": second, "metric": name}
                    frames.append(pd.DataFrame({**columns, "sample_id": sample_id, "value": value}))
    return pd.concat(frames, ignore_index=True)


def _pair(metric: SampleMetric, first: Tensor, second: Tensor, batch: Batch, logits: Tensor) -> AttackResult:
    """Return two explanations as if an attack that leaves the image as it is had changed one to the other."""
    # To reduce a map of one channel again leaves it as it is.
    reduce: Reduce = getattr(metric, "reduce", None) or "abs_sum"
    before, after = (pixel_map(maps.to(batch.image.device), reduce)[:, None] for maps in (first, second))
    return AttackResult(
        image=batch.image,
        image_adv=batch.image,
        label=batch.label,
        target=batch.label,
        sample_id=batch.sample_id,
        logits=logits,
        logits_adv=logits,
        attribution=before,
        attribution_adv=after,
        applied=torch.zeros_like(batch.label, dtype=torch.bool),
        kept=torch.ones_like(batch.label, dtype=torch.bool),
    )
