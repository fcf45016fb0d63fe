"""Nothing that a file holds is run, nothing secret is written, nothing is written elsewhere."""

import json
import os
import pickle
from pathlib import Path
from unittest import mock

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from lit_xai.cli import evaluate_cli, train_cli
from lit_xai.evaluation.store import Store
from lit_xai.training.checkpoint_io import WholeFiles
from tests.evaluation.test_components import checkpoint, command
from tests.models.test_weights import Harmful

ROOT = Path(__file__).parents[1]
KEY = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "tell-nobody-of-this"
FIT = [
    f"--config={ROOT}/configs/experiments/embedded_natural.yaml",
    "--model.model.width=2",
    "--model.adversary=null",
    "--data.max_train=50",
    "--data.max_test=50",
    "--trainer.max_steps=1",
    "--trainer.limit_val_batches=1",
    "--trainer.limit_test_batches=1",
    "--trainer.accelerator=cpu",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
QUIET = ["--trainer.logger=false", "--trainer.callbacks=null"]
GRID = {
    "grid": {
        "class_path": "lit_xai.evaluation.grid.Grid",
        "init_args": {
            "attributions": {"saliency": f"{ROOT}/configs/attributions/saliency.yaml"},
            "attacks": {"random_sign": f"{ROOT}/configs/attacks/random_sign.yaml"},
            "metrics": {"top_k": f"{ROOT}/configs/metrics/top_k.yaml"},
        },
    },
    "max_samples": 8,
    "accelerator": "cpu",
}
DATA = ["--data=lit_xai.data.embedded_fashion.EmbeddedFashion", "--data.init_args.max_test=20"]


def write_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(pickle.dumps(Harmful(marker)))


def write_torch(path: Path, marker: Path) -> None:
    torch.save({"state_dict": {}, "hyper_parameters": {"model": Harmful(marker)}}, path)


def write_settings(path: Path, marker: Path) -> None:
    linear = {"in_features": 1, "out_features": 1, "device": command(marker)}
    checkpoint(path, model={"class_path": "torch.nn.Linear", "init_args": linear})


@pytest.fixture
def settings(tmp_path) -> str:
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(GRID))
    return str(tmp_path / "evaluate.yaml")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run with both loggers, in an environment with secrets."""
    runs = tmp_path_factory.mktemp("runs")
    secrets = {"WANDB_API_KEY": KEY, "SECRET_TOKEN": TOKEN, "WANDB_MODE": "offline"}
    callbacks = f"--trainer.callbacks=[{ROOT}/configs/callbacks/checkpoint.yaml]"
    with mock.patch.dict(os.environ, secrets):
        train_cli(["fit", *FIT, callbacks, f"--runs={runs}"])
    return runs / "embedded_natural" / "1"


def refused(capsys, run, arguments: list[str]) -> str:
    """Return the one line that a command ends with."""
    capsys.readouterr()
    with mock.patch.dict(os.environ), pytest.raises(SystemExit) as ended:
        run(arguments)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize("write", [write_pickle, write_torch, write_settings])
@pytest.mark.parametrize("door", ["evaluate", "fit", "validate", "test"])
def test_a_checkpoint_runs_nothing(tmp_path, settings, capsys, write, door):
    path, marker = tmp_path / "trap.ckpt", tmp_path / "marker"
    write(path, marker)
    if door == "evaluate":
        line = refused(capsys, evaluate_cli, ["-c", settings, *DATA, f"--checkpoints={path}"])
    else:
        arguments = [door, *FIT, *QUIET, f"--runs={tmp_path}", f"--ckpt_path={path}"]
        line = refused(capsys, train_cli, arguments)
    assert "Expected " in line
    assert "trap.ckpt" in line
    assert not marker.exists()


@pytest.mark.parametrize("write", [write_pickle, write_torch])
def test_what_lightning_loads_runs_nothing(tmp_path, write):
    path, marker = tmp_path / "last.ckpt", tmp_path / "marker"
    write(path, marker)
    with pytest.raises(ValueError, match=r"^Expected a checkpoint of plain tensors, but got .*last\.ckpt: ."):
        WholeFiles().load_checkpoint(path, weights_only=False)
    assert not marker.exists()


@pytest.mark.parametrize("write", [write_pickle, write_torch])
@pytest.mark.parametrize("ending", ["ckpt", "pt", "safetensors"])
@pytest.mark.parametrize("door", ["models", "warm_start"])
def test_weights_run_nothing(tmp_path, settings, capsys, write, ending, door):
    path, marker = tmp_path / f"trap.{ending}", tmp_path / "marker"
    write(path, marker)
    if door == "models":
        described = {"model": {"class_path": "lit_xai.models.small.SmallCNN"}, "weights": path.name}
        (tmp_path / "network.yaml").write_text(yaml.safe_dump(described))
        line = refused(capsys, evaluate_cli, ["-c", settings, *DATA, f"--models={tmp_path}/network.yaml"])
    else:
        line = refused(
            capsys, train_cli, ["fit", *FIT, *QUIET, f"--runs={tmp_path}", f"--model.warm_start={path}"]
        )
    assert "Expected a file of weights, but got " in line
    assert not marker.exists()


def test_a_table_runs_nothing(tmp_path):
    marker = tmp_path / "marker"
    harm = pickle.dumps(Harmful(marker))
    metadata = {b"ARROW:extension:name": b"arrow.py_extension_type", b"ARROW:extension:metadata": harm}
    schema = pa.schema([pa.field("value", pa.float64(), metadata=metadata)], metadata={b"PANDAS_ATTRS": harm})
    pq.write_table(pa.table({"value": [1.0]}, schema=schema), tmp_path / "key.scores.parquet")
    assert "key" in Store(tmp_path) or Store(tmp_path).beside("key", "scores") is None
    assert not marker.exists()
    pickle.loads(harm)
    assert marker.exists()


def holding(directory: Path, *secrets: str) -> list[str]:
    """Return the files below a directory that hold a secret, tables decompressed."""
    found = []
    for path in directory.rglob("*"):
        if path.is_file() and path.name != "secrets":
            content = path.read_bytes()
            if path.suffix == ".parquet":
                table = pd.read_parquet(path)
                content += repr(table.attrs).encode() + table.to_csv().encode()
            found += [f"{path}: {secret}" for secret in secrets if secret.encode() in content]
    return found


def test_secrets_of_the_environment_are_written_nowhere(trained, settings, tmp_path):
    files = [path for path in trained.rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert (trained / "csv" / "metrics.csv").is_file()
    assert holding(trained, KEY, TOKEN) == []
    output = tmp_path / "out"
    last = str(trained / "checkpoints" / "last.ckpt")
    with mock.patch.dict(os.environ, {"WANDB_API_KEY": KEY, "SECRET_TOKEN": TOKEN}):
        evaluate_cli(["-c", settings, *DATA, f"--checkpoints={last}", f"--output={output}"])
    assert (output / "report.html").is_file()
    assert holding(output, KEY, TOKEN) == []
    # The search finds what is there.
    assert holding(output, "random_sign")


@pytest.mark.parametrize("name", ["../outside", "/outside", "a/../../outside", "nul\0here", "n" * 200])
def test_results_stay_in_the_directory_of_the_output(trained, settings, tmp_path, name):
    place = tmp_path / "place"
    place.mkdir()
    before = sorted(path for path in tmp_path.rglob("*"))
    last = trained / "checkpoints" / "last.ckpt"
    arguments = ["-c", settings, *DATA, f"--checkpoints={name}={last}", f"--output={place / 'out'}"]
    evaluate_cli(arguments)
    assert name in json.loads((place / "out" / "card.json").read_text())["checkpoints"]
    outside = [path for path in tmp_path.rglob("*") if place / "out" not in (path, *path.parents)]
    assert sorted(outside) == before
    assert not Path("/outside").exists()


def test_a_name_longer_than_a_path_may_be_is_one_line(trained, settings, tmp_path, capsys):
    long = f"--checkpoints={'n' * 5000}={trained / 'checkpoints' / 'last.ckpt'}"
    line = refused(capsys, evaluate_cli, ["-c", settings, *DATA, long, f"--output={tmp_path / 'out'}"])
    assert line.startswith("error: Expected ")
    assert not (tmp_path / "out").exists()
