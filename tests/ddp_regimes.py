"""What `test_ddp.py` trains on one process and on two.

`python ddp_regimes.py PROCESSES OUTPUT [normed | synchronised]`
"""

import os
import sys
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import nn

from lit_xai.attacks.exiaa import EXIAA
from lit_xai.attacks.soft_coverage import SoftCoverage
from lit_xai.attributions.integrated_gradients import IntegratedGradients
from lit_xai.attributions.saliency import Saliency
from lit_xai.callbacks.accuracy_gate import AccuracyGate
from lit_xai.evaluation.gathering import of_all_processes
from lit_xai.module import LitClassifier
from lit_xai.regimes.base import Regime
from lit_xai.regimes.exiaa_training import EXIAATraining
from lit_xai.regimes.fooling import CenterMassFooling, LocationFooling, SwapFooling, TopKFooling
from lit_xai.regimes.gradient_alignment import GradientAlignment
from lit_xai.regimes.ig_norm import IGNorm
from lit_xai.regimes.ig_sum_norm import IGSumNorm
from lit_xai.regimes.igr import IGR
from lit_xai.regimes.lens_training import LENSTraining
from lit_xai.regimes.natural import Natural
from lit_xai.regimes.pgd import PGD
from lit_xai.regimes.rank_thickness import RankThickness
from lit_xai.regimes.scheduled import Ramp, Scheduled
from lit_xai.regimes.smooth_surface import SmoothSurface
from lit_xai.regimes.trades import TRADES
from lit_xai.regimes.triplet import Triplet
from tests.conftest import tiny_network
from tests.ddp_program import Stripes

SEARCH = {"eps": 0.1, "step_size": 0.03, "steps": 2}
# Four or eight images in a process: one, two or three points of a path at a time.
PATH = {"path_steps": 3, "max_batch": 8}
SALIENCY = Saliency(absolute=False)
REGIMES: dict[str, Regime] = {
    "natural": Natural(),
    "pgd": PGD(**SEARCH),
    "trades": TRADES(**SEARCH),
    "ig_norm": IGNorm(**SEARCH, **PATH, inner_path_steps=2),
    "ig_sum_norm": IGSumNorm(**SEARCH, **PATH, inner_path_steps=2),
    "igr": IGR(PGD(**SEARCH), **PATH),
    "gradient_alignment": GradientAlignment(),
    "triplet": Triplet(**SEARCH),
    "smooth_surface": SmoothSurface(),
    "rank_thickness": RankThickness(k=10),
    "exiaa_training": EXIAATraining(EXIAA(alpha=0.3), IntegratedGradients(**PATH)),
    "lens_training": LENSTraining(SoftCoverage(**SEARCH, k=10)),
    "location_fooling": LocationFooling(SALIENCY),
    "top_k_fooling": TopKFooling(SALIENCY),
    "center_mass_fooling": CenterMassFooling(SALIENCY),
    "swap_fooling": SwapFooling(SALIENCY, classes=(0, 1)),
    "scheduled": Scheduled(PGD(**SEARCH), {"eps": Ramp(), "step_size": Ramp()}),
}


def trained(processes: int, regime: Regime) -> torch.Tensor:
    """Train two epochs under a regime and return the weights."""
    return fitted(tiny_network(), processes, regime, lr=0.05)


def fitted(
    network: nn.Module,
    processes: int,
    regime: Regime,
    lr: float,
    batches: int = 1,
    gate: AccuracyGate | None = None,
) -> torch.Tensor:
    """Train a network for two epochs and return its weights."""
    classifier = LitClassifier(
        network, regime, 4, optimizer=lambda parameters: torch.optim.SGD(parameters, lr), adversary=None
    )
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        devices=processes,
        strategy="ddp" if processes > 1 else "auto",
        precision="64-true",
        accumulate_grad_batches=batches,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=1.0 if gate else 0,
        num_sanity_val_steps=0,
        callbacks=[gate] if gate else [],
    )
    trainer.fit(classifier, Stripes())
    return torch.cat([parameter.detach().flatten() for parameter in classifier.parameters()])


def normed() -> nn.Module:
    """Return a float64 network with batch norm."""
    torch.manual_seed(0)
    layers = nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4)
    return nn.Sequential(*layers).double()


def main_normed(processes: int, output: Path, *, synchronised: bool) -> None:
    """Train a network with batch norm, and write what every process holds after the last validation.

    Args:
        processes: On the CPU, or on as many GPUs where statistics are `synchronised`: PyTorch has no
            synchronised batch norm for the CPU.
        output: File to write.
        synchronised: Whether statistics are those of the whole batch.
    """
    states = {}
    for name in ("natural", "pgd", "ig_sum_norm"):
        network = normed()
        classifier = LitClassifier(
            network,
            REGIMES[name],
            4,
            optimizer=lambda parameters: torch.optim.SGD(parameters, 0.05),
            adversary=None,
        )
        trainer = pl.Trainer(
            max_epochs=2,
            accelerator="gpu" if synchronised else "cpu",
            devices=processes,
            strategy="ddp" if processes > 1 else "auto",
            precision="64-true",
            sync_batchnorm=synchronised,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        trainer.fit(classifier, Stripes())
        state = {key: value.detach().cpu() for key, value in classifier.model.state_dict().items()}
        states[name] = of_all_processes(state)
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        torch.save(states, output)


def main(processes: int, output: Path) -> None:
    """Train under each regime, once more behind a gate that closes, and write the weights."""
    weights = {name: trained(processes, regime) for name, regime in REGIMES.items()}
    network = tiny_network()
    nn.utils.vector_to_parameters(weights["natural"].clone(), network.parameters())
    weights["accumulated"] = fitted(tiny_network(), processes, REGIMES["ig_sum_norm"], lr=0.05, batches=3)
    weights["behind the gate"] = fitted(network, processes, Natural(), lr=100.0, gate=AccuracyGate())
    if int(os.environ.get("LOCAL_RANK", "0")) == 0:
        torch.save(weights, output)


if __name__ == "__main__":
    if sys.argv[3:]:
        main_normed(int(sys.argv[1]), Path(sys.argv[2]), synchronised=sys.argv[3] == "synchronised")
    else:
        main(int(sys.argv[1]), Path(sys.argv[2]))
