"""Plans carried out on all devices: what is missing is measured, and written when it is done."""

import sys
import time
from collections.abc import Mapping, Sequence
from typing import Never

import pandas as pd
from lightning.fabric import Fabric
from lightning.pytorch.utilities import rank_zero_info
from torch import nn
from tqdm import tqdm

from lit_xai.attacks.donors import DonorPool
from lit_xai.evaluation.cost import Passes
from lit_xai.evaluation.gathering import of_all_processes
from lit_xai.evaluation.memory import Memory
from lit_xai.evaluation.plan import Plan
from lit_xai.evaluation.store import Store, identity

EXAMPLES = "examples"


class Runner:
    """Measures what a store lacks.

    Args:
        store: Where pieces are found and written; only the first process writes.
        fabric: The devices.
    """

    def __init__(self, store: Store, fabric: Fabric) -> None:
        self._store = store
        self._fabric = fabric
        self._prepared: tuple[Plan, nn.Module] | None = None

    def run(self, plans: Sequence[Plan]) -> Passes:
        """Measure what is missing, say before what it costs, and show the time left.

        Args:
            plans: Of networks that the same is measured on.

        Returns:
            The passes of all pieces, found or measured.
        """
        missing: set[str] = self._fabric.broadcast(self._missing(plans))
        costs = self._costs(plans)
        rank_zero_info(_announcement(plans, missing, costs))
        left = set(missing)
        with tqdm(
            total=sum(_both(costs[key]) for key in missing),
            desc="Evaluating",
            unit=" passes",
            unit_scale=True,
            file=sys.stdout,
            disable=not self._fabric.is_global_zero or not missing,
        ) as bar:
            for plan in plans:
                bar.set_postfix_str(plan.subject.name)
                self._carry_out(plan, left, costs, bar)
        total = [costs[piece.key] for plan in plans for piece in plan.pieces]
        return Passes(sum(each.forward for each in total), sum(each.backward for each in total))

    def _missing(self, plans: Sequence[Plan]) -> set[str]:
        if not self._fabric.is_global_zero:
            return set()
        return {piece.key for plan in plans for piece in plan.pieces if piece.key not in self._store}

    def _costs(self, plans: Sequence[Plan]) -> dict[str, Passes]:
        """Count, or find, the passes of every piece on all its images, as the first network needs them."""
        first = plans[0]
        key = identity("passes", [piece.key for piece in first.pieces])
        counted = self._fabric.broadcast(self._counted(key))
        if counted is None:
            network = self._prepare(first)
            rank, size = self._fabric.global_rank, self._fabric.world_size
            own = {n: vars(piece.passes(network)) for n, piece in enumerate(first.pieces) if n % size == rank}
            shares = of_all_processes(own)
            counted = pd.DataFrame([shares[n % size][n] for n in range(len(first.pieces))])
            if self._fabric.is_global_zero:
                self._store.write(key, counted, {})
        each = [Passes(int(row["forward"]), int(row["backward"])) for row in counted.to_dict("records")]
        return {
            piece.key: Passes(passes.forward * piece.images(), passes.backward * piece.images())
            for plan in plans
            for piece, passes in zip(plan.pieces, each, strict=True)
        }

    def _counted(self, key: str) -> pd.DataFrame | None:
        if not self._fabric.is_global_zero or key not in self._store:
            return None
        return self._store.scores(key)

    def _carry_out(self, plan: Plan, left: set[str], costs: Mapping[str, Passes], bar: "tqdm[Never]") -> None:
        memory = Memory(all_clean=plan.agreement is not None)
        for piece in plan.pieces:
            if piece.key not in left:
                continue
            network = self._prepare(plan)
            share = _both(costs[piece.key]) * self._fabric.world_size / piece.images()

            def advance(images: int, share: float = share) -> None:
                # Shares of processes may be uneven.
                bar.update(min(share * images, (bar.total or 0) - bar.n))

            begun = time.monotonic()
            measured = piece.measure(network, memory, advance)
            if self._fabric.is_global_zero:
                beside = {} if measured.examples is None else {EXAMPLES: measured.examples}
                self._store.write(piece.key, measured.scores, beside, time.monotonic() - begun)
            left.discard(piece.key)

    def _prepare(self, plan: Plan) -> nn.Module:
        """Return the network of a plan, with the grid prepared for it; only one at a time is in memory."""
        if self._prepared is None or self._prepared[0] is not plan:
            self._prepared = None
            network = plan.subject.load().to(self._fabric.device)
            plan.grid.prepare(network, DonorPool(plan.subset.data.donors, shared=True))
            self._prepared = (plan, network)
        return self._prepared[1]


def _announcement(plans: Sequence[Plan], missing: set[str], costs: Mapping[str, Passes]) -> str:
    cells = [cell.key for plan in plans for cell in plan.cells]
    found = sum(key not in missing for key in cells)
    forward = sum(costs[key].forward for key in missing)
    backward = sum(costs[key].backward for key in missing)
    grid = plans[0].grid
    return (
        f"Evaluating {len(plans)} network(s) x {len(grid.attributions)} explanation(s) x "
        f"{len(grid.attacks)} attack(s) on {len(plans[0].subset)} images: {len(cells)} cells, "
        f"{found} of them found. The rest needs about {forward:,} forward and {backward:,} backward passes "
        "of one image."
    )


def _both(passes: Passes) -> int:
    return passes.forward + passes.backward
