import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lit_xai.reporting.leaderboard import leaderboard_cli, write_leaderboard
from tests.reporting.written_boards import Page, records, write_several


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return write_several(tmp_path_factory.mktemp("boards") / "runs")


@pytest.fixture
def several(template, tmp_path):
    return Path(shutil.copytree(template, tmp_path / "runs"))


def test_links_start_where_the_page_lies(several, tmp_path):
    page = Page(write_leaderboard(several, tmp_path / "elsewhere" / "page.html"))
    assert "../runs/b/report.html" in page.links
    assert (tmp_path / "elsewhere" / "leaderboard.csv").is_file()
    assert not (several / "leaderboard.csv").exists()


def test_equal_cards_give_equal_bytes(several, tmp_path, monkeypatch):
    page = write_leaderboard(several)
    first = page.read_bytes(), (several / "leaderboard.csv").read_bytes()
    copy = tmp_path / "another place" / "runs"
    shutil.copytree(several, copy)
    (copy / "leaderboard.html").unlink()
    unordered = Path.glob
    monkeypatch.setattr(Path, "glob", lambda path, pattern: reversed(list(unordered(path, pattern))))
    again = write_leaderboard(copy)
    assert (again.read_bytes(), (copy / "leaderboard.csv").read_bytes()) == first


def test_damaged_cards_are_named_at_the_end(several):
    for name, content in (("bad", "{no"), ("old", '{"created": "2025"}')):
        (several / name).mkdir()
        (several / name / "card.json").write_text(content)
    page = Page(write_leaderboard(several))
    text = " ".join("".join(page.words).split())
    end = text[text.index("Cards left out", text.index("How to read a board", 2000)) :]
    assert "bad/card.json" in end
    assert "Expected a card in JSON, but got" in end
    assert "old/card.json" in end
    assert "Expected a card of format 1, but got 'none'." in end
    assert len(records(several)) == 6


def test_only_damaged_cards_still_make_a_page(tmp_path):
    (tmp_path / "card.json").write_text("{no")
    page = Page(write_leaderboard(tmp_path))
    assert "0 checkpoints from 0 evaluations" in " ".join("".join(page.words).split())
    assert "Expected a card in JSON" in page.text
    assert (tmp_path / "leaderboard.csv").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing"], "error: Expected a directory with evaluations, but got 'missing'.\n"),
        (["."], "error: Expected a card.json below '.', but got none. `lit-xai-evaluate` writes them.\n"),
        (
            [".", "--output", "card.json"],
            "error: Expected an `output` that ends in .html, but got 'card.json'.\n",
        ),
        ([], "error: the following arguments are required: DIR\n"),
    ],
)
def test_refusals_are_one_line(tmp_path, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ending:
        leaderboard_cli(arguments)
    assert ending.value.code == 2
    assert capsys.readouterr() == ("", message)


def test_an_output_that_cannot_be_written_is_refused(several, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(
        ValueError, match=r"Expected a file for `output`, but got .*: (Not a directory|File exists)\."
    ):
        write_leaderboard(several, tmp_path / "file" / "page.html")


def test_the_command_says_where_the_page_is(several, capsys):
    leaderboard_cli([str(several)])
    assert capsys.readouterr().out == f"Leaderboard: {several / 'leaderboard.html'}\n"


def test_help_needs_no_tables():
    code = (
        "import sys\nfrom lit_xai.reporting.leaderboard import leaderboard_cli\n"
        "try:\n    leaderboard_cli(['--help'])\nexcept SystemExit as ending:\n    assert ending.code == 0\n"
        "assert not {'pandas', 'numpy', 'jinja2', 'scipy', 'torch', 'matplotlib'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "lit-xai-leaderboard" in done.stdout


def test_a_page_needs_no_torch(several):
    code = (
        "import sys\nsys.modules['torch'] = sys.modules['lightning'] = None\n"
        "from lit_xai.reporting.leaderboard import leaderboard_cli\nleaderboard_cli(sys.argv[1:])\n"
        "assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(several)], capture_output=True, check=True)
    assert (several / "leaderboard.html").is_file()
