"""Every command and file of docs/processes.md; test_nodes.py runs those of several machines."""

import shlex
from pathlib import Path

import pytest
import yaml

from lit_xai.cli import train_cli
from lit_xai.evaluation.options import evaluation_parser
from tests.docs.pages import commands

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "processes.md").read_text()
ALL = [shlex.split(command) for command in commands(PAGE)]


def arguments_of(program: str) -> list[list[str]]:
    return [command[command.index(program) + 1 :] for command in ALL if program in command]


def test_no_command_is_of_another_kind():
    programs = {"evaluate.py", "train.py", "scripts/slurm/train.sbatch", "scripts/slurm/evaluate.sbatch"}
    assert all(len(programs & set(command)) == 1 for command in ALL)
    assert [len(arguments_of(program)) for program in sorted(programs)] == [2, 1, 1, 4]
    assert all((ROOT / program).is_file() for program in programs)


@pytest.mark.parametrize(
    "arguments", arguments_of("evaluate.py") + arguments_of("scripts/slurm/evaluate.sbatch")
)
def test_an_evaluation_is_understood(arguments, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = evaluation_parser().parse_args(arguments)
    assert config.checkpoints == ["runs/demo_pgd/1/checkpoints/last.ckpt"]
    assert (config.num_nodes, config.devices) in ((1, 2), (2, 1), (1, "auto"))


@pytest.mark.parametrize(
    "arguments",
    [given for given in arguments_of("train.py") if "--resume" not in given]
    + [["fit", *given] for given in arguments_of("scripts/slurm/train.sbatch")],
)
def test_a_training_is_understood(arguments, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as ended:
        train_cli([*arguments, "--print_config"])
    assert ended.value.code == 0
    trainer = yaml.safe_load(capsys.readouterr().out)["trainer"]
    shared = (int(trainer["devices"]), trainer["num_nodes"], trainer["strategy"])
    assert shared in ((2, 1, "ddp"), (1, 2, "ddp"), (1, 1, "auto"))


@pytest.mark.slow
def test_a_run_goes_on_by_the_commands_of_the_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    experiment = str(ROOT / "configs" / "experiments" / "embedded_pgd.yaml")
    checkpoint = f"--trainer.callbacks=[{ROOT}/configs/callbacks/checkpoint.yaml]"
    few = ["--data.init_args.max_train=50", "--data.init_args.max_val=20", "--model.regime.init_args.steps=1"]
    quiet = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--model.adversary=null"]
    train_cli(["fit", "--config", experiment, "--trainer.max_epochs=2", checkpoint, *few, *quiet])
    finished, longer = [given for given in arguments_of("train.py") if "--resume" in given]
    last = Path("runs/embedded_pgd/1/checkpoints/last.ckpt")
    before = last.read_bytes()
    train_cli(finished)
    assert last.read_bytes() == before
    with pytest.warns(UserWarning, match="max_epochs: 3 was given and is used, but it was 2 before"):
        train_cli([*longer[:-1], "3"])
    assert [path.name for path in Path("runs/embedded_pgd").iterdir()] == ["1"]
    assert [path.name for path in last.parent.glob("epoch*")] == ["epoch=2-step=3.ckpt"]
