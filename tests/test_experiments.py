"""Every experiment builds what it names, every sweep gives commands that the training command understands."""

import os
from pathlib import Path
from unittest import mock

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning.pytorch.callbacks import Callback
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lit_xai.cli import train_cli
from lit_xai.data.base import ImageDataModule
from lit_xai.regimes.base import Regime

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.yaml"))


def names(paths: list[Path]) -> list[str]:
    return [path.stem for path in paths]


@pytest.fixture(scope="module")
def thousand_classes(tmp_path_factory):
    """A folder of as many empty class folders as a network has classes that is not told how many."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(1000):
        (folder / f"{number:03d}").mkdir()
    return folder


@pytest.mark.parametrize("path", EXPERIMENTS, ids=names(EXPERIMENTS))
def test_an_experiment_builds(path, thousand_classes, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load(path.read_text())
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Regime, "regime")
    parser.add_subclass_arguments(torch.nn.Module, "model")
    parser.add_subclass_arguments(ImageDataModule, "data")
    monkeypatch.chdir(path.parent)
    parts = {name: content["model"][name] for name in ("regime", "model")} | {"data": content["data"]}
    if path.stem.startswith("image_folder"):
        # The user's own pictures: the one option without a default, as it is set in every command.
        assert "data_dir" not in parts["data"]["init_args"]
        parts["data"]["init_args"]["data_dir"] = str(thousand_classes)
    with torch.device("meta"):
        found = parser.instantiate(parser.parse_object(parts))
        logits = found.model(torch.zeros(1, *shape_of(path)))
    assert logits.shape == (1, found.data.num_classes)
    adversary = content["model"].get("adversary", {"eps": 0.1})
    if hasattr(found.regime, "eps") and not path.stem.endswith("alignment"):
        assert found.regime.eps == adversary["eps"]
    callbacks = content["trainer"]["callbacks"]
    assert [Path(callback).stem.split("_")[0] for callback in callbacks][-1] == "checkpoint"


def shape_of(path: Path) -> tuple[int, int, int]:
    sizes = {"gtsrb": (3, 32, 32), "flowers": (3, 128, 128), "cifar10": (3, 32, 32), "image": (3, 64, 64)}
    return sizes.get(path.stem.split("_")[0], (1, 28, 28))


@pytest.mark.parametrize("data", ["mnist", "color"])
@pytest.mark.parametrize("kind", ["robustness", "images"])
def test_a_callback_attacks_within_the_radius_of_its_data(kind, data):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Callback, "callback")
    path = ROOT / "configs" / "callbacks" / f"explanation_{kind}_{data}.yaml"
    callback = parser.instantiate(parser.parse_args([f"--callback={path}"])).callback
    attacks = callback.grid.attacks if kind == "robustness" else {"top_k": callback.attack}
    radii = {attacks[name].eps for name in attacks.keys() & {"top_k", "random_sign"}}
    assert radii == {{"mnist": 0.3, "color": 0.03137}[data]}


# Spec: search (eps, steps, step_size), optimiser (rate, decay), steps or epochs, batch, weight.
PUBLISHED = {
    "mnist_pgd": ((0.3, 40, 0.01), (1e-4, 0), 100_000, 50, None),
    "mnist_ig_norm": ((0.3, 40, 0.01), (1e-4, 0), 100_000, 50, 1.0),
    "mnist_ig_sum_norm": ((0.3, 40, 0.01), (1e-4, 0), 100_000, 50, 0.1),
    "fashion_pgd": ((0.1, 20, 0.01), (1e-4, 0), 100_000, 50, None),
    "fashion_ig_norm": ((0.1, 20, 0.01), (1e-4, 0), 100_000, 50, 1.0),
    "fashion_ig_sum_norm": ((0.1, 20, 0.01), (1e-4, 0), 100_000, 50, 0.1),
    "gtsrb_pgd": ((8 / 255, 7, 2 / 255), (1e-2, 2e-4), 70_001, 64, None),
    "gtsrb_ig_norm": ((8 / 255, 7, 2 / 255), (1e-2 * 64, 2e-4 / 64), 70_001, 64, 1.0),
    "gtsrb_ig_sum_norm": ((8 / 255, 7, 2 / 255), (1e-2 * 64, 2e-4 / 64), 70_001, 64, 1.0),
    "flowers_pgd": ((8 / 255, 7, 2 / 255), (1e-2, 2e-4), 70_001, 16, None),
    "flowers_ig_norm": ((8 / 255, 7, 2 / 255), (1e-3 * 16, 2e-4 / 16), 70_001, 16, 0.1),
    "flowers_ig_sum_norm": ((8 / 255, 7, 2 / 255), (1e-3 * 16, 2e-4 / 16), 70_001, 16, 0.1),
    "cifar10_trades": ((0.031, 10, 0.007), (0.1, 2e-4), 76, 128, 6.0),
    "cifar10_triplet": ((8 / 255, 3, 5 / 255), (0.1, 2e-4), 101, 234, 0.5),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_experiment_has_the_published_numbers(name, monkeypatch):
    search, rates, length, batch_size, weight = PUBLISHED[name]
    path = ROOT / "configs" / "experiments" / f"{name}.yaml"
    monkeypatch.chdir(path.parent)
    content = yaml.safe_load(path.read_text())
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Regime, "regime")
    parser.add_subclass_arguments(ImageDataModule, "data")
    parts = {"regime": content["model"]["regime"], "data": content["data"]}
    found = parser.instantiate(parser.parse_object(parts))
    regime = found.regime
    assert (regime.eps, regime.steps, regime.step_size) == pytest.approx(search, rel=2e-3)
    assert getattr(regime, "weight", None) == weight
    assert found.data.batch_size == batch_size
    options = content["model"]["optimizer"]["init_args"]
    assert (options["lr"], options["weight_decay"]) == pytest.approx(rates)
    trainer = content["trainer"]
    assert length == (trainer["max_steps"] if trainer["max_epochs"] == -1 else trainer["max_epochs"])
    if "ig_" in name:
        short = (50, 10) if name.startswith(("mnist", "fashion")) else (50, 5)
        assert (regime.path_steps, regime.inner_path_steps) == short


def test_the_published_schedules():
    experiments = ROOT / "configs" / "experiments"
    for path in [*experiments.glob("gtsrb_*.yaml"), *experiments.glob("flowers_*.yaml")]:
        model = yaml.safe_load(path.read_text())["model"]
        assert model["scheduler_interval"] == "step"
        assert model["scheduler"]["init_args"] == {"boundaries": [500, 60000], "factors": [0.1, 1.0, 0.1]}
    milestones = {"trades": [74], "triplet": [50, 80], "gradient_alignment": [100, 150]}
    for name, expected in milestones.items():
        model = yaml.safe_load((experiments / f"cifar10_{name}.yaml").read_text())["model"]
        assert model["scheduler"]["init_args"]["milestones"] == expected


def test_every_regime_has_a_setting_for_two_cores():
    regimes = {path.stem for path in (ROOT / "configs" / "regimes").glob("*.yaml")} - {"scheduled"}
    assert {f"embedded_{name}" for name in regimes} <= set(names(EXPERIMENTS))


def test_the_published_rows_are_there():
    rows = {
        f"{data}_{regime}"
        for data in ("mnist", "fashion", "gtsrb", "flowers")
        for regime in ("natural", "pgd", "ig_norm", "ig_sum_norm")
    }
    others = {"cifar10_trades", "cifar10_triplet", "cifar10_gradient_alignment"}
    assert rows | others <= set(names(EXPERIMENTS))


def first_and_last(parameters: dict[str, dict]) -> list[dict[str, dict]]:
    """Return W&B's arguments for the least and for the greatest value of each parameter."""
    values = {
        name: options.get("values") or [options["min"], options["max"]]
        for name, options in parameters.items()
    }
    ends = [{name: listed[end] for name, listed in values.items()} for end in (0, -1)]
    return [{name: {"value": value} for name, value in chosen.items()} for chosen in ends]


@pytest.mark.parametrize("path", SWEEPS, ids=names(SWEEPS))
def test_a_sweep_gives_commands_that_train_understands(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    sweep = yaml.safe_load(path.read_text())
    assert (ROOT / sweep["program"]).is_file()
    grid = yaml.safe_load((ROOT / "configs" / "grids" / "fashion_epoch.yaml").read_text())["init_args"]
    keys = {
        f"robustness/{attribution}/{attack}/{metric}"
        for attribution in grid["attributions"]
        for attack in grid["attacks"]
        for metric in grid["metrics"]
    }
    assert sweep["metric"]["name"] in keys | {"val/pgd_accuracy"}
    for chosen in first_and_last(sweep["parameters"]):
        macros = {"args": create_sweep_command_args({"args": chosen})["args"], "program": [sweep["program"]]}
        macros |= {"env": [], "interpreter": []}
        command = [
            word
            for part in create_sweep_command(sweep["command"].copy())
            for word in macros.get(part.removeprefix("${").removesuffix("}"), [part])
        ]
        assert command[0] == "train.py"
        with mock.patch.dict(os.environ), pytest.raises(SystemExit) as ended:
            train_cli([*command[1:], "--print_config"])
        assert ended.value.code == 0
        config = yaml.safe_load(capsys.readouterr().out)
        for name, value in chosen.items():
            if name != "config":
                assert at(config, name) == value["value"]


def at(config: dict, name: str) -> object:
    for part in name.split("."):
        config = config[part]
    return config
