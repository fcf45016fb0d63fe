import os
import resource
import signal

import pytest
import torch

from lit_xai.training.checkpoint_io import WholeFiles


class Runs:
    def __reduce__(self):
        return (os.mkdir, ("executed",))


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "a" / "b.ckpt"
    WholeFiles().save_checkpoint({"weight": torch.arange(3.0), "step": 7}, path)
    content = WholeFiles().load_checkpoint(path)
    assert torch.equal(content["weight"], torch.tensor([0.0, 1.0, 2.0]))
    assert content["step"] == 7
    assert [path.name for path in path.parent.iterdir()] == ["b.ckpt"]
    WholeFiles().remove_checkpoint(path)
    WholeFiles().remove_checkpoint(path)
    assert not path.exists()


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path):
    path = tmp_path / "a.ckpt"
    WholeFiles().save_checkpoint({"step": 1}, path)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))
    try:
        with pytest.raises(
            OSError, match=r"Expected room for 0\.4 MB of checkpoint .*, but got: File too large\."
        ):
            WholeFiles().save_checkpoint({"weight": torch.zeros(100_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a.ckpt"]


@pytest.mark.parametrize("weights_only", [None, False])
def test_a_checkpoint_that_would_run_code_is_refused(weights_only, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Runs()}, "a.ckpt")
    with pytest.raises(ValueError, match=r"Expected a checkpoint of plain tensors, but got a\.ckpt"):
        WholeFiles().load_checkpoint("a.ckpt", weights_only=weights_only)
    assert not (tmp_path / "executed").exists()


def test_something_else_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="which does not exist"):
        WholeFiles().load_checkpoint(tmp_path / "none.ckpt")
    torch.save([1], tmp_path / "list.ckpt")
    with pytest.raises(ValueError, match=r"Expected a checkpoint, but got .*list\.ckpt"):
        WholeFiles().load_checkpoint(tmp_path / "list.ckpt")
    with pytest.raises(TypeError, match="Expected no `storage_options`"):
        WholeFiles().save_checkpoint({}, tmp_path / "a.ckpt", storage_options={})
