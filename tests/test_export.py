import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lit_xai.export import closing_words, export_cli
from lit_xai.exporting import export
from lit_xai.models.small import SmallCNN
from lit_xai.models.zoo import TimmClassifier
from lit_xai.portable import Portable, portable
from lit_xai.programs import program


def test_the_help_comes_before_anything_heavy():
    code = (
        "import sys\nfrom lit_xai.export import export_cli\n"
        "try:\n    export_cli(['--help'])\nexcept SystemExit:\n"
        "    assert not {'torch', 'lightning', 'timm', 'numpy'} & set(sys.modules)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "examples:\n  lit-xai-export runs/" in said
    assert "Exit status: 0 done, 2 refused" in said
    assert "--print_completion {bash,zsh,tcsh}" in said
    assert "class" not in said


@pytest.mark.parametrize(("channels", "file"), [(1, "quick"), (3, "color")])
def test_the_last_words_are_for_images_of_this_kind(channels, file):
    for network in (
        TimmClassifier("test_resnet", num_classes=4, channels=channels),
        SmallCNN(num_classes=4, channels=channels, size=8, width=2),
    ):
        said = closing_words(portable(network, {}, None), Path("robust"))
        command = f"{program('lit-xai-evaluate')} -c configs/evaluate/{file}.yaml"
        assert f"Evaluate it: {command} --models exported=robust/network.yaml --data FILE\n" in said


def test_the_last_words_show_the_use_from_the_folder():
    written = Portable("timm", {}, {}, {}, {}, 'first("{folder}")\nsecond', None)
    said = closing_words(written, Path("new/robust"))
    assert said.startswith("Network: new/robust (timm's own names, new/robust/model.safetensors)\n")
    assert 'Use it:\n    first("new/robust")\n    second\nEvaluate it: ' in said
    assert "configs/evaluate/quick.yaml" in said


def test_the_command_writes_what_it_is_told(tmp_path, monkeypatch, capsys):
    asked = []

    def written(checkpoint, output):
        # The user's own network may lie in the current directory.
        assert importlib.import_module("own_network_of_an_export").VALUE == 7
        asked.append((checkpoint, output))
        return Portable("timm", {}, {}, {}, {}, "", 1)

    (tmp_path / "own_network_of_an_export.py").write_text("VALUE = 7\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lit_xai.exporting.export", written)
    export_cli(["a.ckpt", "-o", str(tmp_path)])
    assert asked == [(Path("a.ckpt"), tmp_path)]
    assert capsys.readouterr().out.startswith(f"Network: {tmp_path} ")


def test_what_cannot_be_exported_is_refused_in_one_line(tmp_path, capsys):
    torch.save({"weight": torch.ones(2)}, tmp_path / "plain.pt")
    (tmp_path / "mine.txt").touch()
    for arguments, words in (
        (["gone.ckpt", "-o", "x"], "gone.ckpt, which does not exist"),
        ([f"{tmp_path}/plain.pt", f"--output={tmp_path}/x"], "of the training command, but got"),
        (["gone.ckpt", f"--output={tmp_path}"], f"`--output`, but got {tmp_path}, which exists."),
        (["gone.ckpt"], "required: -o/--output"),
        (["gone.ckpt", "--out=x"], "required: -o/--output"),
    ):
        with pytest.raises(SystemExit, match="2"):
            export_cli(arguments)
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("error: ")
        assert words in line
    with pytest.raises(FileExistsError):
        export(tmp_path / "plain.pt", tmp_path)
