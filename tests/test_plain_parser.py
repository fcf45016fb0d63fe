import pytest

from lit_xai.manual import versions
from lit_xai.plain_parser import PlainParser


def parser() -> PlainParser:
    parser = PlainParser("lit-xai-x", "Does x.", ["lit-xai-x a"])
    parser.add_argument("--output")
    return parser


def test_help_has_examples_and_exit_statuses(capsys):
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--help"])
    found = capsys.readouterr().out
    assert "examples:\n  lit-xai-x a\n" in found
    assert "130 after Ctrl-C" in found


def test_completion_names_the_options(capsys):
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--print_completion", "bash"])
    assert "--output" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--outp=x"], ["--output"], ["--print_completion", "fish"]])
def test_what_is_wrong_is_refused_in_one_line(arguments, capsys):
    with pytest.raises(SystemExit, match="2"):
        parser().parse_args(arguments)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert arguments[0].partition("=")[0] in line


def test_versions_are_those_of_every_command(capsys):
    with pytest.raises(SystemExit, match="0"):
        parser().parse_args(["--version"])
    assert " ".join(capsys.readouterr().out.split()) == versions()
