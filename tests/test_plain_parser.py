import pytest

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
