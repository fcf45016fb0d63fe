"""The command that makes reports again."""

import os
import subprocess
import sys

import pytest

from lit_xai.reporting import sections
from lit_xai.reporting.cli import report_cli
from tests.reporting.made_up import write_results

WITHOUT_TORCH = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "lightning", "torchmetrics", "captum", "timm"):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
from lit_xai.reporting.cli import report_cli
report_cli(sys.argv[1:])
"""
HELP = """
import sys
from lit_xai.reporting.cli import report_cli
try:
    report_cli(["--help"])
except SystemExit as error:
    heavy = sorted({"numpy", "pandas", "matplotlib", "scipy", "jinja2", "torch"} & set(sys.modules))
    sys.stdout.write(f"{error.code} {heavy}")
"""


def python(code, *args):
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, args)],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_the_page_is_made_where_torch_cannot_be_imported(tmp_path):
    directory = write_results(tmp_path / "ones", samples=8)
    found = python(WITHOUT_TORCH, directory)
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{directory / 'report.html'}\n", "")
    assert (directory / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_the_help_loads_nothing_heavy():
    found = python(HELP)
    assert found.stdout.startswith("usage: lit-xai-report [-h] ")
    assert found.stdout.endswith("0 []")


def test_every_directory_gets_its_page(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sections, "gallery", lambda results: {})
    directories = [write_results(tmp_path / name, samples=8) for name in ("one", "two")]
    report_cli([str(directory) for directory in directories])
    assert capsys.readouterr().out.splitlines() == [
        str(directory / "report.html") for directory in directories
    ]


@pytest.mark.parametrize("args", [[], ["--unknown", "x"], ["--he", "x"]])
def test_a_wrong_call_is_refused_in_one_line(args, capsys):
    with pytest.raises(SystemExit, match="2"):
        report_cli(args)
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_missing_directory_is_refused_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        report_cli([str(tmp_path / "nothing")])
    found = capsys.readouterr()
    assert found.out == ""
    assert len(found.err.splitlines()) == 1
    assert found.err.startswith("error: Expected a directory of results, but got ")


def test_a_damaged_file_is_refused_in_one_line(tmp_path, capsys):
    write_results(tmp_path, samples=8)
    (tmp_path / "samples.parquet").write_bytes(b"PAR1")
    with pytest.raises(SystemExit, match="2"):
        report_cli([str(tmp_path)])
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "report.html").exists()
