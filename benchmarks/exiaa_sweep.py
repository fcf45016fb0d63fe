"""What the eXIAA sweep of the paper costs in one grid, over its cells run one by one.

5 alphas x 10 k x 3 donors = 150 cells under integrated gradients, on a narrow network with random weights and
embedded images, in one thread. Both sides use the same prepared attacks and score the same metric: donors are
ranked once, outside the times. One by one, every cell explains its clean images, its donors and its attacked
images; the grid explains each clean image and each donor once. The scores are compared to the last bit.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.donors import DonorPool
from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.grid import Grid
from lit_xai.gate import evaluating
from lit_xai.metrics.change import ExplanationChange
from lit_xai.models.small import SmallCNN
from lit_xai.noise import Noise
from lit_xai.types import Batch

REPEATS = 5
SAMPLES, PATH_STEPS, WIDTH = 8, 20, 8
ALPHAS = (0.03, 0.06, 0.09, 0.12, 0.15)
SHARES = (0.01, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
RANKS = (0, 1, 2)


def timed(work: Callable[[], list[Tensor]]) -> tuple[float, list[Tensor]]:
    """Return the wall time of a call, in seconds, and its result."""
    begun = time.perf_counter()
    result = work()
    return time.perf_counter() - begun, result


def cells() -> dict[str, EXIAA]:
    """Return the attacks of the sweep, the donors innermost."""
    options = [(alpha, k, rank) for alpha in ALPHAS for k in SHARES for rank in RANKS]
    return {
        f"cell_{number}": EXIAA(alpha=alpha, k=k, rank=rank)
        for number, (alpha, k, rank) in enumerate(options)
    }


def together(grid: Grid, model: SmallCNN, batch: Batch) -> list[Tensor]:
    """Return each cell's scores from one update of a prepared grid."""
    grid.reset()
    grid.update(model, batch)
    records = grid.records()
    scores = records[records["metric"] == "change"].groupby("attack", sort=False)["value"]
    return [torch.tensor(values.to_numpy()) for _, values in scores]


def one_by_one(
    attacks: list[EXIAA], explanation: IntegratedGradients, model: SmallCNN, batch: Batch
) -> list[Tensor]:
    """Return each cell's scores from runs that share nothing but the ranking of donors."""
    scores = []
    for attack in attacks:
        result = run_attack(model, explanation, attack, batch, seed=0)
        scores.append(ExplanationChange().scores(model, result, Noise(0, batch.sample_id)).double())
    return scores


def main() -> None:
    """Print the median ratio with its range."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = SmallCNN(width=WIDTH)
    data = EmbeddedFashion(max_train=2000)
    batch = Batch(*next(iter(data.evaluation_loader("test", batch_size=SAMPLES))))
    with torch.no_grad(), evaluating(model):
        batch = batch._replace(label=model(batch.image).argmax(dim=1))
    explanation = IntegratedGradients(path_steps=PATH_STEPS)
    grid = Grid({"integrated_gradients": explanation}, cells(), {"change": ExplanationChange()})
    pool = DonorPool(data.donors)
    grid.prepare(model, pool)
    attacks = [attack.prepare(model, pool) for attack in cells().values()]
    ratios = []
    for _ in range(REPEATS):
        slow, expected = timed(lambda: one_by_one(attacks, explanation, model, batch))
        fast, found = timed(lambda: together(grid, model, batch))
        assert all(torch.equal(one, other) for one, other in zip(expected, found, strict=True))
        ratios.append(slow / fast)
    sys.stdout.write(
        f"{len(attacks)} cells one by one over one grid: "
        f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})\n"
    )


if __name__ == "__main__":
    main()
