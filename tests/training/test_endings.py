import os

from lit_xai.programs import program
from lit_xai.runs import hold
from lit_xai.training.endings import Started, closing_words


def test_only_a_run_of_fit_that_was_configured_goes_on(tmp_path):
    again = "Nothing is lost: begin again."
    assert Started().how_to_go_on() == again
    assert Started(tmp_path, fitting=True).how_to_go_on() == again
    (tmp_path / "config.yaml").touch()
    assert Started(tmp_path, fitting=False).how_to_go_on() == again
    words = f"Go on with it: {program('lit-xai-train')} fit --resume {tmp_path}"
    assert Started(tmp_path, fitting=True).how_to_go_on() == words
    assert Started(tmp_path, fitting=True).remark() == ""
    (tmp_path / "resume.ckpt").touch()
    assert Started(tmp_path, fitting=True).remark() == f"{words}\n"
    assert Started(tmp_path, fitting=False).remark() == ""


def test_the_environment_is_restored_and_the_run_released(tmp_path, monkeypatch):
    (tmp_path / "config.yaml").touch()
    for before in ("mine", None):
        monkeypatch.setenv("WANDB_RUN_ID", "mine")
        if before is None:
            monkeypatch.delenv("WANDB_RUN_ID")
        started = Started(tmp_path, hold(tmp_path))
        os.environ["WANDB_RUN_ID"] = "other"
        started.end()
        assert os.environ.get("WANDB_RUN_ID") == before
        assert not started.lock.is_locked


def test_all_parts_of_a_run_are_sent_at_once(tmp_path):
    for time in ("02", "01"):
        (tmp_path / "wandb" / f"offline-run-{time}-abc").mkdir(parents=True)
    parts = [f"{tmp_path}/wandb/offline-run-{time}-abc" for time in ("01", "02")]
    words = closing_words(tmp_path, None)
    assert f"wandb sync {parts[0]} {parts[1]}\n" in words
    assert words.count("wandb leet run ") == 2
    assert closing_words(tmp_path, "https://x").count("https://x") == 1


def test_the_last_words_name_what_to_evaluate_and_how(tmp_path):
    def named(**options):
        (line,) = [
            line for line in closing_words(tmp_path, None, **options).splitlines() if "Evaluate" in line
        ]
        command = f"Evaluate it:   {program('lit-xai-evaluate')} -c configs/evaluate/"
        return line.removeprefix(command).split(" --checkpoints ")

    assert named(checkpoint="measured.ckpt") == ["quick.yaml", "measured.ckpt"]
    (tmp_path / "own").mkdir()
    for age, name in enumerate(("resume", "second", "first")):
        path = tmp_path / "own" / f"{name}.ckpt"
        path.touch()
        os.utime(path, (100 - age, 100 - age))
    assert named(checkpoint="measured.ckpt") == ["quick.yaml", f"{tmp_path}/own/second.ckpt"]
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "last.ckpt").touch()
    assert named(color=True) == ["color.yaml", f"{tmp_path}/checkpoints/last.ckpt"]


def test_programs_that_the_shell_does_not_find_have_their_path(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    for name in ("python", "lit-xai-train", "lit-xai-evaluate", "wandb"):
        (tmp_path / "bin" / name).touch(0o755)
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    monkeypatch.setenv("PATH", "")
    (tmp_path / "config.yaml").touch()
    (tmp_path / "wandb" / "offline-run-1-a").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    words = closing_words(tmp_path, None, tmp_path / "a.ckpt")
    assert "Evaluate it:   bin/lit-xai-evaluate -c configs/evaluate/quick.yaml --checkpoints " in words
    assert "Look at it:    bin/wandb leet run " in words
    assert "Sync it:       bin/wandb sync " in words
    assert Started(tmp_path, fitting=True).how_to_go_on().startswith("Go on with it: bin/lit-xai-train fit ")
