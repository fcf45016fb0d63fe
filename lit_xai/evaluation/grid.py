"""Attributions x attacks x metrics, on one network."""

import copy
from collections.abc import Callable, Collection, Iterator, Mapping

import pandas as pd
import torch
from torch import Tensor, nn

from lit_xai.attacks.base import Attack, run_attack
from lit_xai.attacks.donors import DonorPool
from lit_xai.attributions.base import Attribution
from lit_xai.evaluation.composition import check_attacks, check_parts
from lit_xai.evaluation.memory import Memory
from lit_xai.evaluation.scores import Cells, Row, Scores, gathered
from lit_xai.gate import evaluating, measuring, on_network
from lit_xai.metrics.base import SampleMetric
from lit_xai.noise import Noise
from lit_xai.types import AttackResult, Batch, Donors

Observer = Callable[[AttackResult, Mapping[str, Tensor]], None]


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
        self._scores: Cells = {}

    def prepare(self, model: nn.Module, donors: Donors) -> None:
        """Forget earlier samples, and let each part learn what it needs of network and donors."""
        self.reset()
        pool = DonorPool.of(donors)
        with measuring(), evaluating(model):
            self._attributions = {name: part.prepare(model, pool) for name, part in self.attributions.items()}
            self._attacks = {name: part.prepare(model, pool) for name, part in self.attacks.items()}

    def with_attacks(self, attacks: Mapping[str, Attack]) -> "Grid":
        """Return a copy with other attacks, that has seen no samples."""
        check_attacks(self.attributions, attacks)
        grid = copy.copy(self)
        grid.attacks = grid._attacks = dict(attacks)
        grid.reset()
        return grid

    def reset(self) -> None:
        """Forget earlier samples."""
        self._scores = {}

    def update(
        self,
        model: nn.Module,
        batch: Batch,
        *,
        cells: Collection[tuple[str, str]] | None = None,
        memory: Memory | None = None,
        observe: Observer | None = None,
    ) -> None:
        """Attack and score N samples.

        Args:
            model: Maps pixels in [0, 1] to logits; its mode and its parameters are left as they were.
            batch: N samples, moved to the network's device.
            cells: Names of attributions and attacks to run; all pairs if None.
            memory: Where cells find each other's maps; a new one if None. It changes no number.
            observe: Called with every result of an attack and its scores by metric, each (N,).
        """
        memory = Memory() if memory is None else memory
        with measuring(), evaluating(model), torch.no_grad():
            batch = on_network(model, batch)
            logits = model(batch.image)
            correct = self._correct(logits, batch.label)
            for name, attacks in self._chosen(cells).items():
                method = memory.method(name, self._attributions[name])
                clean = self._clean_maps(model, name, method, _select(batch, correct), memory)
                for attack in attacks:
                    tried = correct & self._attacks[attack].eligible(batch.image, logits)
                    maps = clean[tried[correct]]
                    cell = self._attack(model, method, attack, batch, tried, maps, observe)
                    self._scores.setdefault((name, attack), []).append(cell)

    def clean_maps(self, model: nn.Module, batch: Batch, memory: Memory) -> tuple[Batch, dict[str, Tensor]]:
        """Explain N samples as they are.

        Args:
            model: Maps pixels in [0, 1] to logits.
            batch: N samples, moved to the network's device.
            memory: Where maps that were made before are found.

        Returns:
            The samples that are classified correctly, and their maps by attribution.
        """
        with measuring(), evaluating(model), torch.no_grad():
            batch = on_network(model, batch)
            chosen = _select(batch, self._correct(model(batch.image), batch.label))
            maps = {
                name: self._clean_maps(model, name, memory.method(name, part), chosen, memory)
                for name, part in self._attributions.items()
            }
        return chosen, maps

    def rows(self) -> Iterator[Row]:
        """Yield a row for each cell and metric, over all processes; every process must call it."""
        for (attribution, attack), cell in gathered(self._scores).items():
            yield from cell.rows(attribution, attack)

    def records(self) -> pd.DataFrame:
        """Return a table of single scores, over all processes; every process must call it.

        Returns:
            Columns attribution, attack, metric, sample_id, value. Beside the metrics, `excluded` and `failed`
            are 0 or 1; an excluded sample has no other row.
        """
        frames = [
            cell.records().assign(attribution=attribution, attack=attack)
            for (attribution, attack), cell in gathered(self._scores).items()
        ]
        columns = ["attribution", "attack", "metric", "sample_id", "value"]
        return pd.concat(frames, ignore_index=True)[columns] if frames else pd.DataFrame(columns=columns)

    @staticmethod
    def _correct(logits: Tensor, label: Tensor) -> Tensor:
        # A network that has diverged predicts nothing: its samples are excluded.
        return (logits.argmax(dim=1) == label) & logits.isfinite().all(dim=1)

    def _chosen(self, cells: Collection[tuple[str, str]] | None) -> dict[str, list[str]]:
        pairs = {
            name: [attack for attack in self.attacks if cells is None or (name, attack) in cells]
            for name in self.attributions
        }
        return {name: attacks for name, attacks in pairs.items() if attacks}

    def _clean_maps(
        self, model: nn.Module, name: str, method: Attribution, batch: Batch, memory: Memory
    ) -> Tensor:
        known = memory.clean(name, batch.sample_id)
        if known is not None:
            return known.to(batch.image.device)
        explain = method.bind(model, Noise(self.seed, batch.sample_id).child("attribution"))
        maps = explain(batch.image, batch.label)
        memory.keep_clean(name, batch.sample_id, maps)
        return maps

    def _attack(
        self,
        model: nn.Module,
        method: Attribution,
        attack: str,
        batch: Batch,
        included: Tensor,
        clean: Tensor,
        observe: Observer | None,
    ) -> Scores:
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
            if observe is not None:
                observe(result, {name: scores[place] for name, scores in metrics.items()})
        return Scores(batch.sample_id.cpu(), ~place, failed, metrics)


def _select(batch: Batch, chosen: Tensor) -> Batch:
    return Batch(*(tensor[chosen] for tensor in batch))
