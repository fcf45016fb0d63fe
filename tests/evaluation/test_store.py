import errno
import os
import re

import pandas as pd
import pytest

from lit_xai.evaluation.store import Store, identity, to_parquet

SCORES = pd.DataFrame({"metric": ["top_k", "ssim"], "sample_id": [3, 4], "value": [0.1, float("nan")]})


def test_an_identity_depends_on_every_value_and_on_no_order_of_names():
    options = {"eps": 0.1, "steps": 20, "criterion": {"k": 100}}
    assert identity(options, "cell") == identity(dict(reversed(options.items())), "cell")
    others = [
        identity({**options, "eps": 0.10000000000000002}, "cell"),
        identity({**options, "steps": 20.5}, "cell"),
        identity({**options, "criterion": {"k": 101}}, "cell"),
        identity(options, "agreement"),
        identity([options, "cell"]),
    ]
    assert len({identity(options, "cell"), *others}) == 6
    assert len(others[0]) == 32


def test_a_piece_is_found_as_it_was_written(tmp_path):
    store = Store(tmp_path / "cells")
    assert "a" not in store
    assert not (tmp_path / "cells").exists()
    store.write("a", SCORES, {"examples": SCORES[:1]})
    again = Store(tmp_path / "cells")
    assert "a" in again
    pd.testing.assert_frame_equal(again.scores("a"), SCORES)
    pd.testing.assert_frame_equal(again.beside("a", "examples"), SCORES[:1])
    assert again.beside("a", "maps") is None
    assert "b" not in again
    with pytest.raises(KeyError):
        again.scores("b")


def test_a_piece_that_lost_what_stood_beside_is_missing(tmp_path):
    store = Store(tmp_path)
    store.write("a", SCORES, {"examples": SCORES}, seconds=1.5)
    assert store.seconds("a") == 1.5
    assert store.scores("a").attrs == {}
    (tmp_path / "a.examples.parquet").unlink()
    assert "a" not in store


def test_the_scores_are_written_last(tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr("lit_xai.evaluation.store.write_whole", lambda path, _: written.append(path.name))
    Store(tmp_path).write("a", SCORES, {"examples": SCORES})
    assert written == ["a.examples.parquet", "a.scores.parquet"]


@pytest.mark.parametrize("damage", [b"", b"PAR1 and nothing more", None])
def test_a_damaged_piece_is_missing(tmp_path, damage):
    store = Store(tmp_path)
    store.write("a", SCORES, {})
    path = tmp_path / "a.scores.parquet"
    path.write_bytes(path.read_bytes()[:-7] if damage is None else damage)
    assert "a" not in store


def test_equal_tables_have_equal_bytes():
    assert to_parquet(SCORES) == to_parquet(SCORES.copy())
    assert to_parquet(SCORES) != to_parquet(SCORES.assign(value=0.0))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_what_cannot_be_written_says_where_and_why(tmp_path, monkeypatch, number):
    store = Store(tmp_path)
    store.write("a", SCORES, {})

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("lit_xai.evaluation.store.write_whole", fail)
    words = f"Expected to write to {tmp_path}, but got: {os.strerror(number)}. What is finished is kept"
    with pytest.raises(
        ValueError, match=f"^{re.escape(words)} there; once that is mended, the same command continues it"
    ):
        store.write("b", SCORES, {})
    assert "a" in store
    assert "b" not in store


def test_nothing_but_whole_files_is_left(tmp_path):
    Store(tmp_path).write("a", SCORES, {})
    assert [path.name for path in tmp_path.iterdir()] == ["a.scores.parquet"]
