import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lit_xai.attacks.random_sign import RandomSign
from lit_xai.attacks.unattacked import Unattacked
from lit_xai.attributions.saliency import Saliency
from lit_xai.evaluation.grid import Grid, Row
from lit_xai.metrics.change import ExplanationChange
from lit_xai.metrics.rank import Kendall
from lit_xai.metrics.top_k import TopKIntersection
from lit_xai.reporting.statistics import bootstrap_intervals
from lit_xai.reporting.summary import COLUMNS, summarize
from tests.conftest import tiny_batch, tiny_network
from tests.reporting.made_up import made_up_samples, made_up_table

NAN = float("nan")
ORDER = (
    "checkpoint attribution attack metric value stderr count failed excluded kept_value kept_count low high"
)


def rows(metric, values, ids=None, cell=("a", "ig", "top_k")):
    ids = np.arange(len(values)) if ids is None else ids
    names = dict(zip(("checkpoint", "attribution", "attack"), cell, strict=True))
    return pd.DataFrame({**names, "metric": metric, "sample_id": ids, "value": np.array(values, dtype=float)})


def by_hand():
    return pd.concat(
        [
            rows("excluded", [0, 0, 1, 0, 0]),
            rows("failed", [1, 0, 0, 0], [0, 1, 3, 4]),
            rows("change", [1, 2, 6, NAN], [0, 1, 3, 4]),
            rows("undefined", [NAN] * 4, [0, 1, 3, 4]),
            rows("accuracy", [1, 0, 1, 1], cell=("a", "none", "unattacked")),
        ]
    )


def test_columns_and_rows_by_hand():
    table = summarize(by_hand())
    assert list(table.columns) == ORDER.split() == COLUMNS
    assert table[["attribution", "metric"]].to_numpy().tolist() == [
        ["ig", "change"],
        ["ig", "undefined"],
        ["none", "accuracy"],
    ]
    change, undefined, accuracy = (row._asdict() for row in table.itertuples(index=False))
    # Mean 3 and variance 7 of 1, 2 and 6.
    assert (change["value"], change["stderr"]) == (3, pytest.approx((7 / 3) ** 0.5))
    assert [change[name] for name in ("count", "failed", "excluded")] == [3, 1, 1]
    assert (change["kept_value"], change["kept_count"]) == (4, 2)
    assert [undefined[name] for name in ("count", "failed", "excluded", "kept_count")] == [0, 1, 1, 0]
    assert all(np.isnan(undefined[name]) for name in ("value", "stderr", "kept_value", "low", "high"))
    assert [accuracy[name] for name in ("value", "count", "failed", "excluded")] == [0.75, 4, 0, 0]
    assert (accuracy["kept_value"], accuracy["kept_count"]) == (0.75, 4)


def test_intervals_are_the_bootstrap_s():
    samples = made_up_samples(("natural",), ("saliency",), 30)
    table = summarize(samples)
    for place in (2, 8, 14, 40):
        row = table.iloc[place]
        chosen = samples
        for name in ("checkpoint", "attribution", "attack", "metric"):
            chosen = chosen[chosen[name] == row[name]]
        assert (row["low"], row["high"]) == bootstrap_intervals(chosen["value"])
        assert row["low"] <= row["value"] <= row["high"]


@pytest.mark.parametrize(("ones", "count"), [(99, 99), (0, 40), (7, 12), (1, 1), (811, 1000)])
def test_scores_of_0_and_1_have_wilson_s_interval(ones, count):
    kept = np.repeat([1.0, 0.0], [ones, count - ones])
    table = summarize(pd.concat([rows("change", kept + 0.5), rows("prediction_kept", kept)]))
    change, row = (row for _, row in table.iterrows())
    expected = stats.binomtest(ones, count).proportion_ci(method="wilson")
    assert (row["low"], row["high"]) == pytest.approx((expected.low, expected.high), rel=1e-12, abs=1e-15)
    assert row["low"] <= row["value"] <= row["high"]
    np.testing.assert_array_equal([change["low"], change["high"]], bootstrap_intervals(kept + 0.5))


def test_ones_of_a_metric_that_has_other_scores_are_no_shares():
    same, other = rows("top_k", [1.0] * 9, cell=("a", "ig", "unattacked")), rows("top_k", [0.5, 1.0, 0.0])
    table = summarize(pd.concat([same, other]))
    assert table[["low", "high"]].iloc[0].tolist() == [1, 1]
    assert table["low"].iloc[1] == bootstrap_intervals([0.5, 1.0, 0.0])[0]


def test_shares_without_any_defined_score_have_no_interval():
    row = summarize(rows("prediction_kept", [NAN, NAN])).iloc[0]
    assert row[["value", "low", "high"]].isna().all()


def test_one_sample_has_no_spread():
    row = summarize(rows("change", [2.0])).iloc[0]
    assert (row["value"], row["count"], row["kept_value"]) == (2, 1, 2)
    assert np.isnan([row["stderr"], row["low"], row["high"]]).all()


def test_equal_scores_have_an_interval_without_width():
    row = summarize(rows("change", [0.1] * 7)).iloc[0]
    assert (row["value"], row["stderr"], row["low"], row["high"]) == (0.1, 0, 0.1, 0.1)


def test_means_are_those_of_the_made_up_table():
    samples = made_up_samples(("natural", "pgd"), ("saliency", "smooth_grad"), 25)
    plain = ["low", "high"]
    found, expected = summarize(samples).drop(columns=plain), made_up_table(samples).drop(columns=plain)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", ["str", "object", "category"])
def test_names_are_text_in_any_column(kind):
    samples = made_up_samples(("nan", "1", "<b>", "模型", ""), ("saliency",), 8)
    names = dict.fromkeys(("checkpoint", "attribution", "attack", "metric"), kind)
    table = summarize(samples.astype(names))
    pd.testing.assert_frame_equal(table, summarize(samples))
    assert list(table["checkpoint"].unique()) == ["nan", "1", "<b>", "模型", ""]


def test_the_order_of_samples_changes_no_byte():
    samples = made_up_samples(("natural", "pgd"), ("saliency",), 40)
    cells = samples.groupby(["checkpoint", "attribution", "attack", "metric"], sort=False)
    shuffled = cells.sample(frac=1, random_state=0)
    assert not shuffled["sample_id"].equals(samples["sample_id"])
    shuffled = pd.concat([frame for _, frame in shuffled.groupby(list(cells.keys), sort=False)])
    expected = summarize(samples).to_csv(index=False)
    assert summarize(shuffled).to_csv(index=False) == expected
    assert summarize(samples).to_csv(index=False) == expected


def test_metrics_of_a_cell_may_come_in_any_order():
    samples = made_up_samples(("natural",), ("saliency",), 12)
    mixed = samples.sample(frac=1, random_state=0)
    names = ["checkpoint", "attribution", "attack", "metric"]
    found = summarize(mixed).sort_values(names, ignore_index=True)
    pd.testing.assert_frame_equal(found, summarize(samples).sort_values(names, ignore_index=True))


def test_a_cell_without_samples_is_filled_in():
    samples = pd.concat([by_hand(), rows("excluded", [1, 1, 1], cell=("b", "ig", "top_k"))])
    metrics = ["undefined", "change"]
    table = summarize(samples, metrics)
    assert table[["checkpoint", "attribution", "metric"]].to_numpy().tolist() == [
        ["a", "ig", "undefined"],
        ["a", "ig", "change"],
        ["a", "none", "accuracy"],
        ["b", "ig", "undefined"],
        ["b", "ig", "change"],
    ]
    filled = table[table["checkpoint"] == "b"]
    assert filled[["count", "failed", "excluded", "kept_count"]].to_numpy().tolist() == [[0, 0, 3, 0]] * 2
    assert filled[["value", "stderr", "kept_value", "low", "high"]].isna().all(axis=None)
    assert list(summarize(samples)["checkpoint"]) == ["a"] * 3


def test_no_samples_give_no_rows():
    empty = by_hand().iloc[:0]
    assert list(summarize(empty, ["change"]).columns) == COLUMNS
    assert len(summarize(empty, ["change"])) == 0
    assert len(summarize(by_hand().iloc[:5])) == 0


def test_numbers_are_those_of_the_grid():
    network, batch = tiny_network(), tiny_batch(samples=12)
    with torch.no_grad():
        network.head[-1].bias -= network(batch.image).mean(dim=0)
    label = network.eval()(batch.image).argmax(dim=1)
    label[[2, 7]] = (label[[2, 7]] + 1) % 4
    metrics = {"top_k": TopKIntersection(k=10), "kendall": Kendall(w=1), "change": ExplanationChange()}
    attacks = {"unattacked": Unattacked(), "random_sign": RandomSign(eps=0.2)}
    grid = Grid({"saliency": Saliency()}, attacks, metrics)
    grid.update(network, batch._replace(label=label))
    expected = pd.DataFrame(grid.rows())
    found = summarize(grid.records().assign(checkpoint="a"), list(metrics))
    pd.testing.assert_frame_equal(found[list(Row._fields)], expected, rtol=1e-12)
    assert expected["excluded"].tolist() == [2] * 6
    assert expected["failed"].tolist()[:3] == [10] * 3
    assert 0 < expected["failed"].iloc[-1] < 10
