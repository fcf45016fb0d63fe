import pandas as pd

from lit_xai.evaluation import gathering
from lit_xai.evaluation.gathering import gathered_table, of_all_processes


def table(metric: str, ids: list[int]) -> pd.DataFrame:
    return pd.DataFrame({"metric": metric, "sample_id": ids, "value": [index / 2 for index in ids]})


def test_one_process_has_its_own_value():
    assert of_all_processes({"a": 1}) == [{"a": 1}]


def test_tables_are_sorted_by_group_and_sample(monkeypatch):
    mine = [table("ssim", [0, 4]), table("change", [0, 4]), table("ssim", [8])]
    theirs = [table("ssim", [2, 6]), table("change", [2, 6])]
    monkeypatch.setattr(gathering, "of_all_processes", lambda own: [own, theirs])
    whole = gathered_table(mine, ["metric"])
    assert whole.metric.tolist() == ["ssim"] * 5 + ["change"] * 4
    assert whole.sample_id.tolist() == [0, 2, 4, 6, 8, 0, 2, 4, 6]
    assert whole.value.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert whole.index.tolist() == list(range(9))


def test_a_process_without_samples_adds_nothing(monkeypatch):
    monkeypatch.setattr(gathering, "of_all_processes", lambda own: [own, [table("ssim", [])], []])
    assert gathered_table([table("ssim", [3])], ["metric"]).sample_id.tolist() == [3]
    monkeypatch.setattr(gathering, "of_all_processes", lambda own: [own, [table("ssim", [])]])
    assert list(gathered_table([], ["metric"])) == ["metric", "sample_id", "value"]


def test_nothing_at_all_has_the_columns():
    assert list(gathered_table([table("ssim", [])], ["metric"])) == ["metric", "sample_id", "value"]
