"""How many images a second each explanation of AttEXplore's comparison explains, and over its bare passes.

    python benchmarks/frames_per_second.py --networks NAME=FILE... --data FILE [--output DIRECTORY]

explains the same images one batch after the other with every explanation of a grid: FILE is a checkpoint or,
as for evaluate.py, a YAML file with `model` and `weights`. A first run of each method records every forward
pass of the network, how many images it had and how often it was differentiated; the bare passes are these and
nothing else, on images that are ready. Frames per second are those of AttEXplore's paper (appendix E): images
over running time. The table goes to the terminal, and with `--output` to `frames_per_second.csv` there.
"""

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

from lit_xai.attributions.base import Attribution
from lit_xai.command import Parser
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.grid import Grid
from lit_xai.evaluation.naming import named_checkpoints
from lit_xai.evaluation.subjects import from_checkpoint, from_model
from lit_xai.evaluation.table import markdown
from lit_xai.gate import evaluating
from lit_xai.noise import Noise
from lit_xai.refusal import one_line_errors
from lit_xai.types import Batch

GRID = Path(__file__).parents[1] / "configs" / "grids" / "attexplore.yaml"
# They do not look at the network.
CONTROLS = ("constant_map", "random_map")


@dataclass
class Pass:
    """A forward pass: the shape of its images, and how many backward passes followed."""

    shape: torch.Size
    backwards: int = 0


class Recording(nn.Module):
    """A network that keeps account of its passes."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.passes: list[Pass] = []

    def forward(self, image: Tensor) -> Tensor:
        """Return the network's logits, (N, K), for pixels in [0, 1], (N, C, H, W)."""
        logits: Tensor = self.network(image)
        # A pass that the network refuses, as AttEXplore's larger images where the size is fixed, is none.
        made = Pass(image.shape)
        self.passes.append(made)
        if logits.requires_grad:
            logits.register_hook(lambda _: self._differentiated(made))
        return logits

    @staticmethod
    def _differentiated(made: Pass) -> None:
        made.backwards += 1


@dataclass(frozen=True)
class Row:
    """What an explanation takes.

    Attributes:
        network: Name of the network.
        attribution: Name of the explanation.
        count: Images that were explained, in one repeat.
        forwards: Forward passes for each image.
        backwards: Backward passes for each image.
        frames_per_second: Images over running time, median over the repeats.
        lowest: Of these.
        highest: Of these.
        ratio: Running time over that of the bare passes, median over the repeats.
    """

    network: str
    attribution: str
    count: int
    forwards: float
    backwards: float
    frames_per_second: float
    lowest: float
    highest: float
    ratio: float


def explain(method: Attribution, model: nn.Module, batches: list[Batch]) -> None:
    """Explain batches, without a graph."""
    with evaluating(model), torch.no_grad():
        for batch in batches:
            method.attribute(model, batch.image, batch.label, Noise(0, batch.sample_id))


def recorded(method: Attribution, model: nn.Module, batches: list[Batch]) -> list[Pass]:
    """Return the passes that explaining the batches takes."""
    recording = Recording(model)
    explain(method, recording, batches)
    return recording.passes


def replay(model: nn.Module, passes: list[Pass], ready: Mapping[torch.Size, Tensor]) -> None:
    """Make passes, and nothing else."""
    with evaluating(model):
        for one in passes:
            leaf = ready[one.shape].requires_grad_(one.backwards > 0)
            with torch.set_grad_enabled(one.backwards > 0):
                logits = model(leaf)
            for number in range(one.backwards):
                score = logits[:, 0].sum()
                torch.autograd.grad(score, leaf, retain_graph=number + 1 < one.backwards)


def seconds(work: Callable[[], None]) -> float:
    """Return the wall time of a call, without what a device had still to do before it."""
    _finish()
    begun = time.perf_counter()
    work()
    _finish()
    return time.perf_counter() - begun


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(
    names: tuple[str, str], method: Attribution, model: nn.Module, batches: list[Batch], repeats: int
) -> Row:
    """Time a method on batches, and beside it, each time, its bare passes."""
    passes = recorded(method, model, batches)
    ready = {one.shape: torch.rand(one.shape).to(batches[0].image) for one in passes}
    count = sum(len(batch.image) for batch in batches)
    whole, least = [], []
    for _ in range(repeats):
        whole.append(seconds(lambda: explain(method, model, batches)))
        least.append(seconds(lambda: replay(model, passes, ready)))
    speeds = [count / one for one in whole]
    return Row(
        *names,
        count,
        sum(one.shape[0] for one in passes) / count,
        sum(one.shape[0] * one.backwards for one in passes) / count,
        statistics.median(speeds),
        min(speeds),
        max(speeds),
        statistics.median(one / other for one, other in zip(whole, least, strict=True)),
    )


def measure(
    networks: Mapping[str, Path], grid: Grid, batches: list[Batch], repeats: int, device: str
) -> Iterator[Row]:
    """Time every explanation of a grid, but the controls, on every network."""
    for name, path in networks.items():
        subject = (from_model if path.suffix in (".yaml", ".yml") else from_checkpoint)(name, path)
        model = subject.load().to(device)
        for title, method in grid.attributions.items():
            if title in CONTROLS:
                continue
            prepared = method.prepare(model, lambda: batches)
            row = timed((name, title), prepared, model, batches, repeats)
            sys.stdout.write(f"{name}, {title}: {row.frames_per_second:.4g} frames a second\n")
            sys.stdout.flush()
            yield row


def options() -> Parser:
    """Return the parser of the command line."""
    parser = Parser(prog="frames_per_second.py", description="Time every explanation of a grid.")
    add = parser.add_argument
    add("--networks", type=str, nargs="+", required=True, help="Checkpoints or YAML files, or name=file.")
    parser.add_subclass_arguments(Grid, "grid", help="Its explanations are timed.")
    parser.set_defaults({"grid": str(GRID)})
    parser.add_subclass_arguments(ImageDataModule, "data", required=True, help="The images.")
    add("--images", type=int, default=8, help="Images explained in one repeat.")
    add("--batch_size", type=int, default=1, help="Images explained at once.")
    add("--repeats", type=int, default=3, help="How often everything is timed.")
    add("--device", type=str, default="cpu", help="Where the network is.")
    add("--output", type=Path | None, default=None, help="Directory of frames_per_second.csv.")
    return parser


def main(arguments: list[str] | None = None) -> pd.DataFrame:
    """Time everything, write the table and return it."""
    parser = options()
    built = parser.instantiate(parser.parse_args(arguments))
    loader = built.data.evaluation_loader("test", built.images, 0, built.batch_size)
    batches = [Batch(*(part.to(built.device) for part in batch)) for batch in loader]
    networks = named_checkpoints(built.networks)
    found = measure(networks, built.grid, batches, built.repeats, built.device)
    table = pd.DataFrame([asdict(row) for row in found])
    lines = [[str(row[0]), str(row[1]), *(f"{value:.4g}" for value in row[2:])] for row in table.to_numpy()]
    sys.stdout.write(markdown(list(table.columns), lines) + "\n")
    if built.output is not None:
        built.output.mkdir(parents=True, exist_ok=True)
        table.to_csv(built.output / "frames_per_second.csv", index=False, float_format="%.5g")
    return table


if __name__ == "__main__":
    with one_line_errors():
        main()
