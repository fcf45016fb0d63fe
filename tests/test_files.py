import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lit_xai.files import remove_parts, write_whole

ROOT = Path(__file__).parents[1]


def test_text_is_written_in_utf_8(tmp_path):
    write_whole(tmp_path / "a.txt", "模型\n")
    assert (tmp_path / "a.txt").read_bytes() == "模型\n".encode()


def test_bytes_replace_what_was_there(tmp_path):
    (tmp_path / "a").write_bytes(b"a longer old content")
    write_whole(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_attempt_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(TypeError):
        write_whole(tmp_path / "a", 3)
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_process_killed_while_writing_leaves_a_whole_file(tmp_path):
    path = tmp_path / "a"
    write_whole(path, b"0" * 100)
    program = (
        "import sys; from pathlib import Path; from lit_xai.files import remove_parts, write_whole\n"
        "for turn in range(10**6):\n    write_whole(Path(sys.argv[1]), str(turn % 10) * 5_000_000)"
    )
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(path)], env={**os.environ, "PYTHONPATH": str(ROOT)}
        )
        first = path.stat().st_mtime_ns
        while path.stat().st_mtime_ns == first:
            time.sleep(0.01)
        process.kill()
        process.wait()
        content = path.read_bytes()
        assert content == content[:1] * 5_000_000


def test_what_a_killed_process_left_is_removed(tmp_path):
    (tmp_path / "cells").mkdir()
    for name in (".a.csv.17.part", "cells/.b.parquet.3.part", "kept.part", "cells/b.parquet"):
        (tmp_path / name).touch()
    remove_parts(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["b.parquet", "kept.part"]
