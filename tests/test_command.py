import pytest

from lit_xai.command import Parser
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
