import numpy as np
import pandas as pd
import pytest

from lit_xai.reporting.pairing import CELL, by_checkpoint, cells_of, compare, series
from lit_xai.reporting.reading import read
from lit_xai.reporting.statistics import paired_difference
from tests.reporting.made_up import write_results


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return read(write_results(tmp_path_factory.mktemp("pairing"), samples=20))


@pytest.fixture(scope="module")
def scores(results):
    flags = results.samples["metric"].isin(["failed", "excluded"])
    frame = results.samples[~flags].reset_index(drop=True)
    cell, names = cells_of(frame, results)
    return frame, cell, names


def test_cells_are_counted_in_the_cards_order(results, scores):
    frame, cell, names = scores
    assert list(names) == CELL
    assert names.iloc[0].tolist() == ["none", "unattacked", "accuracy"]
    in_order = list(dict.fromkeys(names["attribution"]))
    assert in_order == ["none", *results.attributions]
    row = 1234
    assert names.iloc[cell[row]].tolist() == [str(frame[column].iloc[row]) for column in CELL]


def test_a_comparison_is_that_of_the_common_samples(scores):
    frame, cell, names = scores
    found = by_checkpoint(frame, cell, len(names))
    assert list(found) == ["natural", "pgd"]
    difference, only_first, only_second = compare(found["natural"], found["pgd"])
    place = names.index[(names.attribution == "saliency") & (names.attack == "top_k_eps_0_1")][0]
    chosen = dict(zip(CELL, names.iloc[place], strict=True))
    first, second = (series(frame, {"checkpoint": name, **chosen}) for name in ("natural", "pgd"))
    common = first.index.intersection(second.index)
    expected = paired_difference(first[common].to_numpy(), second[common].to_numpy())
    assert difference.n[place] == len(common) < len(first)
    np.testing.assert_allclose(difference.difference[place], expected.difference, rtol=1e-12)
    np.testing.assert_allclose(difference.p[place], expected.p, rtol=1e-9)
    assert only_first[place] == len(first.index.difference(second.index))
    assert only_second[place] == len(second.index.difference(first.index))


def test_undefined_scores_are_present_but_not_paired():
    frame = pd.DataFrame(
        {"checkpoint": ["a", "a", "b", "b"], "sample_id": [1, 2, 1, 2], "value": [0.5, np.nan, 0.25, 0.75]}
    )
    found = by_checkpoint(frame, np.zeros(4, dtype=np.int64), 2)
    assert found["a"].value.tolist() == [0.5]
    assert found["a"].present.tolist() == [True, False]
    difference, only_first, only_second = compare(found["a"], found["b"])
    assert difference.n.tolist() == [1, 0]
    assert difference.difference[0] == -0.25
    assert (only_first.tolist(), only_second.tolist()) == ([0, 0], [1, 0])
