"""Two machines (launchers on this one) and SLURM (a stand-in for `srun`) give the numbers of one process."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
KEYS = ["checkpoint", "attribution", "attack", "metric", "sample_id"]
SRUN = """#!/bin/bash
while [[ $1 == --* ]]; do shift; done
for task in 0 1; do
    SLURM_PROCID=$task SLURM_NODEID=$task SLURM_LOCALID=0 "$@" & tasks+=($!)
done
trap 'kill -TERM "${tasks[@]}"' TERM
wait "${tasks[0]}"; status=$?
wait "${tasks[@]}"
exit $status
"""
SCONTROL = """#!/bin/bash
echo "$@" >> "$SCONTROL_LOG"
"""

pytestmark = [pytest.mark.slow, pytest.mark.ddp]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PYTEST"))}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), "TORCH_CPP_LOG_LEVEL": "ERROR", **more}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def run(*commands: list[str], **more: str) -> None:
    """Run commands side by side."""
    started = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    ]
    printed = [process.communicate(timeout=300)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), "\n".join(printed)[-4000:]


def on_two_nodes(program: str, *arguments: str) -> None:
    master = ["--nproc-per-node=1", "--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    run(*([*TORCHRUN, "--nnodes=2", f"--node-rank={node}", *master, program, *arguments] for node in (0, 1)))


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory) -> list[str]:
    directory = tmp_path_factory.mktemp("evaluation")

    def fragments(kind: str, *names: str) -> dict[str, str]:
        return {name: f"{ROOT}/configs/{kind}/{name}.yaml" for name in names}

    grid = {
        "attributions": fragments("attributions", "saliency", "input_x_gradient"),
        "attacks": fragments("attacks", "unattacked", "random_sign", "exiaa"),
        "metrics": fragments("metrics", "top_k", "change"),
    }
    data = {"max_test": 21, "max_train": 100}
    config = {
        "grid": {"class_path": "lit_xai.evaluation.grid.Grid", "init_args": grid},
        "data": {"class_path": "lit_xai.data.embedded_fashion.EmbeddedFashion", "init_args": data},
        "max_samples": 21,
        "batch_size": 4,
        "adversary": {"steps": 2},
        "accelerator": "cpu",
    }
    model = {"model": {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 4}}}
    (directory / "evaluate.yaml").write_text(yaml.safe_dump(config))
    (directory / "small.yaml").write_text(yaml.safe_dump(model))
    return ["-c", str(directory / "evaluate.yaml"), "--models", str(directory / "small.yaml")]


@pytest.fixture(scope="module")
def one_process(evaluation, tmp_path_factory) -> pd.DataFrame:
    output = tmp_path_factory.mktemp("alone")
    run([sys.executable, "evaluate.py", *evaluation, "--devices=1", f"--output={output}"])
    return pd.read_parquet(output / "samples.parquet")


def assert_equal(output: Path, expected: pd.DataFrame) -> None:
    found = pd.read_parquet(output / "samples.parquet")
    assert not found.duplicated(KEYS).any()
    pd.testing.assert_frame_equal(found[KEYS], expected[KEYS])
    assert set(expected.attack) == {"unattacked", "pgd", "random_sign", "exiaa"}
    difference = (found.value - expected.value).abs()
    assert (found.value.isna() == expected.value.isna()).all()
    assert difference.max() < 1e-6
    assert not list(output.rglob("*.part"))
    assert len(list(output.rglob("card.json"))) == len(list(output.rglob("report.html"))) == 1


def test_an_evaluation_on_two_nodes(evaluation, one_process, tmp_path):
    options = ["--num_nodes=2", "--devices=1", f"--output={tmp_path / 'out'}"]
    on_two_nodes("evaluate.py", *evaluation, *options)
    assert_equal(tmp_path / "out", one_process)


FIT = [
    "fit",
    f"--config={ROOT}/configs/experiments/embedded_pgd.yaml",
    "--model.regime.init_args.steps=2",
    "--model.adversary.steps=2",
    "--data.init_args.max_train=128",
    "--data.init_args.max_val=21",
    "--trainer.max_epochs=2",
    "--trainer.accelerator=cpu",
    "--trainer.precision=64-true",
    "--trainer.logger=false",
    "--trainer.enable_progress_bar=false",
    f"--trainer.callbacks=[{ROOT}/configs/callbacks/checkpoint.yaml]",
]


def weights(runs: Path) -> torch.Tensor:
    """Return all weights of the only run."""
    (path,) = runs.rglob("last.ckpt")
    assert len(list(runs.rglob("config.yaml"))) == 1
    state = torch.load(path, weights_only=True)["state_dict"]
    return torch.cat([value.flatten() for value in state.values() if value.is_floating_point()])


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> torch.Tensor:
    runs = tmp_path_factory.mktemp("trained")
    run([sys.executable, "train.py", *FIT, "--trainer.devices=1", f"--runs={runs}"])
    return weights(runs)


def test_a_training_on_two_nodes(trained, tmp_path):
    options = ["--trainer.num_nodes=2", "--trainer.devices=1", "--trainer.strategy=ddp"]
    on_two_nodes("train.py", *FIT, *options, f"--runs={tmp_path}")
    assert (weights(tmp_path) - trained).abs().max() < 1e-10


@pytest.fixture
def slurm(tmp_path) -> dict[str, str]:
    """Return the variables of a SLURM job on two nodes, with stand-ins for its commands on the path."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in {"srun": SRUN, "scontrol": SCONTROL}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHON": sys.executable,
        "SCONTROL_LOG": str(tmp_path / "scontrol.log"),
        "MASTER_PORT": str(free_port()),
        "SLURM_JOB_ID": "4711",
        "SLURM_JOB_NAME": "lit_xai",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NNODES": "2",
        "SLURM_NODELIST": "127.0.0.1",
        "SLURM_NTASKS": "2",
        "SLURM_NTASKS_PER_NODE": "1",
    }


def test_a_training_by_slurm(slurm, trained, tmp_path):
    run(["bash", "scripts/slurm/train.sbatch", *FIT[1:], f"--runs={tmp_path / 'runs'}"], **slurm)
    assert (weights(tmp_path / "runs") - trained).abs().max() < 1e-10


def test_an_evaluation_by_slurm_is_queued_again_and_goes_on(slurm, evaluation, one_process, tmp_path):
    output = tmp_path / "out"
    command = ["bash", "scripts/slurm/evaluate.sbatch", *evaluation, f"--output={output}"]
    job = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment(**slurm),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while len(list(output.glob("cells/*.scores.parquet"))) < 2 and job.poll() is None:
        time.sleep(0.005)
    # As `--signal=B:SIGUSR1@120` does.
    job.send_signal(signal.SIGUSR1)
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 143
    assert errors.splitlines() == ["Terminated. The same command continues it."]
    assert (tmp_path / "scontrol.log").read_text() == "requeue 4711\n"
    assert not (output / "card.json").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in output.glob("cells/*.parquet")}
    run(command, **{**slurm, "SLURM_RESTART_COUNT": "1", "MASTER_PORT": str(free_port())})
    assert_equal(output, one_process)
    assert (
        kept.items()
        <= {path.name: path.stat().st_mtime_ns for path in output.glob("cells/*.parquet")}.items()
    )


@pytest.mark.parametrize(
    ("srun", "code", "queued"),
    [
        ("trap 'exit 143' TERM; sleep 30 & wait $!", 143, True),
        ("trap 'exit 0' TERM; sleep 30 & wait $!", 0, False),
    ],
)
def test_what_is_finished_is_not_queued_again(slurm, tmp_path, srun, code, queued):
    order = tmp_path / "scontrol.log"
    (tmp_path / "bin" / "srun").write_text(f"#!/bin/bash\ntouch {tmp_path}/begun\n{srun}\n")
    # A cluster may refuse to queue a job again; that is no reason to end it otherwise.
    (tmp_path / "bin" / "scontrol").write_text(SCONTROL + "exit 1\n")
    command = ["bash", "scripts/slurm/evaluate.sbatch"]
    job = subprocess.Popen(command, cwd=ROOT, env=environment(**slurm), stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "begun").exists() and job.poll() is None:
        time.sleep(0.005)
    time.sleep(0.2)
    job.send_signal(signal.SIGUSR1)
    assert job.wait(10) == code
    assert order.exists() == queued
