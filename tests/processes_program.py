"""What `test_processes.py` measures: `python processes_program.py RANK SIZE FOLDER`, a process of several."""

import copy
import dataclasses
import itertools
import sys
import warnings
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from jsonargparse import ArgumentParser
from torch import Tensor, nn

from lit_xai.attacks.base import Attack
from lit_xai.attacks.donors import DonorPool
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.top_k import TopK
from lit_xai.attributions.base import Attribution
from lit_xai.attributions.saliency import Saliency
from lit_xai.attributions.smooth_grad import SmoothGrad
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.memory import Memory
from lit_xai.metrics.base import SampleMetric
from lit_xai.models.small import SmallCNN
from lit_xai.types import AttackResult, Batch

ROOT = Path(__file__).parents[1]
SAMPLES = 21
KINDS: dict[str, type] = {"attributions": Attribution, "attacks": Attack, "metrics": SampleMetric}

# Fewer passes by the same code: an option that is larger is lowered to this.
MOST = {"steps": 6, "path_steps": 5, "samples": 5, "references": 5, "classes": 4, "max_batch": 16}

# What a fragment needs in order to be run here.
CHANGES = {
    # ImageNet's three colours, where these images have one.
    "metrics/deletion_rise": {"substrate": "[0.485]"},
    # In the last feature map of the network with batch norm, little speaks for the class.
    "attributions/grad_cam": {"layer": "features.3"},
    # Some samples are fooled and some are not.
    "metrics/fooling_success_rate": {"interval": "[0.4, 0.4357]"},
    "metrics/untouched_fooling_rate": {"interval": "[0.4, 0.4357]"},
    # Not every pixel has room.
    "metrics/diverse_count": {"k": "300"},
}

# Beside the fragments: a climb long enough that samples are finished, each at its own step.
FURTHER: dict[str, Attack] = {"top_k_to_the_end": TopK(eps=0.1, step_size=0.02, steps=30, k=5)}

# The attacks under which metrics are taken: a climb, and one so far that predictions change.
BENEATH = ("top_k", "far_sign")
FAR = RandomSign(eps=0.4)

# What SmallCNN in single precision does not give to 1e-6, and why: it is run in double precision. The sums of
# a matrix product are rounded in an order that depends on the number of its rows, which are the images.
DOUBLE = {
    **dict.fromkeys(
        [f"attributions/attexplore_{name}" for name in ("plain", "pgd", "mi", "ti", "di")],
        "a gradient through two saturated softmaxes has few digits, and steps follow its sign",
    ),
    "attributions/grad_cam": "interpolated neighbours are nearly equal: 1 of the 100 highest is another",
    "attacks/target_map": "Adam divides a gradient by its own size: near zero a rounding is a part of a step",
    **dict.fromkeys(
        ("metrics/kendall", "metrics/lens_kendall", "metrics/spearman", "metrics/lens_spearman"),
        "two of 784 pixels of nearly equal values that change places are 6.5e-6",
    ),
}


def stems(kind: str) -> list[str]:
    """Return the names of all fragments of a kind."""
    return sorted(path.stem for path in (ROOT / "configs" / kind).glob("*.yaml"))


def built(kind: str, stem: str) -> Any:
    """Return what a fragment describes, with fewer passes."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(KINDS[kind], "component")
    arguments = [f"--component={ROOT / 'configs' / kind / stem}.yaml"]
    changes = CHANGES.get(f"{kind}/{stem}", {})
    arguments += [f"--component.init_args.{name}={value}" for name, value in changes.items()]
    return lowered(parser.instantiate(parser.parse_args(arguments)).component)


def lowered(part: Any) -> Any:
    """Return a method, and the methods that it is made of, with the options of `MOST` lowered."""
    if isinstance(part, Mapping):
        return {name: lowered(value) for name, value in part.items()}
    if isinstance(part, list | tuple):
        return type(part)(lowered(value) for value in part)
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    changes = {}
    for field in dataclasses.fields(part):
        if field.init:
            value = lowered(getattr(part, field.name))
            capped = isinstance(value, int) and field.name in MOST
            changes[field.name] = min(value, MOST[field.name]) if capped else value
    return dataclasses.replace(part, **changes)


class Normed(nn.Sequential):
    """A network that says something else in training mode: batch norm, and dropout."""

    def __init__(self) -> None:
        features = nn.Sequential(
            nn.Conv2d(1, 4, 3, stride=2, padding=1),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.Conv2d(4, 8, 3, stride=2, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
        )
        head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8 * 7 * 7, 10))
        super().__init__(OrderedDict(features=features, head=head))


def untrained() -> dict[str, nn.Module]:
    """Return the networks by name, in single and in double precision."""
    torch.manual_seed(0)
    return {"small": SmallCNN(width=8), "normed": Normed()}


def trained() -> dict[str, dict[str, Tensor]]:
    """Return the weights of the networks, trained until they are right about three images in four."""
    images, states = EmbeddedFashion(max_train=2000), {}
    for name, network in untrained().items():
        optimizer = torch.optim.Adam(network.parameters(), 2e-3)
        for _ in range(4):
            for image, label, _ in images.train_dataloader():
                optimizer.zero_grad()
                nn.functional.cross_entropy(network(image), label).backward()
                optimizer.step()
        states[name] = network.state_dict()
    return states


def grids() -> Iterator[tuple[str, str, Grid]]:
    """Yield the name of a grid, the network it is for, and the grid."""
    parts = {kind: {stem: built(kind, stem) for stem in stems(kind)} for kind in KINDS}
    parts["attacks"] |= FURTHER
    metrics = {stem: parts["metrics"][stem] for stem in ("change", "lens_precision")}
    signs = {"random_sign": parts["attacks"]["random_sign"]}
    beneath = dict(zip(BENEATH, (parts["attacks"]["top_k"], FAR), strict=True))
    noisy = {"smooth_grad": SmoothGrad(3)}
    for network in ("small", "normed", "double"):
        for kind in ("attributions", "attacks"):
            chosen = {
                stem: part
                for stem, part in parts[kind].items()
                if network == "normed" or (f"{kind}/{stem}" in DOUBLE) == (network == "double")
            }
            if chosen:
                pair = (chosen, signs) if kind == "attributions" else (noisy, chosen)
                yield f"{network}/{kind}", network, Grid(*pair, metrics)
    for explanation in dict.fromkeys(metric.explanation for metric in parts["metrics"].values()):
        own = {stem: metric for stem, metric in parts["metrics"].items() if metric.explanation == explanation}
        for precision in ("small", "double"):
            single = {stem: part for stem, part in own.items() if f"metrics/{stem}" not in DOUBLE}
            chosen = own if precision == "double" else single
            name = f"{precision}/metrics of {explanation}"
            yield name, precision, Grid({"own": explanation or Saliency()}, beneath, chosen)


class Measured(NamedTuple):
    """What one process saw.

    Attributes:
        samples: Maps, images and scores: by grid and cell, quantity and sample.
        records: The table of each grid, over all processes.
        rows: The means of each grid, over all processes.
    """

    samples: dict[str, dict[str, dict[int, Tensor]]]
    records: dict[str, pd.DataFrame]
    rows: dict[str, list[Any]]


def measured(folder: Path, sizes: Sequence[int], donors_together: int) -> Measured:
    """Measure this process's share of the samples.

    Args:
        folder: Where the networks are.
        sizes: Of the batches, in turn.
        donors_together: Donors in a batch.
    """
    images, found = EmbeddedFashion(max_train=200, eval_batch_size=donors_together), Measured({}, {}, {})
    (share,) = images.evaluation_loader("test", SAMPLES, batch_size=SAMPLES)
    networks = untrained()
    for name, state in torch.load(folder / "networks.pt", weights_only=True).items():
        networks[name].load_state_dict(state)
    networks["double"] = copy.deepcopy(networks["small"]).double()
    networks["normed"].double().train()
    for name, network, grid in grids():
        with warnings.catch_warnings():
            # Methods count what they cannot explain in a batch, so it is said in other words.
            warnings.simplefilter("ignore")
            grid.prepare(networks[network], DonorPool(images.donors, shared=True))
            for batch in batches(Batch(*share), sizes):
                _update(grid, networks[network], batch, name, found)
        found.records[name], found.rows[name] = grid.records(), list(grid.rows())
    return found


def batches(share: Batch, sizes: Sequence[int]) -> Iterator[Batch]:
    """Yield the samples in batches of these sizes, in turn."""
    begin = 0
    for size in itertools.cycle(sizes):
        if begin >= len(share.label):
            return
        yield Batch(*(tensor[begin : begin + size] for tensor in share))
        begin += size


def _update(grid: Grid, network: nn.Module, batch: Batch, name: str, found: Measured) -> None:
    memory = Memory()
    for attribution in grid.attributions:
        for attack in grid.attacks:
            cell = found.samples.setdefault(f"{name}/{attribution}/{attack}", {})

            def observe(
                result: AttackResult, scores: Mapping[str, Tensor], cell: dict[str, dict[int, Tensor]] = cell
            ) -> None:
                quantities = ("attribution", "attribution_adv", "image_adv", "logits_adv", "kept")
                values = {quantity: getattr(result, quantity).double() for quantity in quantities} | scores
                for quantity, rows in values.items():
                    kept = cell.setdefault(quantity, {})
                    kept.update(zip(result.sample_id.tolist(), rows.clone(), strict=True))

            grid.update(network, batch, cells={(attribution, attack)}, memory=memory, observe=observe)


def main(rank: int, size: int, folder: Path) -> None:
    """Measure beside other processes, in batches of 4."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=size
    )
    torch.save(tuple(measured(folder, (4,), 16)), folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
