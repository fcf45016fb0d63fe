import json
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from lit_xai.cli import train_cli

ROOT = Path(__file__).parents[1]
# The other published settings need their data; `test_experiments.py` builds them.
EXPERIMENTS = [
    pytest.param(path, marks=pytest.mark.slow) if kind == "mnist" else path
    for kind in ("embedded", "fashion", "mnist")
    for path in sorted((ROOT / "configs" / "experiments").glob(f"{kind}_*.yaml"))
]
QUICK = [
    "--trainer.max_epochs=1",
    *(f"--trainer.limit_{split}_batches=1" for split in ("train", "val", "test")),
    "--data.init_args.eval_batch_size=32",
    "--data.init_args.max_train=200",
    "--model.adversary.steps=2",
]
WITHOUT_LOGS = ["--trainer.logger=false", "--trainer.enable_progress_bar=false"]


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    """Random images in the files of Fashion-MNIST, as many as the validation split and a few."""
    directory = tmp_path_factory.mktemp("originals")
    generator = np.random.default_rng(0)
    for prefix, size in {"train": 5200, "t10k": 100}.items():
        for kind, shape in {"images-idx3": (size, 28, 28), "labels-idx1": (size,)}.items():
            header = bytes([0, 0, 8, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape)
            values = generator.integers(0, 10 if len(shape) == 1 else 256, shape, dtype=np.uint8)
            (directory / f"{prefix}-{kind}-ubyte").write_bytes(header + values.tobytes())
    return directory


def small_grid(tmp_path: Path) -> str:
    """Write the callbacks of the experiments with a grid of few passes."""
    grid = yaml.safe_load((ROOT / "configs" / "grids" / "fashion_epoch.yaml").read_text())
    text = yaml.safe_dump(grid).replace("../", f"{ROOT}/configs/")
    grid = yaml.safe_load(text)
    grid["init_args"]["attributions"]["integrated_gradients"]["init_args"]["path_steps"] = 2
    grid["init_args"]["attacks"]["top_k"]["init_args"]["steps"] = 2
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(grid))
    images = yaml.safe_load((ROOT / "configs" / "callbacks" / "explanation_images.yaml").read_text())
    images["init_args"]["attribution"]["init_args"]["path_steps"] = 2
    images["init_args"]["attack"]["init_args"]["steps"] = 2
    images["init_args"]["max_samples"] = 2
    callbacks = [
        {
            "class_path": "lit_xai.callbacks.explanation_robustness.ExplanationRobustness",
            "init_args": {"grid": str(tmp_path / "grid.yaml"), "max_samples": 20},
        },
        images,
        str(ROOT / "configs" / "callbacks" / "checkpoint.yaml"),
    ]
    (tmp_path / "callbacks.yaml").write_text(yaml.safe_dump({"trainer": {"callbacks": callbacks}}))
    return str(tmp_path / "callbacks.yaml")


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_experiment_runs_a_step(experiment, tmp_path, originals, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = ["--config", str(experiment), "--config", small_grid(tmp_path), *QUICK, "--runs", "runs"]
    if not experiment.stem.startswith("embedded"):
        arguments.append(f"--data.init_args.data_dir={originals}")
    if experiment.stem.split("_", 1)[1] in ("ig_norm", "ig_sum_norm"):
        # The published hundreds of double-backward points take minutes: see `benchmarks/regime_steps.py`.
        arguments += ["--model.regime.init_args.steps=1", "--model.regime.init_args.path_steps=2"]
    runs = tmp_path / "runs" / experiment.stem
    train_cli(["fit", *arguments])
    checkpoint = runs / "1" / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 1
    curves = pd.read_csv(runs / "1" / "csv" / "metrics.csv")
    for attack in ("unattacked", "random_sign", "top_k", "exiaa"):
        cell = f"robustness/integrated_gradients/{attack}"
        excluded = curves[f"{cell}/excluded"].dropna()
        counts = curves[f"{cell}/prediction_kept_count"].dropna()
        assert (len(excluded), len(counts)) == (1, 1)
        assert excluded.iloc[0] + counts.iloc[0] == 20
    if experiment.stem in ("embedded_ig_sum_norm", "fashion_pgd"):
        for command in ("validate", "test"):
            train_cli([command, *arguments, "--ckpt_path", str(checkpoint), *WITHOUT_LOGS])
        assert sorted(path.name for path in runs.iterdir()) == ["1", "2", "3"]


def test_a_run_leaves_everything_inside_its_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    experiment = ROOT / "configs" / "experiments" / "embedded_natural.yaml"
    arguments = ["--config", str(experiment), "--config", small_grid(tmp_path), "--runs", "runs"]
    train_cli(
        ["fit", *arguments, "--experiment=mine", "--trainer.max_epochs=2", "--data.init_args.max_train=100"]
    )
    run = tmp_path / "runs" / "mine" / "1"
    outside = {path.name for path in tmp_path.iterdir()} - {"runs", "grid.yaml", "callbacks.yaml"}
    assert outside == set()
    assert len(list((run / "explanations").iterdir())) == 2
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["model"]["model"]["init_args"]["width"] == 16
    assert config["trainer"]["max_epochs"] == 2
    assert config["trainer"]["callbacks"][2]["init_args"]["dirpath"] == "{run_dir}/checkpoints"
    words = capsys.readouterr().out
    (curves,) = re.findall(r"Curves: +(.*)", words)
    assert (tmp_path / curves).is_file()
    (offline,) = (run / "wandb").glob("offline-run-*")
    assert f"wandb sync {offline.relative_to(tmp_path)}" in words
    records = inspect(offline)
    histories = [record["history"]["item"] for record in records if record["type"] == "history"]
    keys = set(pd.read_csv(run / "csv" / "metrics.csv").columns)
    robustness = {key for key in keys if key.startswith("robustness/")}
    assert len(robustness) == 4 * (4 * 7 + 2) + 1
    for key in robustness:
        assert [item["epoch"] for item in histories if key in item] == [0, 1], key
    assert [item["explanations.count"] for item in histories if "explanations.count" in item] == [1, 1]
    defined = {record["metric"].get("name") for record in records if record["type"] == "metric"}
    assert robustness <= defined
    summary = json.loads(
        subprocess.check_output([leet(), "leet", "inspect", "--summary", "--json", str(offline)])
    )
    assert summary["config"]["model"]["regime"]["class_path"] == "lit_xai.regimes.natural.Natural"
    assert summary["config"]["trainer"]["max_epochs"] == 2


def leet() -> str:
    return str(Path(sys.executable).parent / "wandb")


def inspect(run: Path) -> list[dict]:
    lines = subprocess.check_output([leet(), "leet", "inspect", "--json", str(run)], text=True).splitlines()
    return [json.loads(line) for line in lines]


def changed(path: list, value: object) -> dict:
    config = yaml.safe_load((ROOT / "configs" / "experiments" / "embedded_pgd.yaml").read_text())
    config = yaml.safe_load(yaml.safe_dump(config).replace("../", f"{ROOT}/configs/"))
    callback = yaml.safe_load((ROOT / "configs" / "callbacks" / "explanation_robustness.yaml").read_text())
    grid = yaml.safe_load((ROOT / "configs" / "grids" / "fashion_epoch.yaml").read_text())
    callback["init_args"]["grid"] = yaml.safe_load(yaml.safe_dump(grid).replace("../", f"{ROOT}/configs/"))
    config["trainer"]["callbacks"][0] = callback
    config["trainer"]["logger"] = [
        {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "{run_dir}"}}
    ]
    place = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return config


GRID = ["trainer", "callbacks", 0, "init_args", "grid", "init_args"]
TOP_K = {"class_path": "lit_xai.metrics.top_k.TopKIntersection", "init_args": {"k": 1000}}


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["modle"], 1, "modle"),
        (["trainer", "max_epoch"], 3, "max_epoch"),
        (["model", "noise_sed"], 3, "noise_sed"),
        (["model", "regime", "init_args", "epss"], 0.1, "epss"),
        (["model", "regime", "class_path"], "lit_xai.regimes.pgd.PDG", "PDG"),
        (["model", "optimizer", "init_args", "lrr"], 0.1, "lrr"),
        (["data", "init_args", "max_trian"], 3, "max_trian"),
        (["trainer", "logger", 0, "init_args", "save_dirr"], "x", "save_dirr"),
        (["trainer", "callbacks", 0, "init_args", "max_sample"], 3, "max_sample"),
        ([*GRID, "seeed"], 3, "seeed"),
        ([*GRID, "attacks", "top_k", "init_args", "stepps"], 3, "stepps"),
        ([*GRID, "attacks", "top_k", "init_args", "steps"], "many", "steps"),
        ([*GRID, "metrics", "top_k"], "../metrics/topk.yaml", "topk"),
        (
            ["model", "regime", "init_args", "eps"],
            8,
            r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\.",
        ),
        (
            [*GRID, "attacks", "top_k", "init_args", "eps"],
            8,
            r"Expected `eps` in \(0, 1\], but got 8\. Write 8/255 as 0\.0314\.",
        ),
        ([*GRID, "seed"], "x", "seed"),
    ],
)
def test_a_wrong_option_ends_in_a_few_lines_and_leaves_no_run(
    path, value, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(SystemExit) as ended:
        train_cli(["fit", "--config", "wrong.yaml"])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if "Seed set to" not in line]
    assert len(lines) <= 3
    assert re.search(words, " ".join(lines))
    assert not list(tmp_path.glob("runs/*/*"))


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ([*GRID, "metrics", "top_k"], TOP_K, r"Expected `k` in \[1, 784\], but got 1000\."),
        (
            ["data"],
            {"class_path": "lit_xai.data.fashion_mnist.FashionMNIST", "init_args": {"data_dir": "/nowhere"}},
            "Expected train-images-idx3-ubyte in /nowhere/FashionMNIST/raw or /nowhere, but got no such file",
        ),
    ],
)
def test_what_only_the_data_shows_ends_in_one_line_before_training(
    path, value, words, tmp_path, monkeypatch, capfd
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(changed(path, value)))
    with pytest.raises(SystemExit) as ended:
        train_cli(["fit", "--config", "wrong.yaml"])
    assert ended.value.code == 2
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(words, errors[0])
    assert not list(tmp_path.rglob("*.ckpt"))


def test_an_option_is_not_abbreviated(capsys):
    with pytest.raises(SystemExit) as ended:
        train_cli(["fit", "--trainer.max_epoch=3"])
    assert ended.value.code == 2
    assert "max_epoch" in capsys.readouterr().err


def test_a_broken_or_missing_checkpoint_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    experiment = str(ROOT / "configs" / "experiments" / "embedded_natural.yaml")
    for name, words in {
        "broken": "tensors, but got broken.ckpt: ",
        "none": "none.ckpt, which does not",
    }.items():
        with pytest.raises(SystemExit) as ended:
            train_cli(["test", "--config", experiment, "--ckpt_path", f"{name}.ckpt"])
        assert ended.value.code == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "Seed set to" not in line]
        assert len(lines) == 1
        assert lines[0].startswith("error: Expected a checkpoint of plain tensors, but got ")
        assert words in lines[0]
    assert not (tmp_path / "runs").exists()


def test_settings_of_a_checkpoint_win_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = str(ROOT / "configs" / "experiments" / "embedded_natural.yaml")
    callbacks = f"--trainer.callbacks=[{ROOT}/configs/callbacks/checkpoint.yaml]"
    train_cli(["fit", "--config", experiment, *QUICK, *WITHOUT_LOGS, callbacks])
    checkpoint = "runs/embedded_natural/1/checkpoints/last.ckpt"
    validate = [
        "validate",
        "--config",
        experiment,
        *QUICK,
        *WITHOUT_LOGS,
        callbacks,
        "--ckpt_path",
        checkpoint,
    ]
    with pytest.warns(UserWarning, match="model.noise_seed: 99 was given, but the checkpoint's 0 is used"):
        train_cli([*validate, "--model.noise_seed=99"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_cli(validate)
    assert not [warning for warning in caught if "checkpoint's" in str(warning.message)]


def test_another_root_directory_is_refused(capsys):
    experiment = str(ROOT / "configs" / "experiments" / "embedded_natural.yaml")
    with pytest.raises(SystemExit):
        train_cli(["fit", "--config", experiment, "--trainer.default_root_dir=elsewhere"])
    assert "Expected no `trainer.default_root_dir`, but got elsewhere. Set `runs`." in capsys.readouterr().err


def test_a_saved_configuration_makes_a_run_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = str(ROOT / "configs" / "experiments" / "embedded_natural.yaml")
    callbacks = f"--trainer.callbacks=[{ROOT}/configs/callbacks/checkpoint.yaml]"
    train_cli(["fit", "--config", experiment, *QUICK, *WITHOUT_LOGS, callbacks])
    first = Path("runs/embedded_natural/1")
    before = (first / "checkpoints" / "last.ckpt").read_bytes()
    train_cli(["fit", "--config", str(first / "config.yaml"), "--experiment", "embedded_natural"])
    second = Path("runs/embedded_natural/2")
    assert (first / "checkpoints" / "last.ckpt").read_bytes() == before
    weights = [
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (first, second)
    ]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
