"""Every command and example in the documents runs, and every table equals its results."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest
import yaml

from lit_xai.cli import train_cli
from lit_xai.evaluation.paired import paired_tables
from lit_xai.evaluation.table import comparison, insert
from lit_xai.reporting.reading import read_table
from scripts.faithfulness import agreement_table

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()


def blocks(document: str, language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", document, re.DOTALL | re.MULTILINE)
    return ["\n".join(line.removeprefix(indent) for line in code.split("\n")) for indent, code in found]


def commands(document: str) -> list[str]:
    return [
        line.split("  #")[0].strip()
        for block in blocks(document, "bash")
        for line in block.splitlines()
        if line
    ]


COMMANDS = commands(README)
REGIMES = commands((ROOT / "docs" / "regimes.md").read_text())
TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


# `test_processes_page.py` goes on with a run.
@pytest.mark.parametrize(
    "command",
    [command for command in COMMANDS + REGIMES if "train.py" in command and "--resume" not in command],
)
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
        if value.endswith(".yaml"):
            assert place["class_path"] == yaml.safe_load(Path(value).read_text())["class_path"]
        else:
            assert str(place).lower() == value


def test_every_make_command_exists():
    named = {command.split()[1] for command in COMMANDS if command.startswith("make ")}
    named |= {line.split()[1] for block in blocks(CONTRIBUTING, "bash") for line in block.splitlines()}
    assert {"demo", "test"} <= named <= set(TARGETS)


def test_every_other_command_is_tested_elsewhere():
    others = [
        command for command in COMMANDS if not command.startswith("make ") and "train.py" not in command
    ]
    sweep, evaluation = others
    # Its commands are tested with the experiments.
    assert shlex.split(sweep)[:2] == ["wandb", "sweep"]
    assert (ROOT / shlex.split(sweep)[2]).is_file()
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
    table = comparison(read_table(ROOT / "results" / name / "results.csv"))
    assert insert(README, name, table) == README
    assert f"\n{table}\n" in README


def test_the_tables_of_faithfulness_are_what_their_results_render():
    page = (ROOT / "docs" / "faithfulness.md").read_text()
    samples = pd.read_parquet(ROOT / "results" / "faithfulness" / "samples.parquet")
    assert insert(page, "faithfulness", paired_tables(samples)) == page
    curve = pd.read_csv(ROOT / "results" / "agreement" / "results.csv")
    assert insert(page, "agreement", agreement_table(curve)) == page
    named = set(re.findall(r"^\| (\w+) ", page, re.MULTILINE))
    assert {path.stem for path in (ROOT / "configs" / "attributions").glob("*.yaml")} <= named


def test_the_claims_of_faithfulness_are_what_the_intervals_show():
    page = (ROOT / "docs" / "faithfulness.md").read_text()
    signs: dict[str, dict[str, list[str]]] = {}
    for line in page.splitlines():
        if line in ("insertion", "deletion", "insertion_signed", "deletion_signed"):
            table = signs.setdefault(line, {})
        elif found := re.match(r"\| (\w+) +\| \S+ \| (.*) \[(.*), (.*)\] \| (.*) \[(.*), (.*)\]", line):
            _, *numbers = found.groups()
            bounds = [(float(numbers[place + 1]), float(numbers[place + 2])) for place in (0, 3)]
            table[found[1]] = [
                "above" if low > 0 else "below" if high < 0 else "equal" for low, high in bounds
            ]
    assert len(signs["insertion"]) == 25
    for metric in ("insertion", "insertion_signed"):
        assert {name for name, found in signs[metric].items() if found != ["above", "above"]} == {"grad_cam"}
        assert signs[metric]["grad_cam"] == ["equal", "equal"]
    for metric in ("deletion", "deletion_signed"):
        assert {found[1] for found in signs[metric].values()} == {"below"}
        hard = {name: found[0] for name, found in signs[metric].items() if found[0] != "below"}
        assert hard == {
            "grad_cam": "above",
            "saliency": "equal",
            "attexplore_pgd": "equal",
            "attexplore_ti": "equal",
        }


def test_the_list_of_methods_is_whole():
    for folder in ("attributions", "attacks", "regimes", "metrics"):
        for path in (ROOT / "configs" / folder).glob("*.yaml"):
            assert f"`{yaml.safe_load(path.read_text())['class_path'].rsplit('.', 1)[1]}`" in README
