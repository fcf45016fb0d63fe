import pandas as pd
import pytest
import torch

from lit_xai.evaluation import scores as module
from lit_xai.evaluation.scores import Scores, gathered

NAN = float("nan")


def part(ids: list[int], **changes) -> Scores:
    """Return scores of samples: a sample's change is a tenth of its position; the first is excluded."""
    count = len(ids)
    options = {
        "sample_id": torch.tensor(ids),
        "excluded": torch.tensor([True] + [False] * (count - 1)),
        "failed": torch.tensor([False, True] + [False] * (count - 2)),
        "metrics": {"change": torch.tensor([NAN, *(index / 10 for index in ids[1:])], dtype=torch.float64)},
    }
    return Scores(**{**options, **changes})


def test_a_mean_is_over_the_samples_that_are_not_excluded():
    (row,) = part([4, 1, 3, 8]).rows("saliency", "top_k")
    assert row[:3] == ("saliency", "top_k", "change")
    assert row.value == pytest.approx(0.4)
    assert row.stderr == pytest.approx(pd.Series([0.1, 0.3, 0.8]).sem())
    assert (row.count, row.failed, row.excluded) == (3, 1, 1)
    assert (row.kept_value, row.kept_count) == (pytest.approx(0.55), 2)


def test_an_excluded_sample_has_one_record():
    records = part([4, 1, 3]).records()
    assert records.to_dict("list") == {
        "metric": ["excluded"] * 3 + ["failed"] * 2 + ["change"] * 2,
        "sample_id": [4, 1, 3, 1, 3, 1, 3],
        "value": [1, 0, 0, 1, 0, 0.1, 0.3],
    }


def test_batches_of_all_processes_are_merged_by_sample(monkeypatch):
    mine = {("saliency", "top_k"): [part([4, 1, 3]), part([9, 6])]}
    theirs = {("saliency", "top_k"): [part([2, 7])], ("saliency", "exiaa"): [part([5, 0])]}
    monkeypatch.setattr(module, "of_all_processes", lambda own: [own, theirs])
    cells = gathered(mine)
    assert list(cells) == [("saliency", "top_k"), ("saliency", "exiaa")]
    whole = cells["saliency", "top_k"]
    assert whole.sample_id.tolist() == [1, 2, 3, 4, 6, 7, 9]
    assert whole.excluded.tolist() == [False, True, False, True, False, False, True]
    assert whole.failed.tolist() == [True, False, False, False, True, True, False]
    torch.testing.assert_close(
        whole.metrics["change"],
        torch.tensor([0.1, NAN, 0.3, NAN, 0.6, 0.7, NAN], dtype=torch.float64),
        equal_nan=True,
    )


def test_a_sample_that_comes_twice_is_refused():
    with pytest.raises(ValueError, match="Expected each sample once, but got sample 3 twice"):
        gathered({("saliency", "top_k"): [part([4, 1, 3]), part([2, 3])]})
