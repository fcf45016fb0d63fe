"""How many times as fast two processes evaluate as one, each with one thread.

A grid of two explanations and three attacks on 256 images of the embedded sample. The ratio is one process's
seconds over two processes': of the pieces, as the card adds them up, and of the whole command, which imports
everything in every process. Beside it what two cores give at all: the bare forward and backward passes of the
same network, half of them in each of two processes that never speak to each other.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[1]
REPEATS = 5
IMAGES, BATCH, ROUNDS, WIDTH = 256, 64, 24, 16


def bare(rounds: int) -> None:
    """Print the seconds of forward and backward passes of the network."""
    import torch

    from lit_xai.models.small import SmallCNN

    torch.manual_seed(0)
    network, image = SmallCNN(width=WIDTH), torch.rand(BATCH, 1, 28, 28, requires_grad=True)
    torch.autograd.grad(network(image).sum(), image)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    begun = time.perf_counter()
    for _ in range(rounds):
        torch.autograd.grad(network(image).sum(), image)
    sys.stdout.write(f"{time.perf_counter() - begun}\n")


def environment() -> dict[str, str]:
    """Return the environment of a process with one thread."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def bare_seconds(processes: int) -> float:
    """Return the seconds that several processes take for a fixed number of passes, begun at once."""
    command = [sys.executable, __file__, "bare", str(ROUNDS * 4 // processes)]
    started = [
        subprocess.Popen(command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for process in started:
        assert process.stdout is not None
        process.stdout.readline()
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return max(float(process.communicate()[0]) for process in started)


def settings(directory: Path) -> list[str]:
    """Write the options of an evaluation and return the command for it."""

    def fragments(kind: str, *names: str) -> dict[str, str]:
        return {name: str(ROOT / "configs" / kind / f"{name}.yaml") for name in names}

    grid = {
        "attributions": fragments("attributions", "saliency", "integrated_gradients"),
        "attacks": fragments("attacks", "unattacked", "top_k", "exiaa"),
        "metrics": fragments("metrics", "top_k", "lens_precision"),
    }
    config = {
        "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
        "data": {"class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion"},
        "max_samples": IMAGES,
        "batch_size": BATCH,
        "accelerator": "cpu",
    }
    model = {"model": {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": WIDTH}}}
    (directory / "evaluate.yaml").write_text(yaml.safe_dump(config))
    (directory / "small.yaml").write_text(yaml.safe_dump(model))
    files = ["-c", str(directory / "evaluate.yaml"), "--models", str(directory / "small.yaml")]
    return [sys.executable, str(ROOT / "evaluate.py"), *files]


def evaluation_seconds(directory: Path, processes: int, repeat: int) -> tuple[float, float]:
    """Return the seconds of the pieces and of the whole command."""
    output = directory / f"{processes}-{repeat}"
    begun = time.perf_counter()
    subprocess.run(
        [*settings(directory), f"--devices={processes}", f"--output={output}"],
        check=True,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    took = time.perf_counter() - begun
    return sum(json.loads((output / "card.json").read_text())["seconds"].values()), took


def report(name: str, ratios: list[float]) -> None:
    """Print ratios by their median and range."""
    sys.stdout.write(f"{name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})\n")
    sys.stdout.flush()


def main() -> None:
    """Print median ratios with their range."""
    report("bare passes", [bare_seconds(1) / bare_seconds(2) for _ in range(REPEATS)])
    with tempfile.TemporaryDirectory() as place:
        pairs = [
            (evaluation_seconds(Path(place), 1, repeat), evaluation_seconds(Path(place), 2, repeat))
            for repeat in range(REPEATS)
        ]
    report("an evaluation, its pieces", [one[0] / two[0] for one, two in pairs])
    report("an evaluation, the whole command", [one[1] / two[1] for one, two in pairs])


if __name__ == "__main__":
    bare(int(sys.argv[2])) if sys.argv[1:2] == ["bare"] else main()
