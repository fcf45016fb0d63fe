"""How long `lit-xai-report` takes as a whole process: on 200,000 sample rows, and to show its help.

The result files are made up: four networks, two attributions, 13 attacks, 5 metrics.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.reporting.made_up import write_results

REPEATS = 5
NETWORKS = ("natural", "pgd", "ig_norm", "ig_sum_norm")
SAMPLES = 280
COMMAND = [sys.executable, "-c", "from lit_xai.reporting.cli import report_cli; report_cli()"]


def seconds(*args: str) -> float:
    """Return the wall time of the command with these arguments."""
    begun = time.perf_counter()
    subprocess.run(
        [*COMMAND, *args], check=True, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    return time.perf_counter() - begun


def main() -> None:
    """Print the median and the range of both."""
    with tempfile.TemporaryDirectory() as folder:
        directory = write_results(Path(folder), NETWORKS, samples=SAMPLES)
        rows = len(pd.read_parquet(directory / "samples.parquet", columns=["value"]))
        for name, args in ((f"{rows:,} sample rows", (str(directory),)), ("--help", ("--help",))):
            taken = [seconds(*args) for _ in range(REPEATS)]
            sys.stdout.write(
                f"{name}: {statistics.median(taken):.2f} s ({min(taken):.2f} to {max(taken):.2f})\n"
            )


if __name__ == "__main__":
    main()
