import sys
from pathlib import Path

import pytest

from lit_xai.programs import program


@pytest.fixture
def own(tmp_path, monkeypatch) -> Path:
    """A Python with a program beside it, neither on the path."""
    folder = tmp_path / "my venv" / "bin"
    folder.mkdir(parents=True)
    for name in ("python", "wandb"):
        (folder / name).touch(0o755)
    monkeypatch.setattr(sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.chdir(tmp_path / "my venv" / "bin")
    return folder / "wandb"


def test_a_program_that_the_shell_finds_is_named(own, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(own.parent))
    assert program("wandb") == "wandb"
    # As installers of commands link them.
    (tmp_path / "wandb").symlink_to(own)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program("wandb") == "wandb"


def test_another_program_has_its_path(own, tmp_path, monkeypatch):
    # Of the directory itself the name alone would not be called.
    assert program("wandb") == f"'{own}'"
    monkeypatch.chdir(tmp_path)
    assert program("wandb") == "'my venv/bin/wandb'"
    (tmp_path / "wandb").touch(0o755)
    assert program("wandb") == "'my venv/bin/wandb'"


def test_what_is_nowhere_keeps_its_name(own):
    assert program("lit-xai-train") == "lit-xai-train"
