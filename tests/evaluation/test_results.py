from dataclasses import replace

import pandas as pd
import pytest

from lit_xai.evaluation.results import write_results
from lit_xai.evaluation.store import Store
from lit_xai.reporting.summary import summarize
from tests.evaluation.small import small_plan, small_subject

LOG = pd.DataFrame({"epoch": [1, 2], "key": ["val/accuracy", "val/accuracy"], "value": [0.25, 0.5]})


def scores(metric: str, *values: float) -> pd.DataFrame:
    return pd.DataFrame({"metric": metric, "sample_id": range(len(values)), "value": values})


@pytest.fixture
def plan():
    return small_plan(replace(small_subject("<b>natural</b>"), training=LOG))


@pytest.fixture
def store(tmp_path, plan):
    store = Store(tmp_path / "cells")
    accuracy = scores("accuracy", 1.0, 0.0).assign(attack="unattacked")
    store.write(plan.accuracy.key, accuracy[["attack", "metric", "sample_id", "value"]], {})
    for place, cell in enumerate(plan.cells):
        excluded, failed = scores("excluded", 0.0, 0.0, 1.0), scores("failed", 0.0, 1.0)
        own = [scores("top_k", place, 0.5), scores("change", 3.0, 5.0)]
        table = pd.concat([excluded, failed, *own]) if place < 3 else scores("excluded", 1.0, 1.0)
        examples = pd.DataFrame({"metric": ["top_k"], "value": [0.25 * place]})
        store.write(cell.key, table, {"examples": examples if place < 2 else examples[:0]})
    agreement = scores("top_k", 0.25).assign(first="saliency", second="input_x_gradient")
    store.write(plan.agreement.key, agreement[["first", "second", "metric", "sample_id", "value"]], {})
    return store


def test_samples_come_in_the_order_of_the_plan(tmp_path, plan, store):
    write_results(tmp_path, [plan], store)
    samples = pd.read_parquet(tmp_path / "samples.parquet")
    assert list(samples) == ["checkpoint", "attribution", "attack", "metric", "sample_id", "value"]
    assert samples.checkpoint.unique().tolist() == ["<b>natural</b>"]
    cells = list(dict.fromkeys(zip(samples.attribution, samples.attack, strict=True)))
    assert cells == [
        ("none", "unattacked"),
        ("saliency", "random_sign"),
        ("saliency", "top_k"),
        ("input_x_gradient", "random_sign"),
        ("input_x_gradient", "top_k"),
    ]
    assert len(samples) == 2 + 3 * 9 + 2
    assert samples[samples.metric == "top_k"].value.tolist() == [0.0, 0.5, 1.0, 0.5, 2.0, 0.5]


def test_results_are_the_means_of_the_samples(tmp_path, plan, store):
    results = write_results(tmp_path, [plan], store)
    samples = pd.read_parquet(tmp_path / "samples.parquet")
    pd.testing.assert_frame_equal(results, summarize(samples, ["top_k", "change"]))
    text = (tmp_path / "results.csv").read_text().splitlines()
    assert text[0].startswith("checkpoint,attribution,attack,metric,value,stderr,count,failed,excluded")
    assert len(text) == 1 + 1 + 2 * 4
    row = results[(results.attribution == "saliency") & (results.attack == "top_k")].iloc[0]
    assert (row["value"], row["count"], row["failed"], row["excluded"]) == (0.75, 2, 1, 1)
    assert (row["kept_value"], row["kept_count"]) == (1.0, 1)
    # Every sample was excluded.
    assert results.iloc[-1][["metric", "count", "excluded"]].tolist() == ["change", 0, 2]


def test_what_lies_beside_is_named(tmp_path, plan, store):
    write_results(tmp_path, [plan], store)
    examples = pd.read_parquet(tmp_path / "examples.parquet")
    assert list(examples) == ["checkpoint", "attribution", "attack", "metric", "value"]
    assert examples.attack.tolist() == ["random_sign", "top_k"]
    assert examples.value.tolist() == [0.0, 0.25]
    agreement = pd.read_parquet(tmp_path / "agreement.parquet")
    assert agreement.to_dict("records") == [
        {
            "checkpoint": "<b>natural</b>",
            "first": "saliency",
            "second": "input_x_gradient",
            "metric": "top_k",
            "sample_id": 0,
            "value": 0.25,
        }
    ]
    training = pd.read_csv(tmp_path / "training.csv")
    assert list(training) == ["checkpoint", "epoch", "key", "value"]
    assert training.value.tolist() == [0.25, 0.5]


def test_equal_pieces_give_equal_bytes(tmp_path, plan, store):
    contents = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        write_results(tmp_path / name, [plan], store)
        contents.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 5


def test_tables_without_rows_are_left_out(tmp_path, store):
    plan = small_plan()
    for piece in plan.pieces:
        assert piece.key in store
    for cell in plan.cells:
        store.write(cell.key, store.scores(cell.key), {"examples": pd.DataFrame({"metric": [], "value": []})})
    (tmp_path / "training.csv").write_text("of an evaluation that was stopped before")
    write_results(tmp_path, [plan], store)
    names = {path.name for path in tmp_path.glob("*.*")}
    assert names == {"samples.parquet", "agreement.parquet", "results.csv"}
