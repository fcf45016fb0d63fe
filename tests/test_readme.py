"""Every command and example in the documents runs, and every table equals its results."""

import re
import shlex
from pathlib import Path

import pytest
import yaml

from lit_xai.cli import train_cli
from lit_xai.evaluation.table import comparison, insert, read_results

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(document: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", document, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in code.split("\n")) for indent, code in found]


COMMANDS = [
    line.split("  #")[0].strip() for block in blocks(README, "bash") for line in block.splitlines() if line
]
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [command for command in COMMANDS if "train.py" in command])
def test_a_training_command_is_understood(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    _, program, *arguments = shlex.split(command)
    assert (ROOT / program).is_file()
    with pytest.raises(SystemExit) as ended:
        train_cli([*arguments, "--print_config"])
    assert ended.value.code == 0
    config = yaml.safe_load(capsys.readouterr().out)
    for option, value in zip(arguments[3::2], arguments[4::2], strict=True):
        place = config
        for key in option.removeprefix("--").split("."):
            place = place[key]
        assert str(place).lower() == value or place["class_path"] == "lit_xai.regimes.pgd.PGD"


def test_every_make_command_exists():
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    named |= {line.split()[1] for block in blocks(CONTRIBUTING, "bash") for line in block.splitlines()}
    assert {"demo", "test"} <= named <= set(TARGETS)


def test_every_other_command_is_tested_elsewhere():
    others = [
        command for command in COMMANDS if not command.startswith("make ") and "train.py" not in command
    ]
    (evaluation,) = others
    arguments = shlex.split(evaluation)
    assert arguments[1:4] == ["evaluate.py", "-c", "configs/evaluate/quick.yaml"]
    assert (ROOT / arguments[3]).is_file()


def test_the_python_example_runs(capsys):
    (example,) = blocks(README, "python")
    names: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), names)
    result = names["result"]
    assert (result.image_adv - result.image).abs().max().item() == pytest.approx(0.05, abs=1e-6)
    assert names["curve"].shape == (8, 29)
    assert capsys.readouterr().out.startswith("tensor([")


def test_the_example_of_an_attack_darkens(model, batch):
    from lit_xai.attacks.base import run_attack
    from lit_xai.attributions.saliency import Saliency

    (example,) = blocks(CONTRIBUTING, "python")
    names: dict[str, object] = {}
    exec(compile(example, "CONTRIBUTING.md", "exec"), names)
    result = run_attack(model, Saliency(), names["Fade"](eps=0.1), batch, seed=0)
    assert (result.image - result.image_adv).max().item() == pytest.approx(0.1)
    (fragment,) = blocks(CONTRIBUTING, "yaml")
    assert yaml.safe_load(fragment)["class_path"] == "lit_xai.attacks.fade.Fade"


@pytest.mark.parametrize("name", re.findall(r"<!-- results: (\w+) -->", README))
def test_a_table_is_what_its_results_render(name):
    table = comparison(read_results(ROOT / "results" / name / "results.csv"))
    assert insert(README, name, table) == README
    assert f"\n{table}\n" in README


def test_the_list_of_methods_is_whole():
    for folder in ("attributions", "attacks", "regimes", "metrics"):
        for path in (ROOT / "configs" / folder).glob("*.yaml"):
            assert f"`{yaml.safe_load(path.read_text())['class_path'].rsplit('.', 1)[1]}`" in README
