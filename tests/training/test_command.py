"""A run that is stopped at any step goes on to the numbers of one that was not."""

import errno
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from lit_xai.cli import train_cli
from lit_xai.files import write_whole
from lit_xai.programs import program
from tests.stopped_runs import ROOT, checkpoint, curves, differences, written

CSV = {"class_path": "lightning.pytorch.loggers.CSVLogger", "init_args": {"save_dir": "{run_dir}"}}
QUICK = {"trainer__logger": [CSV], "trainer__callbacks": [checkpoint(save_last=True)]}


class KilledError(Exception):
    """Stands for the end of the process."""


def killed_at(monkeypatch: pytest.MonkeyPatch, step: int, owner: type = torch.optim.AdamW) -> None:
    """End the next `fit` within a step of the optimiser."""
    original, calls = owner.step, 0

    def counted(*arguments, **options):
        nonlocal calls
        calls += 1
        if calls == step:
            monkeypatch.setattr(owner, "step", original)
            raise KilledError
        return original(*arguments, **options)

    monkeypatch.setattr(owner, "step", counted)


def stopped_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: list[int], **changes):
    """Return a run that was stopped at each of the steps, and one that was not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    config = written(tmp_path, **changes)
    train_cli(["fit", "-c", config, "--experiment", "whole"])
    arguments = ["-c", config, "--experiment", "stopped"]
    for step in steps:
        killed_at(monkeypatch, step)
        with pytest.raises(KilledError):
            train_cli(["fit", *arguments])
        arguments = ["--resume", "runs/stopped/1"]
    train_cli(["fit", *arguments])
    return Path("runs/stopped/1"), Path("runs/whole/1")


BY_STEPS = checkpoint(every_n_train_steps=2, save_top_k=-1, filename="{step}")


@pytest.mark.parametrize(
    ("steps", "changes"),
    [
        # In the first epoch, so that the run begins anew; in the second and third; right after a resume.
        ([3, 8, 1, 6], {}),
        ([8], {**QUICK, "data__init_args__num_workers": 2}),
        ([8], {**QUICK, "trainer__accumulate_grad_batches": 2, "trainer__max_epochs": 4}),
        ([8], {**QUICK, "trainer__max_epochs": -1, "trainer__max_steps": 13}),
        ([13], {**QUICK, "trainer__check_val_every_n_epoch": 2, "trainer__max_epochs": 4}),
        ([8], {**QUICK, "trainer__val_check_interval": 2}),
        ([10], {**QUICK, "trainer__callbacks": [BY_STEPS]}),
        ([3, 9], {**QUICK, "trainer__callbacks": [BY_STEPS, checkpoint(save_last=True)]}),
        ([8], {"trainer__logger": [CSV], "trainer__callbacks": [], "model__scheduler_interval": "step"}),
    ],
    ids=[
        "everything",
        "workers",
        "accumulated",
        "by steps",
        "rare validation",
        "frequent validation",
        "checkpoints within epochs",
        "both kinds of checkpoints",
        "default checkpoints",
    ],
)
def test_a_run_that_was_stopped_equals_one_that_was_not(steps, changes, tmp_path, monkeypatch):
    stopped, whole = stopped_and_whole(tmp_path, monkeypatch, steps, **changes)
    assert differences(stopped, whole) == []
    assert len(curves(whole)) >= 6


def refused(arguments: list[str], capsys) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        train_cli(arguments)
    assert ended.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished run of one epoch, in its own directory, and its configuration."""
    directory = tmp_path_factory.mktemp("finished")
    callbacks = [checkpoint(save_last=True), BY_STEPS]
    changes = {"trainer__logger": [CSV], "trainer__callbacks": callbacks, "trainer__max_epochs": 1}
    config = written(directory, **changes, data__init_args__max_train=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(directory)
        train_cli(["fit", "-c", config, "--experiment", "x"])
    return directory


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fit", "--resume", "runs/none"], "Expected the directory of a run, but got runs/none"),
        (
            ["fit", "--resume=runs/x"],
            "Expected a run that can go on, but got runs/x, which holds",
        ),
        (["validate", "-c", "tiny.yaml", "--resume", "runs/x/1"], "--resume"),
        (
            ["fit", "--resume", "runs/x/1", "--experiment", "y"],
            "no `--experiment` beside `--resume`",
        ),
        (["fit", "--resume", "runs/x/1", "--runs=z"], "no `--runs` beside `--resume`, but got z"),
        (["fit", "--resume", "runs/x/1", "--ckpt_path=a.ckpt"], "no `--ckpt_path` beside `--resume`"),
        (["fit", "-c", "tiny.yaml", "--experiment", "../y"], "Expected `experiment` as a name .* got '../y'"),
        (["fit", "-c", "tiny.yaml", "--experiment", "/y"], "Expected `experiment` as a name"),
        (["fit", "-c", "tiny.yaml", "--experiment", ".."], "Expected `experiment` as a name"),
        (["fit", "-c", "tiny.yaml", "--runs", "tiny.yaml"], "Expected a directory for runs that can be made"),
        (
            ["fit", "-c", "tiny.yaml", "--ckpt_path=runs/x/1/checkpoints/step=2.ckpt"],
            "Expected a checkpoint of an epoch's end .* of the middle of epoch 1",
        ),
        (
            ["fit", "-c", "tiny.yaml", "--ckpt_path=foreign.ckpt"],
            "Expected a checkpoint of the training",
        ),
        (
            ["fit", "-c", "tiny.yaml", "--ckpt_path=other.ckpt"],
            "Expected the weights of this network",
        ),
    ],
)
def test_what_cannot_go_on_is_one_line(arguments, words, finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    stored = torch.load("runs/x/1/checkpoints/last.ckpt", weights_only=True)
    name = next(name for name in stored["state_dict"] if name.startswith("model."))
    stored["state_dict"][name] = torch.zeros(1, 2, 3)
    torch.save(stored, "other.ckpt")
    torch.save({"state_dict": {}, "hyper_parameters": {"hidden": 3}, "loops": {}}, "foreign.ckpt")
    before = sorted(Path("runs").rglob("*.ckpt"))
    assert re.search(words, refused(arguments, capsys))
    assert sorted(Path("runs").rglob("*.ckpt")) == before


def test_a_run_that_is_written_is_refused(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    with FileLock("runs/x/1/.lock"):
        line = refused(["fit", "--resume", "runs/x/1"], capsys)
    assert "Expected a run that nobody writes, but got runs/x/1. Wait for it." in line


def test_a_finished_run_goes_on_to_more_epochs_and_other_options_are_shown(finished, monkeypatch):
    monkeypatch.chdir(finished)
    config = Path("runs/x/1/config.yaml").read_text()
    rows = curves(Path("runs/x/1"))
    more = ["--trainer.max_epochs=2", "--trainer.gradient_clip_val=0.5", "--data.init_args.batch_size=40"]
    with pytest.warns(UserWarning, match="was given") as warned:
        train_cli(["fit", "--resume", "runs/x/1", *more, "--model.noise_seed=9"])
    assert {str(warning.message) for warning in warned if "was given" in str(warning.message)} == {
        "model.noise_seed: 9 was given, but the checkpoint's 0 is used.",
        "data.init_args.batch_size: 40 was given and is used, but it was 20 before.",
        "trainer.gradient_clip_val: 0.5 was given and is used, but it was None before.",
        "trainer.max_epochs: 2 was given and is used, but it was 1 before.",
    }
    assert torch.load("runs/x/1/resume.ckpt", weights_only=True)["global_step"] == 4 + 2
    assert Path("runs/x/1/config.1.yaml").read_text() == config
    assert curves(Path("runs/x/1"))[: len(rows)] == rows
    # What was given over it is the run's own from now on.
    before = Path("runs/x/1/config.yaml").read_text()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train_cli(["fit", "--resume", "runs/x/1"])
    assert not [warning for warning in caught if "was given" in str(warning.message)]
    assert Path("runs/x/1/config.yaml").read_text() == before


def test_a_run_cannot_end_before_where_it_is(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    line = refused(["fit", "--resume", "runs/x/1", "--trainer.max_epochs=0"], capsys)
    assert "Expected `max_epochs` of at least " in line
    assert line.endswith("which the run has behind it, but got 0.")


def test_a_checkpoint_of_the_users_own_in_the_run_is_kept(finished, monkeypatch):
    monkeypatch.chdir(finished)
    stored = torch.load("runs/x/1/checkpoints/last.ckpt", weights_only=True)
    torch.save({**stored, "global_step": 99, "lit_xai_run_id": "another"}, "runs/x/1/best_of_another.ckpt")
    torch.save({**stored, "global_step": 99}, "runs/x/1/later.ckpt")
    train_cli(["fit", "--resume", "runs/x/1"])
    assert Path("runs/x/1/best_of_another.ckpt").is_file()
    assert not Path("runs/x/1/later.ckpt").exists()


def test_an_epoch_that_max_steps_cut_is_trained_again(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = written(tmp_path, **{**QUICK, "trainer__max_epochs": -1, "trainer__max_steps": 13})
    train_cli(["fit", "-c", config, "--experiment", "longer"])
    assert torch.load("runs/longer/1/resume.ckpt", weights_only=True)["global_step"] == 10
    with pytest.warns(UserWarning, match="max_steps: 17 was given and is used, but it was 13 before"):
        train_cli(["fit", "--resume", "runs/longer/1", "--trainer.max_steps=17"])
    train_cli(["fit", "-c", config, "--experiment", "whole", "--trainer.max_steps=17"])
    longer, whole = (
        torch.load(f"runs/{name}/1/checkpoints/last.ckpt", weights_only=True)["state_dict"]
        for name in ("longer", "whole")
    )
    assert all(torch.equal(value, whole[key]) for key, value in longer.items())
    assert curves(Path("runs/longer/1")) == curves(Path("runs/whole/1"))


def test_a_run_that_was_told_to_stop_goes_on_with_other_options(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    stop = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/accuracy", "mode": "max", "stopping_threshold": 0.0},
    }
    config = written(tmp_path, trainer__logger=[CSV], trainer__callbacks=[checkpoint(save_last=True), stop])
    train_cli(["fit", "-c", config, "--experiment", "x"])
    train_cli(["fit", "--resume", "runs/x/1"])
    assert "This run was told to stop after 5 steps: nothing is left to do." in capsys.readouterr().out
    with pytest.warns(UserWarning, match="gradient_clip_val: 5 was given and is used"):
        train_cli(["fit", "--resume", "runs/x/1", "--trainer.gradient_clip_val=5"])
    # Until it is told to stop again.
    assert torch.load("runs/x/1/resume.ckpt", weights_only=True)["global_step"] == 10


@pytest.mark.parametrize("keyword", ["best", "last", "hpc"])
def test_a_keyword_names_no_checkpoint_of_a_new_run(keyword, finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    line = refused(["validate", "-c", "tiny.yaml", f"--ckpt_path={keyword}"], capsys)
    assert f"Expected the file of a checkpoint for `ckpt_path`, but got {keyword}." in line


def test_a_run_to_go_on_with_is_not_named_in_a_file(finished, monkeypatch, capsys):
    monkeypatch.chdir(finished)
    Path("resume.yaml").write_text("resume: runs/x/1\n")
    line = refused(["fit", "-c", "tiny.yaml", "-c", "resume.yaml"], capsys)
    assert "Expected `--resume` on the command line, but got it in a file." in line


def test_training_that_was_told_to_stop_stays_stopped(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gate = {"class_path": "lit_xai.callbacks.accuracy_gate.AccuracyGate", "init_args": {"max_drop": 0.0001}}
    stop = {
        "class_path": "lightning.pytorch.callbacks.EarlyStopping",
        "init_args": {"monitor": "val/accuracy", "patience": 1, "mode": "min", "stopping_threshold": 1.0},
    }
    config = written(
        tmp_path, trainer__logger=[CSV], trainer__callbacks=[checkpoint(save_last=True), gate, stop]
    )
    train_cli(["fit", "-c", config, "--experiment", "x"])
    run = Path("runs/x/1")
    before, rows = (run / "resume.ckpt").read_bytes(), curves(run)
    stopped_after = torch.load(run / "resume.ckpt", weights_only=True)["global_step"]
    assert stopped_after in (5, 10)
    train_cli(["fit", "--resume", "runs/x/1"])
    assert ((run / "resume.ckpt").read_bytes(), curves(run)) == (before, rows)
    assert torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == stopped_after


def test_a_failed_run_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = written(tmp_path, **QUICK)
    killed_at(monkeypatch, 7)
    with pytest.raises(KilledError):
        train_cli(["fit", "-c", config, "--experiment", "x"])
    assert f"Go on with it: {program('lit-xai-train')} fit --resume runs/x/1\n" in capsys.readouterr().out


@pytest.mark.parametrize("own", [False, True])
def test_checkpoints_are_written_whole_unless_the_user_has_a_writer(own, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    writer = {"class_path": "lightning.fabric.plugins.io.torch_io.TorchCheckpointIO"}
    names = []

    def noted(path: Path, content: memoryview) -> None:
        names.append(path.name)
        path.write_bytes(content)

    monkeypatch.setattr("lit_xai.training.checkpoint_io.write_whole", noted)
    changes = {**QUICK, "trainer__max_epochs": 1, "trainer__plugins": [writer] if own else None}
    train_cli(["fit", "-c", written(tmp_path, **changes), "--experiment", "x"])
    assert names == ([] if own else ["epoch=0-step=5.ckpt", "last.ckpt", "resume.ckpt"])
    assert Path("runs/x/1/resume.ckpt").is_file()


def test_a_full_disk_is_one_line_and_the_run_goes_on_later(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config, calls = written(tmp_path, **QUICK), 0

    def full(path: Path, content: memoryview) -> None:
        nonlocal calls
        calls += 1
        if calls == 5:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_whole(path, content)

    with monkeypatch.context() as patch:
        patch.setattr("lit_xai.training.checkpoint_io.write_whole", full)
        line = refused(["fit", "-c", config, "--experiment", "x"], capsys)
    assert re.search(
        r"Expected room for 0\.\d MB of checkpoint .*last.ckpt, but got: No space left on device\.", line
    )
    assert torch.load("runs/x/1/resume.ckpt", weights_only=True)["global_step"] == 5
    train_cli(["fit", "--resume", "runs/x/1"])
    train_cli(["fit", "-c", config, "--experiment", "whole"])
    assert differences(Path("runs/x/1"), Path("runs/whole/1")) == []


@pytest.mark.slow
@pytest.mark.ddp
def test_a_run_of_two_processes_goes_on_with_two(tmp_path):
    config = written(tmp_path, trainer__logger=[CSV], trainer__devices=2, trainer__strategy="ddp")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def train(*arguments: str) -> None:
        command = [sys.executable, str(ROOT / "train.py"), "fit", *arguments]
        ended = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert ended.returncode == 0, ended.stderr[-2000:]

    train("-c", config, "--experiment", "whole")
    train("-c", config, "--experiment", "longer", "--trainer.max_epochs=2")
    train("--resume", "runs/longer/1", "--trainer.max_epochs=3")
    longer, whole = (tmp_path / "runs" / name / "1" for name in ("longer", "whole"))
    assert curves(longer) == curves(whole)
    one, other = (
        torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for run in (longer, whole)
    )
    assert all(torch.equal(value, other[key]) for key, value in one.items())
    assert not list(longer.rglob("last-v1.ckpt"))
