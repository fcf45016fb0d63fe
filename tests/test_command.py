import sys

import pytest

from lit_xai.command import Parser, modules_beside
from lit_xai.shipped import CONFIGS
from tests.test_refusal import ending


def parser() -> Parser:
    parser = Parser()
    parser.add_argument("--max_epochs", type=int, default=1)
    return parser


def test_an_option_is_read():
    assert parser().parse_args(["--max_epochs", "7"]).max_epochs == 7


@pytest.mark.parametrize("option", ["--max_epoch", "--max", "--max_epochss"])
def test_an_option_has_no_other_spelling(option, capsys):
    found = ending(lambda: parser().parse_args([option, "7"]), capsys)
    assert found.startswith("error: ")
    assert option in found
    assert "usage" not in found.lower()
    assert len(found.splitlines()) <= 3


def test_a_value_of_the_wrong_type_is_refused_by_name(capsys):
    found = ending(lambda: parser().parse_args(["--max_epochs", "many"]), capsys)
    assert found.startswith("error: ")
    assert "max_epochs" in found
    assert len(found.splitlines()) <= 3


def test_a_refusal_names_what_is_like_the_option(capsys):
    found = ending(lambda: parser().parse_args(["--max_epoch", "7"]), capsys)
    assert found == "error: Expected an option, but got --max_epoch. Did you mean --max_epochs?\n"
    found = ending(lambda: parser().error("the sky\nis falling"), capsys)
    assert found == "error: the sky\nis falling\n"


def test_a_refusal_knows_the_options_of_subcommands(capsys):
    whole = Parser()
    whole.add_subcommands().add_subcommand("fit", parser())
    found = ending(lambda: whole.parse_args(["fit", "--max_epoch", "7"]), capsys)
    assert "Did you mean --max_epochs?" in found
    found = ending(lambda: whole.parse_args([]), capsys)
    assert found.startswith("error: Expected one of fit, but got none. `")


def test_a_file_of_the_package_is_read_wherever_the_command_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    own = Parser()
    own.add_argument("--file")
    assert own.parse_args(["--file", "configs/loggers/csv.yaml"]).file == f"{CONFIGS}/loggers/csv.yaml"


def test_modules_beside_are_found_last_and_for_as_long_as_asked(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with modules_beside():
        assert sys.path == [*before, str(tmp_path)]
    assert sys.path == before
    with pytest.raises(ValueError, match="mine"), modules_beside():
        raise ValueError("mine")
    assert sys.path == before


@pytest.mark.parametrize("place", ["", "here"])
def test_modules_beside_that_are_found_already_stay_so(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path) if place else "", *sys.path])
    before = list(sys.path)
    with modules_beside():
        assert sys.path == before
    assert sys.path == before


def test_a_safe_path_has_no_modules_beside(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("lit_xai.command.sys.flags", type("Flags", (), {"safe_path": True}))
    with modules_beside():
        assert str(tmp_path) not in sys.path
