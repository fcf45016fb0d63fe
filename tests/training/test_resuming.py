from pathlib import Path

import pytest
import torch

from lit_xai.runs import record
from lit_xai.training.resuming import check_epoch_is_whole, clear_interrupted, say_other_data


def stored(path: Path, steps: int, owner: str = "ab12", **more) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {}, "global_step": steps, "lit_xai_run_id": owner, **more}, path)


def test_what_an_interrupted_epoch_left_is_removed(tmp_path):
    record(tmp_path, [], "ab12")
    for steps in (5, 10):
        stored(tmp_path / "checkpoints" / f"step={steps}.ckpt", steps)
    stored(tmp_path / "checkpoints" / "another.ckpt", 10, owner="cd34")
    stored(tmp_path / "checkpoints" / "same.ckpt", 5)
    torch.save([1], tmp_path / "notes.ckpt")
    (tmp_path / "checkpoints" / ".last.ckpt.17.part").touch()
    known = {"stopped": False, "checkpoints": ["checkpoints/step=5.ckpt"]}
    stored(tmp_path / "resume.ckpt", 5, lit_xai_run=known)
    assert clear_interrupted(tmp_path) == 5
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    # What is no later checkpoint of this run is nobody's to remove.
    kept = {"checkpoints/step=5.ckpt", "checkpoints/same.ckpt", "checkpoints/another.ckpt", "notes.ckpt"}
    assert left == {"resume.ckpt", "run.json", *kept}


def test_without_a_finished_epoch_a_run_begins_anew(tmp_path):
    record(tmp_path, [], "ab12")
    stored(tmp_path / "checkpoints" / "step=2.ckpt", 2)
    assert clear_interrupted(tmp_path) == 0
    assert not list(tmp_path.rglob("*.ckpt"))


def loops(started: int, processed: int, *, last: bool) -> dict:
    current = {"started": started, "processed": processed}
    batches = {"is_last_batch": last}
    return {
        "loops": {"fit_loop": {"epoch_progress": {"current": current}, "epoch_loop.batch_progress": batches}}
    }


def test_only_the_middle_of_an_epoch_is_refused():
    for content in (loops(2, 2, last=True), loops(2, 1, last=True), loops(0, 0, last=False), {}):
        check_epoch_is_whole(Path("a.ckpt"), content)
    # Lightning takes an epoch that was cut for processed.
    for processed in (1, 2):
        with pytest.raises(
            ValueError, match=r"but got a\.ckpt, of the middle of epoch 2\. .* `--model\.warm_start a"
        ):
            check_epoch_is_whole(Path("a.ckpt"), loops(2, processed, last=False))


def test_other_data_are_shown():
    content = {
        "datamodule_hyper_parameters": {"_class_path": "A", "_instantiator": "x", "size": 1, "seed": 0}
    }
    data = {"class_path": "B", "init_args": {"size": 2, "seed": 0, "new": 3}}
    with pytest.warns(UserWarning, match="was given and is used") as warned:
        say_other_data(content, data)
    assert [str(warning.message) for warning in warned] == [
        "data.class_path: B was given and is used, but the checkpoint has A.",
        "data.size: 2 was given and is used, but the checkpoint has 1.",
    ]
