import subprocess
import sys
from pathlib import Path

import pytest

from lit_xai.evaluation.output import claimed

ROOT = Path(__file__).parents[2]


def stop(output, runs) -> Path:
    """Begin an evaluation that is stopped after its card was written."""
    evaluation = claimed(output, runs, "a")
    found = evaluation.__enter__()
    (found / "card.json").write_text("{}")
    (found / "cells").mkdir(exist_ok=True)
    (found / "cells" / ".a.scores.parquet.17.part").touch()
    assert not evaluation.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
    return found


def test_a_new_directory_is_made_in_the_runs(tmp_path):
    with claimed(None, tmp_path, "a") as first:
        pass
    with claimed(None, tmp_path, "a") as second:
        pass
    assert [first, second] == [tmp_path / "evaluate" / "1", tmp_path / "evaluate" / "2"]


def test_what_was_stopped_is_continued_by_the_same_settings_only(tmp_path, capsys):
    stopped = stop(None, tmp_path)
    with claimed(None, tmp_path, "b") as other:
        pass
    assert other == tmp_path / "evaluate" / "2"
    assert capsys.readouterr().out == ""
    with claimed(None, tmp_path, "a") as again:
        pass
    assert again == stopped
    assert not list(again.rglob("*.part"))
    assert capsys.readouterr().out == f"Continuing the evaluation in {stopped}.\n"


def test_a_given_directory_is_made_and_continued(tmp_path):
    for _ in range(2):
        with claimed(tmp_path / "deep" / "out", tmp_path, "a") as output:
            assert output == tmp_path / "deep" / "out"
            assert output.is_dir()
    with claimed(output, tmp_path, "b") as again:
        assert again == output


@pytest.mark.parametrize("file", ["card.json", "results.csv"])
def test_results_of_other_settings_are_never_overwritten(tmp_path, file):
    output = tmp_path / "out"
    with claimed(output, tmp_path, "a"):
        (output / file).write_text("precious")
    with claimed(output, tmp_path, "a"):
        pass
    message = f"Expected a new `output` directory, but got {output}, which holds results of other settings"
    with pytest.raises(ValueError, match=message), claimed(output, tmp_path, "b"):
        raise AssertionError
    assert (output / file).read_text() == "precious"


def test_a_directory_without_a_name_of_its_settings_is_somebody_elses(tmp_path):
    (tmp_path / "results.csv").write_text("precious")
    for content in (None, "damaged", "[]", '{"settings": 3}'):
        if content is not None:
            (tmp_path / "evaluation.json").write_text(content)
        with pytest.raises(ValueError, match="Expected a new `output`"), claimed(tmp_path, tmp_path, "a"):
            raise AssertionError


def test_a_file_is_no_directory(tmp_path):
    (tmp_path / "file").touch()
    for output in (tmp_path / "file", tmp_path / "file" / "out"):
        with (
            pytest.raises(ValueError, match="Expected a directory for `output` to write to, but got"),
            claimed(output, tmp_path, "a"),
        ):
            raise AssertionError


def test_a_directory_that_cannot_be_made_or_written_to_is_refused():
    for output in (None, Path("/proc/self")):
        message = "Expected a directory for `output` to write to, but got /proc"
        with pytest.raises(ValueError, match=message), claimed(output, Path("/proc"), "a"):
            raise AssertionError


HOLD = """
import sys
from pathlib import Path
from lit_xai.evaluation.output import claimed
with claimed(None, Path(sys.argv[1]), "a") as output:
    print(output, flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path):
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    held = Path(holder.stdout.readline().strip())
    message = f"Expected a directory that no evaluation is writing to, but got {held}"
    with pytest.raises(ValueError, match=message), claimed(held, tmp_path, "a"):
        raise AssertionError
    with claimed(None, tmp_path, "a") as other:
        assert other != held
    assert other.parent == held.parent
    holder.kill()
    holder.wait()
    # A killed process holds nothing.
    with claimed(held, tmp_path, "a") as free:
        assert free == held
