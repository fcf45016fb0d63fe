"""Scores of samples, gathered from batches and processes, and what becomes of them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor

from lit_xai.evaluation.gathering import of_all_processes
from lit_xai.metrics.base import summarize


class Row(NamedTuple):
    """A mean over samples, with what it is made of.

    Attributes:
        attribution: Name in the grid.
        attack: Name in the grid.
        metric: Name in the grid.
        value: Mean over the samples that are not excluded and whose score is defined.
        stderr: Its standard error.
        count: Number of those samples.
        failed: Samples among the not excluded whose image or prediction shows that the attack failed: it
            changed nothing or changed the prediction.
        excluded: Samples misclassified before the attack, or that the attack cannot be tried on.
        kept_value: Mean over those that did not fail.
        kept_count: Number of those.
    """

    attribution: str
    attack: str
    metric: str
    value: float
    stderr: float
    count: int  # type: ignore[assignment]
    failed: int
    excluded: int
    kept_value: float
    kept_count: int


@dataclass(frozen=True, eq=False)
class Scores:
    """Some samples of one cell, on the CPU.

    Attributes:
        sample_id: Positions in the data set, (N,).
        excluded: Samples that were not attacked, (N,), bool.
        failed: Samples whose attack failed, (N,), bool.
        metrics: Scores by metric, (N,), NaN where excluded or undefined.
    """

    sample_id: Tensor
    excluded: Tensor
    failed: Tensor
    metrics: Mapping[str, Tensor]

    def rows(self, attribution: str, attack: str) -> Iterator[Row]:
        """Yield the mean of every metric, under the names of the cell."""
        failed, excluded = int(self.failed.sum()), int(self.excluded.sum())
        for metric, scores in self.metrics.items():
            whole = summarize(scores[~self.excluded])
            kept = summarize(scores[~self.excluded & ~self.failed])
            mean = (whole.value, whole.stderr, whole.count)
            yield Row(attribution, attack, metric, *mean, failed, excluded, kept.value, kept.count)

    def records(self) -> pd.DataFrame:
        """Return single scores: columns metric, sample_id, value.

        Beside the metrics, `excluded` and `failed` are 0 or 1; an excluded sample has no other row.
        """
        flags = {"excluded": self.excluded.double(), "failed": self.failed.double()}
        frames = []
        for metric, values in {**flags, **self.metrics}.items():
            chosen = slice(None) if metric == "excluded" else ~self.excluded
            columns = {"sample_id": self.sample_id[chosen].numpy(), "value": values[chosen].numpy()}
            frames.append(pd.DataFrame(columns).assign(metric=metric))
        return pd.concat(frames, ignore_index=True)[["metric", "sample_id", "value"]]


Cells = dict[tuple[str, str], list[Scores]]


def gathered(scores: Cells) -> dict[tuple[str, str], Scores]:
    """Merge the batches of all processes by sample; every process must call it.

    Raises:
        ValueError: If a sample comes twice.
    """
    cells: Cells = {}
    for share in of_all_processes(scores):
        for key, parts in share.items():
            cells.setdefault(key, []).extend(parts)
    return {key: _merged(parts) for key, parts in cells.items()}


def _merged(parts: list[Scores]) -> Scores:
    sample_id = torch.cat([part.sample_id for part in parts])
    order = sample_id.argsort()
    ordered = sample_id[order]
    if len(repeated := ordered[1:][ordered[1:] == ordered[:-1]]):
        raise ValueError(
            f"Expected each sample once, but got sample {repeated[0].item()} twice. "
            "Use a sampler that does not pad."
        )
    return Scores(
        ordered,
        torch.cat([part.excluded for part in parts])[order],
        torch.cat([part.failed for part in parts])[order],
        {name: torch.cat([part.metrics[name] for part in parts])[order] for name in parts[0].metrics},
    )
