"""Every command, file and number of docs/evaluate.md."""

import os
import re
import shlex
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from lit_xai.cli import evaluate_cli
from lit_xai.evaluation.options import evaluation_parser
from lit_xai.evaluation.sweep import Sweep
from lit_xai.models.zoo import TimmClassifier
from lit_xai.reporting.cli import report_cli
from lit_xai.reporting.leaderboard import leaderboard_cli
from tests.docs.pages import blocks, commands

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "evaluate.md").read_text()
EVALUATIONS = [shlex.split(command)[2:] for command in commands(PAGE) if "evaluate.py" in command]
OTHERS = [shlex.split(command) for command in commands(PAGE) if "evaluate.py" not in command]
MODEL, MINE, PHOTOS, SWEEPS, CLAIMS = (yaml.safe_load(block) for block in blocks(PAGE, "yaml"))
TINY = {"model": {"class_path": "lit_xai.models.small.SmallCNN", "init_args": {"width": 2}}}


@pytest.fixture(scope="module")
def output(tmp_path_factory) -> Path:
    """A small evaluation that was made by the second command, where the page's other commands look for it."""
    directory = tmp_path_factory.mktemp("page")
    shutil.copytree(ROOT / "configs", directory / "configs")
    (directory / "network.yaml").write_text(yaml.safe_dump(TINY))
    before = Path.cwd()
    os.chdir(directory)
    try:
        more = [
            "--data.init_args.max_test=40",
            "--data.init_args.max_train=100",
            "--max_samples=4",
            "--sweeps={}",
        ]
        evaluate_cli(
            [*EVALUATIONS[1], *more, "--adversary.steps=2", "--wandb_project=null", "--accelerator=cpu"]
        )
    finally:
        os.chdir(before)
    return directory / "runs" / "evaluate" / "1"


def test_the_evaluations_are_understood(monkeypatch):
    monkeypatch.chdir(ROOT)
    first, second = (evaluation_parser().parse_args(arguments) for arguments in EVALUATIONS[:2])
    assert [name.partition("=")[0] for name in first.checkpoints] == ["natural", "robust"]
    assert second.models == ["mine=network.yaml"]
    assert second.data.class_path == "lit_xai.data.embedded_fashion.EmbeddedFashion"


def test_a_finished_network_needs_the_same_two_files_and_command_as_in_readme():
    readme = (ROOT / "README.md").read_text()
    assert [yaml.safe_load(block) for block in blocks(readme, "yaml")] == [MINE, PHOTOS]
    assert shlex.join(EVALUATIONS[2]) in " ".join(commands(readme))
    assert MINE["model"]["init_args"]["name"] == PHOTOS["init_args"]["network"].partition("/")[2]


def test_the_shipped_configurations_are_those_of_the_table():
    named = re.findall(r"^\| `(\w+)\.yaml` \|", PAGE, re.MULTILINE)
    assert named == ["quick", "standard", "color", "paper"]
    sweeps = {
        name: yaml.safe_load((ROOT / f"configs/evaluate/{name}.yaml").read_text())["sweeps"] for name in named
    }
    assert len(sweeps["quick"]["top_k"]["values"]["eps"]) == 2
    assert len(sweeps["standard"]["top_k"]["values"]["eps"]) == 3
    radii = [round(255 * eps) for eps in sweeps["color"]["top_k"]["values"]["eps"]]
    assert radii == [2, 4, 8]
    assert sweeps["color"]["random_sign"]["values"] == sweeps["color"]["top_k"]["values"]
    assert SWEEPS["sweeps"]["exiaa"] == sweeps["quick"]["exiaa"]


@pytest.mark.slow
def test_every_file_of_the_table_is_written(output):
    named = {name for name in re.findall(r"^\| `([\w.]+/?)` \|", PAGE, re.MULTILINE) if ".yaml" not in name}
    found = {path.name + "/" * path.is_dir() for path in output.iterdir() if not path.name.startswith(".")}
    # A network that is described was not trained here, and one explanation agrees with nothing.
    assert named - {"training.csv", "agreement.parquet"} == found - {"evaluation.json"}


@pytest.mark.slow
def test_the_page_and_the_leaderboard_are_made_again(output, monkeypatch):
    monkeypatch.chdir(output.parents[2])
    page = (output / "report.html").read_bytes()
    (output / "report.html").unlink()
    for program, *arguments in OTHERS:
        {"lit-xai-report": report_cli, "lit-xai-leaderboard": leaderboard_cli}[Path(program).name](arguments)
    assert (output / "report.html").read_bytes() == page
    board = pd.read_csv(output.parents[1] / "leaderboard.csv")
    assert board.checkpoint.tolist() == ["mine"]


def test_the_commands_are_installed():
    scripts = re.findall(r"^(lit-xai-\w+) =", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {Path(program).name for program, *_ in OTHERS} <= set(scripts)


def test_the_described_network_is_read_with_its_weights(tmp_path):
    from safetensors.torch import save_file

    from lit_xai.evaluation.subjects import from_model

    network = TimmClassifier(**MODEL["model"]["init_args"])
    save_file(
        {name: value.contiguous() for name, value in network.state_dict().items()},
        tmp_path / MODEL["weights"],
    )
    (tmp_path / "network.yaml").write_text(yaml.safe_dump(MODEL))
    found = from_model("mine", tmp_path / "network.yaml").load()
    image = torch.rand(2, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(found.eval()(image), network.eval()(image))


def test_sweeps_and_claims_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    (tmp_path / "claims.yaml").write_text(yaml.safe_dump(CLAIMS))
    (tmp_path / "sweeps.yaml").write_text(yaml.safe_dump(SWEEPS))
    options = ["-c", "configs/evaluate/quick.yaml", "-c", str(tmp_path / "sweeps.yaml"), "--models", "a.yaml"]
    parser = evaluation_parser()
    built = parser.instantiate(parser.parse_args([*options, f"--claims={tmp_path / 'claims.yaml'}"]))
    assert built.claims == CLAIMS
    assert built.sweeps["top_k"] == Sweep({"eps": [0.025, 0.05, 0.1]}, ["step_size"])
    assert parser.instantiate(parser.parse_args([*options, "--sweeps", "{}"])).sweeps == {}
