"""Every block of README and of each page is run, in order, as a reader would."""

import inspect
import re
import runpy
import shutil
import subprocess
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import nn
from torch.distributed.run import get_args_parser
from wandb.cli.cli import cli as wandb_cli

import lit_xai.attacks
from lit_xai.cli import train_cli
from lit_xai.data.base import ImageDataModule
from lit_xai.evaluation.options import evaluation_parser
from tests.conftest import tiny_batch, tiny_network
from tests.docs import sandbox
from tests.docs.pages import PAGES, ROOT, Block, all_blocks, commands, commands_of, words

TARGETS = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

# Not run here, and why. The first words of a command, without the interpreter.
NOT_RUN = {
    "make": "minutes or hours; the demo is a test of its own, the others are run for their tables",
    "wandb": "needs a server",
    "torchrun": "several machines: tests/end_to_end/test_nodes.py",
    "sbatch": "SLURM: tests/end_to_end/test_nodes.py",
    "docs/quickstart.py": "a test of its own: tests/docs/test_quickstart.py",
}
NOT_RUN_WITH = {
    "download true": "needs a network connection",
    "pretrained true": "needs a network connection",
    "--devices 2": "two processes: tests/test_processes.py",
    "devices 2": "two processes: tests/test_processes.py",
}


@dataclass(frozen=True)
class Promise:
    """What must be so after a command.

    Attributes:
        more: Options behind those of the page, to make it shorter.
        files: Patterns of files that it wrote.
        says: Regular expression of what it said.
    """

    more: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    says: str = ""


def run_of(name: str, number: int = 1) -> list[str]:
    return [
        f"runs/{name}/{number}/{file}" for file in ("config.yaml", "checkpoints/last.ckpt", "resume.ckpt")
    ]


def evaluation(number: int) -> list[str]:
    names = ("report.html", "results.csv", "samples.parquet", "results.tex", "card.json", "comparisons.csv")
    return [f"runs/evaluate/{number}/{name}" for name in names]


# The first of these that begins as a command does, without the interpreter, is what the page promises of it.
PROMISES = {
    "train.py fit --config configs/experiments/embedded_ig_sum_norm.yaml": Promise(
        files=[
            *run_of("embedded_ig_sum_norm"),
            "runs/embedded_ig_sum_norm/1/csv/metrics.csv",
            "runs/embedded_ig_sum_norm/1/explanations/*.png",
            "runs/embedded_ig_sum_norm/1/wandb/offline-run-*",
        ],
        says=r"Run directory: runs/embedded_ig_sum_norm/1\n",
    ),
    "train.py fit --resume runs/embedded_pgd/1 --trainer.max_epochs 20": Promise(
        more=["--trainer.max_epochs", "2"], says="Going on with runs/embedded_pgd/1 after"
    ),
    "train.py fit --resume": Promise(says="Going on with runs/"),
    "train.py fit --model.regime.help": Promise(says=r"--model.regime.inner_path_steps"),
    "train.py fit --help": Promise(says=r"--model.regime FILE"),
    "train.py fit": Promise(says=r"Run directory: runs/\w+/\d+\n"),
    "train.py validate": Promise(says=r"val/accuracy"),
    "train.py test": Promise(says=r"test/accuracy"),
    # Up to fifty explanations of each of three networks.
    "evaluate.py -c configs/evaluate/attexplore": Promise(
        more=["--max_samples", "2"], says=r"Report: +runs/attexplore_\w+/report.html"
    ),
    "evaluate.py": Promise(says=r"Report: +runs/(evaluate/)?\w+/report.html"),
    "benchmarks/frames_per_second.py": Promise(
        more=["--device=cpu", "--images=1", "--repeats=1", "--grid=configs/grids/attexplore.yaml"],
        files=["runs/attexplore_speed/frames_per_second.csv"],
        says="inception_v3, attexplore: [0-9.]+ frames a second",
    ),
    "scripts/attexplore.py": Promise(
        files=["runs/attexplore_tables/attexplore.md"],
        says="Tables 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12: runs/attexplore_tables/attexplore.md",
    ),
    "scripts/exiaa_imagenet.py": Promise(
        files=[
            f"runs/exiaa_resnet18/exiaa_imagenet/{name}"
            for name in ("tables.md", "table_deep_lift_shap.csv", "figure_change.svg", "counts.csv")
        ]
    ),
    "scripts/lens.py": Promise(
        files=["figures/table_2.md", "figures/rows.csv", "figures/chance.csv", "figures/*.svg"]
    ),
    "lit-xai-train --print_completion": Promise(files=["lit-xai-train.sh"]),
    "source": Promise(),
    "lit-xai-export": Promise(
        files=["exported/model.safetensors", "exported/config.json", "exported/card.json"]
    ),
    "lit-xai-report": Promise(says=r"runs/evaluate/\w+/report.html"),
    "lit-xai-leaderboard": Promise(files=["runs/leaderboard.html", "runs/leaderboard.csv"]),
}
# Blocks without a file name, and what is done with them.
FRAGMENTS = {
    "sweeps": "docs/evaluate.md: understood by its own test",
}


def reason_not_to_run(command: str) -> str | None:
    """Return why a command is not run here; None for one that is."""
    program = words(command)[0]
    for start, reason in NOT_RUN.items():
        if program == start or (start.endswith("/") and program.startswith(start)):
            return reason
    return next((reason for part, reason in NOT_RUN_WITH.items() if part in command), None)


def promise_of(command: str) -> Promise | None:
    plain = " ".join(words(command))
    return next((promise for start, promise in PROMISES.items() if plain.startswith(start)), None)


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_known(page):
    unknown = [
        command
        for command in commands(PAGES[page])
        if promise_of(command) is None and reason_not_to_run(command) is None
    ]
    assert unknown == []


# Folders stand for all programs in them.
@pytest.mark.parametrize(
    "name", [name for name in [*NOT_RUN, *NOT_RUN_WITH, *PROMISES] if not name.endswith("/")]
)
def test_nothing_is_listed_that_no_page_has(name):
    every = [command for page in PAGES.values() for command in commands(page)]
    plain = [" ".join(words(command)) for command in every]
    if name in NOT_RUN_WITH:
        assert any(name in command for command in every)
    elif name in PROMISES:
        assert any(PROMISES[name] is promise_of(command) for command in every)
    else:
        assert any(command.startswith(name) for command in plain)


UNRUN = [
    pytest.param(page, command, id=f"{page}: {command[:60]}")
    for page, document in PAGES.items()
    for command in commands(document)
    if reason_not_to_run(command) is not None
]


@pytest.mark.parametrize(("page", "command"), UNRUN)
def test_what_is_not_run_is_understood(page, command, tmp_path, monkeypatch, capsys):
    for name in ("configs", "scripts", "train.py", "evaluate.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    save_named(all_blocks(PAGES[page]))
    program, *arguments = words(command)
    if program == "torchrun":
        get_args_parser().parse_args(arguments)
    if program in ("torchrun", "sbatch"):
        # What comes before our own program is the launcher's.
        place = next(index for index, word in enumerate(arguments) if word.endswith((".py", ".sbatch")))
        assert (ROOT / arguments[place]).is_file()
        program = Path(arguments[place]).name
        arguments = [*(["fit"] if program == "train.sbatch" else []), *arguments[place + 1 :]]
    if program in ("train.py", "train.sbatch"):
        with pytest.raises(SystemExit) as ended:
            train_cli([*arguments, "--print_config"])
        assert ended.value.code == 0
        assert "regime:" in capsys.readouterr().out
    elif program in ("evaluate.py", "evaluate.sbatch"):
        config = evaluation_parser().parse_args(arguments)
        assert config.checkpoints or config.models
    elif program == "make":
        assert arguments[0] in TARGETS
        plan = subprocess.run(
            ["make", "-C", ROOT, "--dry-run", *arguments], check=False, capture_output=True, text=True
        )
        assert plan.returncode == 0, plan.stderr
        # What is given on the line arrives at the program.
        assert [word for word in arguments[1:] if word.partition("=")[2] not in plan.stdout] == []
    elif program == "wandb":
        # Runs are there after training only.
        places = ["." if word.startswith("runs/") else word for word in arguments[1:]]
        found = wandb_cli.commands[arguments[0]].make_context(arguments[0], places)
        assert found.command.name == arguments[0]
    else:
        assert program == "docs/quickstart.py"
        assert arguments == []


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    """Small runs where `make demo` leaves its own."""
    directory = tmp_path_factory.mktemp("demo")
    sandbox.make(directory)
    with sandbox.inside(directory):
        for regime in ("natural", "pgd"):
            sandbox.run(
                f"train.py fit --config configs/experiments/embedded_{regime}.yaml",
                [f"--experiment=demo_{regime}", "--trainer.logger=configs/loggers/csv.yaml"],
            )
    return directory


# Pages that take the reader's own pictures as given.
WITH_PHOTOS = {"README.md", "docs/evaluate.md"}
# Pages of ImageNet and of networks for it.
LARGE = {"docs/attexplore.md", "docs/lens.md", "docs/reproduce.md"}
# Runs that a command made which is not run here, and the demo's that stands for each.
GIVEN = {"docs/processes.md": {"embedded_pgd": "demo_pgd"}}


def prepare(page: str, demo: Path, directory: Path) -> None:
    sandbox.make(directory)
    shutil.copytree(demo / "runs", directory / "runs")
    for name, other in GIVEN.get(page, {}).items():
        shutil.copytree(demo / "runs" / other, directory / "runs" / name)
    if page in WITH_PHOTOS | LARGE:
        sandbox.write_photos(directory / "photos")


def save_named(blocks: list[Block]) -> None:
    """Do what the reader does with a block that begins with a file's name."""
    for block in blocks:
        if block.file is not None:
            place = Path(block.file)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(block.code)


def save_smaller(blocks: list[Block]) -> None:
    """Save the blocks, with configurations of the same parts that take less time."""
    save_named(blocks)
    for block in blocks:
        if block.file is not None and block.file.endswith(".yaml"):
            content = sandbox.smaller(yaml.safe_load(block.code))
            Path(block.file).write_text(yaml.safe_dump(content, sort_keys=False))


def run_command(command: str, capsys) -> None:
    promise = promise_of(command)
    assert promise is not None, command
    capsys.readouterr()
    status: object = 0
    try:
        sandbox.run(command, promise.more)
    except SystemExit as error:
        status = error.code or 0
    said = capsys.readouterr()
    assert status == 0, said.err
    if "--print_config" in command:
        assert yaml.safe_load(said.out)["model"]["regime"]
    else:
        assert re.search(promise.says, said.out + said.err), said.out[-2000:]
    assert [pattern for pattern in promise.files if not list(Path().glob(pattern))] == []


def after_readme(names: dict, directory: Path) -> None:
    curves = names["curves"]
    assert curves[names["key"]].notna().sum() == 1
    assert curves[f"{names['key']}_count"].max() <= 8
    assert (names["result"].image_adv - names["result"].image).abs().max().item() == pytest.approx(
        0.05, abs=1e-6
    )
    assert names["curve"].shape == (8, 29)
    compared = pd.read_csv(directory / "runs/evaluate/1/results.csv")
    assert list(dict.fromkeys(compared["checkpoint"])) == ["natural", "robust"]
    assert {"top_k_eps_0_03137", "random_sign_eps_0_00784"} <= set(compared["attack"])


def after_extend(names: dict, directory: Path) -> None:
    results = pd.read_csv(directory / "runs/evaluate/1/results.csv")
    cells = results[results["attribution"] != "none"]
    assert set(cells["attribution"]) == {"saliency", "squared"}
    assert set(cells["attack"]) == {"unattacked", "fade"}
    assert set(cells["metric"]) == {"peak_kept", "spearman"}
    accuracy = results[(results["metric"] == "accuracy") & (results["attack"] == "unattacked")]
    assert accuracy["value"].item() > 0.9
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patch:
        # The page puts its attack into the package.
        patch.setattr(lit_xai.attacks, "__path__", [*lit_xai.attacks.__path__, "lit_xai/attacks"])
        fragment = yaml.safe_load(Path("configs/attacks/fade.yaml").read_text())
        kind = getattr(import_module("lit_xai.attacks.fade"), fragment["class_path"].rsplit(".", 1)[1])
        assert kind(**fragment["init_args"]).radius == 0.0314
        tests = {
            name: part
            for name, part in runpy.run_path("tests/attacks/test_fade.py").items()
            if "test_" in name
        }
        assert len(tests) == 3
        for test in tests.values():
            given = {"model": tiny_network(), "batch": tiny_batch()}
            test(**{name: given[name] for name in inspect.signature(test).parameters})


def after_train(names: dict, directory: Path) -> None:
    assert (
        len(list((directory / "photos/cat").glob("*.png")))
        + len(list((directory / "photos/dog").glob("*.png")))
        == 80
    )
    listed = pd.read_csv(directory / "runs/image_folder_natural/1/splits.csv")
    # The names decide: 66 train, of which the sandbox takes 60.
    assert listed.groupby("split").size().to_dict() == {"test": 6, "train": 60, "val": 8}


# What a page's own words promise beyond single commands.
AFTER = {"README.md": after_readme, "docs/extend.md": after_extend, "docs/train.md": after_train}
EXECUTED = [
    page
    for page, document in PAGES.items()
    if any(reason_not_to_run(command) is None for command in commands(document)) or "```python" in document
]


@pytest.mark.slow
# What the reader is warned of is a line of the command.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("page", EXECUTED)
def test_a_page_runs_from_its_top_to_its_end(page, demo, tmp_path, capsys):
    prepare(page, demo, tmp_path)
    found = all_blocks(PAGES[page])
    with sandbox.inside(tmp_path):
        save_smaller(found)
        if page in LARGE:
            sandbox.stand_in()
        names: dict[str, object] = {}
        for block in found:
            if block.language == "bash":
                for command in commands_of(block.code):
                    if reason_not_to_run(command) is None:
                        run_command(command, capsys)
            elif block.language == "python" and block.file is None:
                exec(compile(block.code, page, "exec"), names)
        if page in AFTER:
            AFTER[page](names, tmp_path)


DESCRIPTIONS = [
    pytest.param(block.code, id=f"{page}: {block.file}")
    for page, document in PAGES.items()
    for block in all_blocks(document)
    if block.language == "yaml" and re.search(r"class_path: lit_xai\.(models|data)\.", block.code)
]


@pytest.mark.parametrize("code", DESCRIPTIONS)
def test_what_a_page_describes_is_built_as_it_stands(code, tmp_path, monkeypatch):
    """Pages run with smaller networks and images: what they say is checked here."""
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load(code)
    parser = ArgumentParser(exit_on_error=False)
    kind = nn.Module if "model" in content else ImageDataModule
    parser.add_argument("--part", type=kind)
    with torch.device("meta"):
        found = parser.instantiate(parser.parse_object({"part": content.get("model", content)})).part
    assert isinstance(found, kind)


@pytest.mark.parametrize("page", PAGES)
def test_blocks_say_their_language(page):
    languages = {block.language for block in all_blocks(PAGES[page])}
    assert languages <= {"bash", "python", "yaml", "text"}


@pytest.mark.parametrize("page", PAGES)
def test_every_yaml_block_is_a_file_or_is_tested(page):
    parts = [
        block.code for block in all_blocks(PAGES[page]) if block.language == "yaml" and block.file is None
    ]
    assert {next(iter(yaml.safe_load(code))) for code in parts} <= FRAGMENTS.keys()
