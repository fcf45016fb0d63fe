import gzip
import json
import math
import re
from contextlib import redirect_stdout
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from lit_xai.attacks.base import run_attack
from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attributions.saliency import Saliency
from lit_xai.cli import evaluate_cli, train_cli
from lit_xai.data.embedded_fashion import EmbeddedFashion
from lit_xai.data.samplers import stratified
from lit_xai.evaluation.checkpoints import load_classifier
from lit_xai.metrics.maps import pixel_map
from lit_xai.metrics.top_k import top_k_intersection
from lit_xai.programs import program
from lit_xai.types import Batch
from tests.evaluation.studies import SHRUNK as COLOUR_STUDIES

ROOT = Path(__file__).parents[2]
GRID = {
    "grid": {
        "class_path": "lit_xai.evaluation.grid.Grid",
        "init_args": {
            "attributions": {"saliency": f"{ROOT}/configs/attributions/saliency.yaml"},
            "attacks": {"random_sign": f"{ROOT}/configs/attacks/random_sign.yaml"},
            "metrics": {"top_k": f"{ROOT}/configs/metrics/top_k.yaml"},
        },
    },
    "max_samples": 40,
    "accelerator": "cpu",
}
FEW = ["--data=lit_xai.data.embedded_fashion.EmbeddedFashion", "--data.init_args.max_test=60"]
SWEEP = "{random_sign: {values: {eps: [0.1, 0.2]}}}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """Two networks, each trained for a few steps."""
    directory = tmp_path_factory.mktemp("trained")
    for regime in ("natural", "pgd"):
        train_cli(
            [
                "fit",
                f"--config={ROOT}/configs/experiments/embedded_{regime}.yaml",
                f"--runs={directory}",
                "--trainer.max_epochs=1",
                "--trainer.limit_train_batches=20",
                "--trainer.limit_val_batches=1",
                "--trainer.logger=false",
                "--trainer.enable_progress_bar=false",
                f"--trainer.callbacks=[{ROOT}/configs/callbacks/checkpoint.yaml]",
            ]
        )
    return directory


@pytest.fixture
def config(tmp_path) -> str:
    (tmp_path / "evaluate.yaml").write_text(yaml.safe_dump(GRID))
    return str(tmp_path / "evaluate.yaml")


def checkpoint(runs: Path, regime: str) -> str:
    return str(runs / f"embedded_{regime}" / "1" / "checkpoints" / "last.ckpt")


def test_two_checkpoints_are_compared_on_the_same_samples(runs, config, tmp_path, capsys):
    files = [checkpoint(runs, "natural"), f"robust={checkpoint(runs, 'pgd')}"]
    evaluate_cli(["-c", config, "--checkpoints", *files, "--output", str(tmp_path / "out")])
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert ",".join(list(results)[:9]) == (
        "checkpoint,attribution,attack,metric,value,stderr,count,failed,excluded"
    )
    assert list(results.checkpoint.unique()) == ["embedded_natural/1", "robust"]
    samples = pd.read_parquet(tmp_path / "out" / "samples.parquet")
    assert list(samples) == ["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]
    data = EmbeddedFashion()
    chosen = stratified(data.images("test").labels, 40, 0)
    for name, path in zip(results.checkpoint.unique(), files, strict=True):
        own = samples[samples.checkpoint == name]
        assert own[own.metric == "excluded"].sample_id.tolist() == chosen
        network = load_classifier(Path(path.removeprefix("robust="))).model
        batch = Batch(*torch.utils.data.default_collate([data.images("test")[index] for index in chosen]))
        correct = network(batch.image).argmax(dim=1) == batch.label
        batch = Batch(*(tensor[correct] for tensor in batch))
        attacked = run_attack(network, Saliency(), RandomSign(eps=0.1), batch, seed=0)
        expected = top_k_intersection(
            pixel_map(attacked.attribution), pixel_map(attacked.attribution_adv), k=100
        )
        row = results[(results.checkpoint == name) & (results.metric == "top_k")].iloc[0]
        assert row["count"] == correct.sum()
        assert row["excluded"] == (~correct).sum()
        assert row["value"] == pytest.approx(expected.double().mean().item(), abs=1e-6)
        images = data.images("test")
        logits = network(images.pixels.float() / 255)
        accuracy = results[(results.checkpoint == name) & (results.attack == "unattacked")].iloc[0]
        expected = (logits.argmax(dim=1) == images.labels).double()
        assert accuracy["value"] == pytest.approx(expected.mean().item())
        assert accuracy["count"] == 1000
        single = own[(own.attribution == "none") & (own.attack == "unattacked")]
        assert single.value.tolist() == expected.tolist()
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert torch.__version__.startswith(card["versions"]["torch"])
    assert card["data"]["init_args"]["max_train"] == 2000
    assert set(card["checkpoints"]) == {"embedded_natural/1", "robust"}
    assert card["attacks"]["random_sign"]["init_args"]["eps"] == 0.1
    assert card["attacks"]["random_sign"]["radius"] == 0.1
    printed = capsys.readouterr().out
    assert re.search(r"\| random_sign \| 0\.\d{3} ± 0\.\d{3}", printed)
    page = tmp_path / "out" / "report.html"
    assert f"Report:  {page}" in printed
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_the_same_command_writes_the_same_bytes_whatever_the_batch_size(runs, config, tmp_path):
    for batch_size in (40, 7):
        files = ["--checkpoints", checkpoint(runs, "natural"), "--output", str(tmp_path / str(batch_size))]
        evaluate_cli(["-c", config, *FEW, *files, f"--batch_size={batch_size}"])
    for file in ("results.csv", "samples.parquet"):
        assert (tmp_path / "40" / file).read_bytes() == (tmp_path / "7" / file).read_bytes()


def test_results_are_never_overwritten(runs, config, tmp_path, capsys):
    (tmp_path / "results.csv").write_text("precious")
    with pytest.raises(SystemExit) as ended:
        evaluate_cli(["-c", config, "--checkpoints", checkpoint(runs, "natural"), "--output", str(tmp_path)])
    assert ended.value.code == 2
    assert "Expected a new `output` directory, but got" in capsys.readouterr().err
    assert (tmp_path / "results.csv").read_text() == "precious"


def test_a_broken_checkpoint_is_one_line(config, tmp_path, capsys):
    (tmp_path / "broken.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(SystemExit) as ended:
        evaluate_cli(["-c", config, "--checkpoints", str(tmp_path / "broken.ckpt")])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: Expected a checkpoint of plain tensors, but got ")


def test_an_unknown_option_is_one_line(config, capsys):
    with pytest.raises(SystemExit) as ended:
        evaluate_cli(["-c", config, "--checkpoint", "a.ckpt"])
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) <= 3
    assert "--checkpoint" in " ".join(lines)


def shipped() -> list:
    """Return the shipped evaluations; those with many or long parts are slow even on a few images.

    Those of colour pictures, most of them of a thousand pixels, do not fit grey ones of 28 x 28:
    test_studies.py runs them.
    """
    found = sorted((ROOT / "configs" / "evaluate").glob("*.yaml"))
    paths = [path for path in found if path.stem not in COLOUR_STUDIES]
    slow = {"paper", "attacks", "chen", "lens_fashion"}
    slow |= {
        "standard",
        "faithfulness",
        "metrics",
        "regimes",
        "regimes_standard",
        "exiaa_ranks",
        "exiaa_classes",
    }
    slow |= {"attexplore", "attexplore_attacks", "attexplore_parameters", "attexplore_vit"}
    marks = {path.stem: [pytest.mark.slow] if path.stem in slow else [] for path in paths}
    return [pytest.param(path, id=path.stem, marks=marks[path.stem]) for path in paths]


@pytest.mark.parametrize("path", shipped())
def test_every_shipped_evaluation_runs(path, runs, tmp_path, monkeypatch):
    monkeypatch.setattr("lit_xai.evaluation.cli.publish", lambda *_: "nowhere")
    files = ["--checkpoints", checkpoint(runs, "natural"), "--output", str(tmp_path / "out")]
    evaluate_cli(["-c", str(path), *FEW, *files, f"--max_samples={1 if path.stem == 'paper' else 4}"])
    config = yaml.safe_load(path.read_text())
    grid = yaml.safe_load((path.parent / config["grid"]).read_text())["init_args"]
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    sweeps = config.get("sweeps", {})
    versions = sum(
        math.prod(map(len, sweeps[name]["values"].values())) if name in sweeps else 1
        for name in grid["attacks"]
    )
    assert len(results) == 2 + len(grid["attributions"]) * versions * len(grid["metrics"])


def test_data_from_a_directory_is_described(runs, config, tmp_path):
    with gzip.open(tmp_path / "t10k-images-idx3-ubyte.gz", "wb") as stream:
        stream.write(
            bytes([0, 0, 8, 3, 0, 0, 0, 40, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(range(256)) * 122 + bytes(128)
        )
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 40]) + bytes(range(10)) * 4)
    # The first 5,000 of these validate.
    count = (5010).to_bytes(4, "big")
    for name, header in {
        "images-idx3": [3, *count, 0, 0, 0, 28, 0, 0, 0, 28],
        "labels-idx1": [1, *count],
    }.items():
        size = 5010 * 784 if name.startswith("images") else 5010
        (tmp_path / f"train-{name}-ubyte").write_bytes(bytes([0, 0, 8, *header]) + bytes(size))
    data = ["--data=lit_xai.data.fashion_mnist.FashionMNIST", f"--data.init_args.data_dir={tmp_path}"]
    output = tmp_path / "out"
    evaluate_cli(["-c", config, "--checkpoints", checkpoint(runs, "natural"), *data, "--output", str(output)])
    card = json.loads((output / "card.json").read_text())
    assert card["data"]["class_path"] == "lit_xai.data.fashion_mnist.FashionMNIST"
    assert card["data"]["init_args"]["data_dir"] == str(tmp_path)
    assert card["command"][0] == "evaluate.py"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            ["--accelerator=abacus"],
            "Expected to start with `accelerator` abacus, `devices`",
        ),
        (
            ["--devices=0"],
            "Expected to start with `accelerator` cpu, `devices` 0 and `num_nodes` 1, but got:",
        ),
        (["--examples=-1"], "Expected `examples` of at least 0, but got -1."),
        (["--max_samples=0"], "Expected `max_samples` of at least 1, but got 0."),
        (["--claims={embedded_natural/1: {none/unattacked/acuracy: 1}}"], "Expected the metric of a claim"),
        (["--sweeps={top_k: {values: {eps: [0.1]}}}"], "Expected `sweeps` of random_sign, but got top_k."),
    ],
)
def test_a_wrong_option_is_one_line_before_anything_is_measured(
    runs, config, tmp_path, capsys, options, words
):
    files = ["--checkpoints", checkpoint(runs, "natural"), "--output", str(tmp_path / "out")]
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        evaluate_cli(["-c", config, *FEW, *files, *options])
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert len(lines) == 1
    assert lines[0].startswith(f"error: {words}")
    assert not (tmp_path / "out" / "cells").exists()


def test_networks_need_data_and_one_of_two_options(config, tmp_path, capsys):
    (tmp_path / "net.yaml").write_text("model: {class_path: lit_xai.models.small.SmallCNN}")
    for options, words in {
        (): "Expected at least one of `--checkpoints` or `--models`, but got none.",
        ("--models", str(tmp_path / "net.yaml")): "Expected `--data` where there is no checkpoint",
    }.items():
        with pytest.raises(SystemExit):
            evaluate_cli(["-c", config, *options])
        assert capsys.readouterr().err.startswith(f"error: {words}")


def test_one_adversary_for_all(runs, config, tmp_path):
    (tmp_path / "net.yaml").write_text("model: {class_path: lit_xai.models.small.SmallCNN}")
    files = ["--checkpoints", checkpoint(runs, "natural"), "--models", str(tmp_path / "net.yaml")]
    options = ["--adversary.eps=1.0", "--adversary.step_size=0.5", "--adversary.steps=3", "--max_samples=4"]
    evaluate_cli(["-c", config, *FEW, *files, *options, "--output", str(tmp_path / "out")])
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    accuracy = results[results.attack == "pgd"].set_index("checkpoint")
    assert list(accuracy.index) == ["embedded_natural/1", "net"]
    assert accuracy.value["embedded_natural/1"] < 0.1
    assert accuracy["count"].tolist() == [60, 60]


def test_a_finished_evaluation_is_made_again_from_its_cells(runs, config, tmp_path, capsys):
    files = ["--checkpoints", checkpoint(runs, "natural"), "--output", str(tmp_path / "out")]
    before = {}
    for _ in range(2):
        evaluate_cli(["-c", config, *FEW, *files])
        # Card and page say when.
        found = {
            path.name: path.read_bytes()
            for path in (tmp_path / "out").glob("*.*")
            if path.suffix not in (".json", ".html")
        }
        assert before in ({}, found)
        before = found
    assert "1 cells, 1 of them found" in capsys.readouterr().out
    card = json.loads((tmp_path / "out" / "card.json").read_text())
    assert card["seconds"]["embedded_natural/1"] > 0


def test_double_precision_is_in_the_card_and_in_other_pieces(runs, config, tmp_path):
    output = tmp_path / "out"
    arguments = ["-c", config, *FEW, "--max_samples=10", "--checkpoints", checkpoint(runs, "natural")]
    keys = []
    for precision in ("32-true", "64-true"):
        evaluate_cli([*arguments, f"--precision={precision}", f"--output={output / precision}"])
        keys.append({path.name for path in (output / precision / "cells").iterdir()})
        card = json.loads((output / precision / "card.json").read_text())
        assert card["precision"] == f"float{precision[:2]}"
        assert card["checkpoints"]["embedded_natural/1"]["precision"] == "32-true"
    assert not keys[0] & keys[1]


def test_a_printed_configuration_is_read_back_as_it_is(config, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    options = [*FEW, "--models", "a=b.yaml", "--adversary.eps=0.2", "--sweeps", SWEEP, "-o", "out"]
    printed = []
    for arguments in (["-c", config, *options], ["-c", "printed.yaml"]):
        with pytest.raises(SystemExit, match="0"):
            evaluate_cli([*arguments, "--print_config"])
        printed.append(capsys.readouterr().out)
        Path("printed.yaml").write_text(printed[-1])
    assert printed[0] == printed[1]
    content = yaml.safe_load(printed[0])
    assert (content["max_samples"], content["models"], content["output"]) == (40, ["a=b.yaml"], "out")
    assert content["adversary"]["init_args"]["eps"] == 0.2
    assert list(content["sweeps"]["random_sign"]["values"].values()) == [[0.1, 0.2]]
    assert content["grid"]["init_args"]["metrics"]["top_k"]["init_args"]["k"] == 100


def test_progress_in_a_file_is_a_few_lines(runs, config, tmp_path):
    files = ["--checkpoints", checkpoint(runs, "natural"), "--output", str(tmp_path / "out")]
    with (tmp_path / "said.txt").open("w", newline="") as stream, redirect_stdout(stream):
        evaluate_cli(["-c", config, *FEW, *files, "--max_samples=20", "--batch_size=1"])
    said = (tmp_path / "said.txt").read_bytes().decode()
    assert not {"\r", "\x1b"} & set(said)
    (bar,) = [line for line in said.splitlines() if line.startswith("Evaluating: ")]
    assert "100%" in bar
    assert len(said.splitlines()) < 30
    assert f"Rank it: {program('lit-xai-leaderboard')} {tmp_path}\n" in said
