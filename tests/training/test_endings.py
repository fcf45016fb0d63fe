import os

from lit_xai.runs import hold
from lit_xai.training.endings import Started, closing_words


def test_only_a_run_of_fit_that_was_configured_goes_on(tmp_path):
    again = "Nothing is lost: begin again."
    assert Started().how_to_go_on() == again
    assert Started(tmp_path, fitting=True).how_to_go_on() == again
    (tmp_path / "config.yaml").touch()
    assert Started(tmp_path, fitting=False).how_to_go_on() == again
    words = f"Go on with it: lit-xai-train fit --resume {tmp_path}"
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
