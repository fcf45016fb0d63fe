import pytest

from lit_xai.evaluation.published_tables import MOST, ROWS, tables
from lit_xai.reporting.comparisons import compare_checkpoints
from lit_xai.reporting.reading import read
from tests.reporting.made_up import write_results

CLAIM = {"checkpoint": "pgd", "attribution": "none", "attack": "unattacked", "metric": "accuracy"}


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    claim = {**CLAIM, "claimed": 0.5, "measured": 0.85, "stderr": 0.02, "count": 200}
    return read(write_results(tmp_path_factory.mktemp("tables"), samples=20, claims=(claim,)))


def test_tables_stand_in_order(results):
    names = [table.name for table in tables(results)]
    assert names[:3] == ["accuracy", "results/integrated_gradients", "results/saliency"]
    assert names[-1] == "claims"


def test_the_strongest_attack_comes_first_with_its_numbers(results):
    found = {table.name: table for table in tables(results)}["results/saliency"]
    first = dict(zip(found.columns, found.rows[0], strict=True))
    assert first["attack"] == "exiaa_alpha_0_15_k_0_6"
    cell = results.cell(first["checkpoint"], "saliency", "exiaa_alpha_0_15_k_0_6", "top_k")
    assert (first["top_k"], first["top_k_low"], first["top_k_count"]) == (
        cell["value"],
        cell["low"],
        cell["count"],
    )
    assert first["excluded"] == cell["excluded"]
    unattacked = [row for row in found.rows if row[0] == "unattacked"]
    assert {row[-2] for row in unattacked} == {None}
    assert len(found.rows) == 2 * len(results.attacks)


def test_long_tables_are_parts_that_hold_every_row(results):
    compared = compare_checkpoints(results)
    expected = compared[compared.metric.isin(["accuracy", "top_k"])].p_holm.sort_values().tolist()
    found = [table for table in tables(results) if table.name.startswith("comparisons/checkpoints")]
    place = found[0].columns.index("p_holm")
    assert [row[place] for table in found for row in table.rows] == pytest.approx(expected, nan_ok=True)


def test_no_table_is_too_long_and_what_is_left_out_is_counted(tmp_path):
    many = read(write_results(tmp_path, tuple(f"net_{place}" for place in range(14)), samples=4))
    found = tables(many)
    assert max(len(table.rows) for table in found) == ROWS
    assert len(found) == MOST + 1
    lost = {row[0]: row[1:] for row in found[-1].rows}
    total, left_out = lost["comparisons/checkpoints"]
    shown = sum(len(table.rows) for table in found if table.name.startswith("comparisons/checkpoints"))
    assert shown + left_out == total > 1000


def test_a_claim_is_judged(results):
    found = tables(results)[-1]
    row = dict(zip(found.columns, found.rows[0], strict=True))
    assert (row["claimed"], row["verdict"]) == (0.5, "better than claimed")
