"""Attributions x attacks x metrics, on one network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.donors import DonorPool
from lit_xai.attributions.base import Attribution
from lit_xai.evaluation.composition import check_parts
from lit_xai.evaluation.remembering import remembering
from lit_xai.gate import evaluating, measuring, on_network
from lit_xai.metrics.base import SampleMetric, summarize
from lit_xai.noise import Noise
from lit_xai.types import Batch, Donors


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
class _Scores:
    """One batch of one cell, on the CPU: positions, flags, and each metric's scores, NaN where excluded."""

    sample_id: Tensor
    excluded: Tensor
    failed: Tensor
    metrics: dict[str, Tensor]


class Grid(nn.Module):
    """Every attribution under every attack, scored by every metric, sample by sample.

    Scores are kept by sample and sorted by position before they are averaged, so the results are the same for
    any batch size, order and number of processes; a sample that comes twice is an error.

    Args:
        attributions: Explanations, by name.
        attacks: Attacks, by name.
        metrics: Metrics, by name.
        seed: Of all draws.

    Raises:
        ValueError: If a name is not made of lower-case letters, digits and underscores, a part of the grid is
            empty, or a metric scores another explanation than the grid's.
        TypeError: If an attack differentiates and an attribution is not differentiable.
    """

    def __init__(
        self,
        attributions: Mapping[str, Attribution],
        attacks: Mapping[str, Attack],
        metrics: Mapping[str, SampleMetric],
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_parts(attributions, attacks, metrics)
        self.attributions = dict(attributions)
        self.attacks = dict(attacks)
        # Not a MetricCollection: its compute groups merge metrics whose first batch happens to agree.
        self.metrics = nn.ModuleDict(metrics)
        self.seed = seed
        self._attributions = dict(attributions)
        self._attacks = dict(attacks)
        self._scores: dict[tuple[str, str], list[_Scores]] = {}

    def prepare(self, model: nn.Module, donors: Donors) -> None:
        """Forget earlier samples, and let each part learn what it needs of network and donors."""
        self.reset()
        pool = DonorPool.of(donors)
        with measuring(), evaluating(model):
            self._attributions = {name: part.prepare(model, pool) for name, part in self.attributions.items()}
            self._attacks = {name: part.prepare(model, pool) for name, part in self.attacks.items()}

    def reset(self) -> None:
        """Forget earlier samples."""
        self._scores = {}

    def update(self, model: nn.Module, batch: Batch, *, share: bool = True) -> None:
        """Attack and score N samples.

        Args:
            model: Maps pixels in [0, 1] to logits; its mode and its parameters are left as they were.
            batch: N samples, moved to the network's device.
            share: Whether cells find each other's maps of equal images, as `remembering` does. It changes no
                number; without it the passes of a sample do not depend on those beside it.
        """
        with measuring(), evaluating(model), torch.no_grad():
            batch = on_network(model, batch)
            logits = model(batch.image)
            # A network that has diverged predicts nothing: its samples are excluded.
            correct = (logits.argmax(dim=1) == batch.label) & logits.isfinite().all(dim=1)
            eligible = {name: attack.eligible(batch.image, logits) for name, attack in self._attacks.items()}
            for name, attribution in self._attributions.items():
                method = remembering(attribution) if share else attribution
                clean = self._clean_maps(model, method, _select(batch, correct))
                for attack in self.attacks:
                    tried = correct & eligible[attack]
                    cell = self._attack(model, method, attack, batch, tried, clean[tried[correct]])
                    self._scores.setdefault((name, attack), []).append(cell)

    def rows(self) -> Iterator[Row]:
        """Yield a row for each cell and metric, over all processes; every process must call it."""
        for (attribution, attack), cell in self._gathered().items():
            failed, excluded = int(cell.failed.sum()), int(cell.excluded.sum())
            for metric, scores in cell.metrics.items():
                whole = summarize(scores[~cell.excluded])
                kept = summarize(scores[~cell.excluded & ~cell.failed])
                yield Row(
                    attribution,
                    attack,
                    metric,
                    whole.value,
                    whole.stderr,
                    whole.count,
                    failed,
                    excluded,
                    kept.value,
                    kept.count,
                )

    def records(self) -> pd.DataFrame:
        """Return a table of single scores, over all processes; every process must call it.

        Returns:
            Columns attribution, attack, metric, sample_id, value. Beside the metrics, `excluded` and `failed`
            are 0 or 1; an excluded sample has no other row.
        """
        frames = []
        for (attribution, attack), cell in self._gathered().items():
            flags = {"excluded": cell.excluded.double(), "failed": cell.failed.double()}
            for metric, values in {**flags, **cell.metrics}.items():
                chosen = slice(None) if metric == "excluded" else ~cell.excluded
                ids = cell.sample_id[chosen].numpy()
                frame = pd.DataFrame({"sample_id": ids, "value": values[chosen].numpy()})
                frames.append(frame.assign(attribution=attribution, attack=attack, metric=metric))
        columns = ["attribution", "attack", "metric", "sample_id", "value"]
        return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)

    def _clean_maps(self, model: nn.Module, method: Attribution, batch: Batch) -> Tensor:
        explain = method.bind(model, Noise(self.seed, batch.sample_id).child("attribution"))
        return explain(batch.image, batch.label)

    def _attack(
        self,
        model: nn.Module,
        method: Attribution,
        attack: str,
        batch: Batch,
        included: Tensor,
        clean: Tensor,
    ) -> _Scores:
        chosen = _select(batch, included)
        metrics = {
            name: torch.full((len(included),), float("nan"), dtype=torch.float64) for name in self.metrics
        }
        failed = torch.zeros(len(included), dtype=torch.bool)
        place = included.cpu()
        if len(chosen.label):
            result = run_attack(model, method, self._attacks[attack], chosen, self.seed, clean)
            noise = Noise(self.seed, chosen.sample_id)
            for name, metric in self.metrics.items():
                assert isinstance(metric, SampleMetric)
                metrics[name][place] = metric.scores(model, result, noise).cpu().double()
            failed[place] = result.failed.cpu()
        return _Scores(batch.sample_id.cpu(), ~place, failed, metrics)

    def _gathered(self) -> dict[tuple[str, str], _Scores]:
        shares = [self._scores]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            shares = [{} for _ in range(torch.distributed.get_world_size())]
            torch.distributed.all_gather_object(shares, self._scores)
        cells: dict[tuple[str, str], list[_Scores]] = {}
        for share in shares:
            for key, parts in share.items():
                cells.setdefault(key, []).extend(parts)
        return {key: _merge(parts) for key, parts in cells.items()}


def _select(batch: Batch, chosen: Tensor) -> Batch:
    return Batch(*(tensor[chosen] for tensor in batch))


def _merge(parts: list[_Scores]) -> _Scores:
    sample_id = torch.cat([part.sample_id for part in parts])
    order = sample_id.argsort()
    ordered = sample_id[order]
    if len(repeated := ordered[1:][ordered[1:] == ordered[:-1]]):
        raise ValueError(
            f"Expected each sample once, but got sample {repeated[0].item()} twice. "
            "Use a sampler that does not pad."
        )
    return _Scores(
        ordered,
        torch.cat([part.excluded for part in parts])[order],
        torch.cat([part.failed for part in parts])[order],
        {name: torch.cat([part.metrics[name] for part in parts])[order] for name in parts[0].metrics},
    )
