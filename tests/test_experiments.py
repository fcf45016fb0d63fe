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


@pytest.mark.parametrize("path", EXPERIMENTS, ids=names(EXPERIMENTS))
def test_an_experiment_builds(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    content = yaml.safe_load(path.read_text())
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Regime, "regime")
    parser.add_subclass_arguments(torch.nn.Module, "model")
    parser.add_subclass_arguments(ImageDataModule, "data")
    monkeypatch.chdir(path.parent)
    parts = {name: content["model"][name] for name in ("regime", "model")} | {"data": content["data"]}
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
    sizes = {"gtsrb": (3, 32, 32), "flowers": (3, 128, 128), "cifar10": (3, 32, 32)}
    return sizes.get(path.stem.split("_")[0], (1, 28, 28))


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "callbacks").glob("*robustness_*.yaml")))
def test_a_grid_attacks_within_the_radius_of_its_data(path):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(Callback, "callback")
    grid = parser.instantiate(parser.parse_args([f"--callback={path}"])).callback.grid
    radius = 0.3 if path.stem.endswith("mnist") else 0.03137
    assert [grid.attacks[name].eps for name in ("top_k", "random_sign")] == [radius, radius]


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
