"""An evaluation that is killed and started again gives the bytes of one that was not."""

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml

ROOT = Path(__file__).parents[2]
TIMES = ("created", "seconds", "command")
FILES = (
    "samples.parquet",
    "results.csv",
    "agreement.parquet",
    "examples.parquet",
    "results.tex",
    "comparisons.csv",
)


def fragment(path: str) -> str:
    return str(ROOT / "configs" / f"{path}.yaml")


@pytest.fixture
def command(tmp_path) -> list[str]:
    model = {"model": {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 2}}}
    (tmp_path / "narrow.yaml").write_text(yaml.safe_dump(model))
    model["model"]["init_args"]["width"] = 3
    (tmp_path / "wide.yaml").write_text(yaml.safe_dump(model))
    grid = {
        "attributions": {name: fragment(f"attributions/{name}") for name in ("saliency", "input_x_gradient")},
        "attacks": {name: fragment(f"attacks/{name}") for name in ("unattacked", "random_sign", "exiaa")},
        "metrics": {name: fragment(f"metrics/{name}") for name in ("top_k", "spearman", "change")},
    }
    config = {
        "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
        "sweeps": {"random_sign": {"values": {"eps": [0.02, 0.05, 0.1]}}},
        "data": {
            "class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion",
            "init_args": {"max_test": 200, "max_train": 200},
        },
        "max_samples": 200,
        "adversary": {"steps": 2},
        "accelerator": "cpu",
    }
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(config))
    models = [str(tmp_path / "narrow.yaml"), f"wide={tmp_path / 'wide.yaml'}"]
    return [
        sys.executable,
        str(ROOT / "evaluate.py"),
        "-c",
        str(tmp_path / "evaluate.yaml"),
        "--models",
        *models,
    ]


def started(command: list[str], directory: Path) -> subprocess.Popen:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    directory.mkdir(exist_ok=True)
    return subprocess.Popen(
        command, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finished(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output[-3000:]
    return output


def pieces(output: Path) -> dict[str, tuple[int, int]]:
    """Return which file each piece is, and when it was written."""
    found = ((path, path.stat()) for path in output.glob("cells/*.scores.parquet"))
    return {path.name: (status.st_ino, status.st_mtime_ns) for path, status in found}


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_where_it_stopped(command, tmp_path):
    whole = tmp_path / "whole" / "runs" / "evaluate" / "1"
    finished(started(command, tmp_path / "whole"))
    stopped = tmp_path / "stopped" / "runs" / "evaluate" / "1"
    before: dict[str, tuple[int, int]] = {}
    # After the cost and the first accuracies; in the middle of the cells; among those of the second network.
    for least in (3, 8, 16):
        process = started(command, tmp_path / "stopped")
        while len(pieces(stopped)) < least and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.returncode == -signal.SIGKILL
        assert not (stopped / "card.json").exists()
        after = pieces(stopped)
        assert len(after) >= least
        assert before.items() <= after.items()
        before = after
    printed = finished(started(command, tmp_path / "stopped"))
    assert "Continuing the evaluation in runs/evaluate/1." in printed
    after = pieces(stopped)
    # Nothing that was finished is measured again.
    assert before.items() < after.items()
    assert after.keys() == pieces(whole).keys()
    for name in FILES:
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    cards = [json.loads((output / "card.json").read_text()) for output in (whole, stopped)]
    for card in cards:
        for name in TIMES:
            del card[name]
    assert cards[0] == cards[1]
    assert not list(stopped.rglob("*.part"))


def marked(command: list[str], place: str, number: int, marker: Path) -> list[str]:
    """Return the command, which waits at a place to be killed."""
    program = str(ROOT / "tests" / "end_to_end" / "marked_evaluate.py")
    return [command[0], program, place, str(number), str(marker), *command[2:]]


def killed_at(command: list[str], directory: Path, place: str, number: int) -> None:
    marker = directory.parent / f"killed{len(list(directory.parent.iterdir()))}"
    process = started(marked(command, place, number, marker), directory)
    while not marker.exists() and process.poll() is None:
        time.sleep(0.005)
    assert marker.exists(), process.communicate()[0][-3000:]
    process.send_signal(signal.SIGKILL)
    process.wait()


def contents(output: Path) -> dict[Path, bytes]:
    """Return what is whole in a directory."""
    paths = (path for path in output.rglob("*") if path.is_file() and path.suffix != ".part")
    return {path: path.read_bytes() for path in paths}


def assert_half_written(output: Path, place: str, before: dict[Path, bytes]) -> None:
    """Check that one file is half-written beside its place, where the old one is, or none."""
    (part,) = output.rglob("*.part")
    target = part.with_name(re.fullmatch(r"\.(.*)\.\d+\.part", part.name)[1])
    assert target.name.endswith(place)
    assert part.stat().st_size > 0
    assert (target.read_bytes() if target.exists() else None) == before.get(target)


@pytest.mark.slow
def test_killed_inside_attacks_and_half_written_files(command, tmp_path):
    """At seeded places of one evaluation, and in each of its tables, which then end as if never killed."""
    whole = tmp_path / "whole" / "runs" / "evaluate" / "1"
    finished(started(command, tmp_path / "whole"))
    stopped = tmp_path / "stopped" / "runs" / "evaluate" / "1"
    draw = random.Random(8)
    # A cell of 200 samples calls its attack four times; it has up to two files.
    piece = ".scores.parquet"
    places = [(place, draw.randint(2, 6)) for place in draw.sample(["attack", piece] * 3, 6)]
    # The old table is there when the new one is half-written again.
    last = ["samples.parquet", "results.csv", "samples.parquet", "results.csv", "card.json"]
    before: dict[str, tuple[int, int]] = {}
    for place, number in [*places, *((name, 1) for name in last)]:
        old = contents(stopped)
        killed_at(command, tmp_path / "stopped", place, number)
        if place == "attack":
            assert not list(stopped.rglob("*.part"))
        else:
            assert_half_written(stopped, place, old)
        after = pieces(stopped)
        assert before.items() <= after.items()
        assert not (stopped / "card.json").exists()
        before = after
    assert (stopped / "results.csv").exists()
    finished(started(command, tmp_path / "stopped"))
    # Nothing that was finished is measured again.
    assert pieces(stopped) == before
    assert before.keys() == pieces(whole).keys()
    for name in FILES:
        assert (stopped / name).read_bytes() == (whole / name).read_bytes(), name
    samples = pd.read_parquet(stopped / "samples.parquet")
    assert not samples.duplicated(["checkpoint", "attribution", "attack", "metric", "sample_id"]).any()
    assert not list(stopped.rglob("*.part"))


@pytest.mark.slow
def test_a_full_disk_loses_nothing_that_is_finished(command, tmp_path):
    """On a small disk of its own: one line, and the same command goes on once there is room."""
    mounted = ["unshare", "-rm", "sh", "-c"]
    if subprocess.run([*mounted, "mount -t tmpfs none /mnt"], capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk, to fill it")
    (tmp_path / "out").mkdir()
    evaluate = shlex.join([*command, "--output", "/mnt/out"])
    script = (
        "mount -t tmpfs -o size=200k none /mnt && mkdir /mnt/out && "
        f"{evaluate} 2>{tmp_path}/errors; echo $? >{tmp_path}/first; ls -A /mnt/out/cells >{tmp_path}/kept; "
        f"mount -o remount,size=20m /mnt && {evaluate} && cp /mnt/out/*.* {tmp_path}/out"
    )
    finished(started([*mounted, script], tmp_path))
    assert (tmp_path / "first").read_text() == "2\n"
    errors = (tmp_path / "errors").read_text().splitlines()
    assert len(errors) == 1
    assert re.fullmatch(
        r"error: Expected to write to /mnt/out\S*, but got: No space left on device\. What is finished is "
        r"kept there; once that is mended, the same command continues it\.",
        errors[0],
    )
    kept = (tmp_path / "kept").read_text().split()
    assert len(kept) > 3
    assert not any(name.endswith(".part") for name in kept)
    finished(started([*command, "--output", str(tmp_path / "whole")], tmp_path))
    for name in FILES:
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
