import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch.callbacks import Timer, TQDMProgressBar

from lit_xai.training.command import TrainCLI
from lit_xai.training.endings import Started
from lit_xai.training.entry import Command, trained


@pytest.fixture
def command(monkeypatch):
    """The command without what it stands on."""
    monkeypatch.setattr(TrainCLI, "_instantiate_trainer", lambda self, config, callbacks: config)
    monkeypatch.setattr(TrainCLI, "_run_subcommand", lambda self, subcommand: None)
    monkeypatch.setattr(TrainCLI, "_parse_ckpt_path", lambda self: None)
    found = Command.__new__(Command)
    found.started = Started()
    return found


def test_an_unknown_subcommand_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit, match="2"):
        trained(["fti"])
    assert (
        capsys.readouterr().err
        == "error: Expected one of fit, validate, test, but got fti. Did you mean fit?\n"
    )


def test_a_secret_is_refused_and_not_repeated(capsys):
    with pytest.raises(SystemExit, match="2"):
        trained(["fit", "--data.init_args.access_token=ab12"])
    said = capsys.readouterr().err
    assert said.startswith(
        "error: Expected no secret on the command line, but got --data.init_args.access_token."
    )
    assert "ab12" not in said


def test_every_option_can_be_shown(capsys):
    with pytest.raises(SystemExit, match="0"):
        trained(["fit", "--help_all"])
    assert "--trainer.gradient_clip_val" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("config", "names"),
    [
        ({}, ["EpochLines"]),
        ({"enable_progress_bar": True, "barebones": False}, ["EpochLines"]),
        ({"enable_progress_bar": False}, []),
        ({"barebones": True}, []),
        ({"callbacks": Timer()}, ["Timer", "EpochLines"]),
        ({"callbacks": [Timer(), TQDMProgressBar()]}, ["Timer", "TQDMProgressBar"]),
        ({"callbacks": TQDMProgressBar()}, ["TQDMProgressBar"]),
    ],
)
def test_a_file_gets_lines_in_the_place_of_a_bar(command, config, names, monkeypatch):
    def built(terminal):
        monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: terminal))
        found = command._instantiate_trainer(dict(config), []).get("callbacks") or []
        return [type(each).__name__ for each in (found if isinstance(found, list) else [found])]

    assert built(terminal=False) == names
    assert built(terminal=True) == [name for name in names if name != "EpochLines"]


@pytest.mark.parametrize(("subcommand", "split"), [("fit", "train"), ("validate", "val"), ("test", "test")])
def test_the_last_words_are_for_the_images_of_the_split(command, subcommand, split):
    images = {name: torch.zeros(3 if name == split else 1, 2, 2) for name in ("train", "val", "test")}
    command.datamodule = SimpleNamespace(images=lambda name: [SimpleNamespace(image=images[name])])
    command._run_subcommand(subcommand)
    assert command.started.color
    images[split] = torch.zeros(1, 2, 2)
    command._run_subcommand(subcommand)
    assert not command.started.color


def test_the_last_words_know_what_is_measured(command):
    for path, expected in (("a.ckpt", Path("a.ckpt")), (None, None)):
        command.config = {"subcommand": "test", "test": {"ckpt_path": path}}
        command._parse_ckpt_path()
        assert command.started.checkpoint == expected
