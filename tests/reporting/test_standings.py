import math
import os

import pytest

from lit_xai.reporting.boards import boards
from lit_xai.reporting.standings import MARGIN, WIDTH, claims_table, judged, link, rows
from tests.reporting.made_up_boards import evaluation

NAN = (math.nan, math.nan, math.nan)


def only(*evaluations):
    (board,) = boards(evaluations)
    return board


def claim(checkpoint, metric, claimed, attribution="saliency"):
    return {
        "checkpoint": checkpoint, "attribution": attribution, "attack": "top_k", "metric": metric,
        "claimed": claimed, "measured": 0.4, "stderr": 0.01, "count": 40,
    }  # fmt: skip


def test_a_row_says_everything():
    facts = {"sha256": "x", "regime": "my.regimes.Natural", "seed": 3, "model": "my.Net", "parameters": 12345}
    means = {"unattacked": 1.0, "sign": 0.8, "top_k": (0.4, 0.35, 0.45), "pgd": 0.25}
    found = evaluation("one/two/card.json", {"a": means}, checkpoints={"a": facts})
    (row,) = rows(only(found._replace(has_report=True)), ".")
    assert row.rank == ("1", 1, "")
    assert row.regime == ("Natural", None, "seed 3")
    assert row.strongest == ("0.400", 0.4, "[0.350, 0.450]")
    assert row.control == ("0.800", 0.8, "sign")
    assert row.clean[:2] == ("1.000", 1.0)
    assert row.accuracy.text == "\N{EN DASH}"
    assert row.pgd_accuracy[:2] == ("0.250", 0.25)
    assert row.samples[:2] == ("40", 40)
    assert row.model == ("Net", 12345.0, "12,345 parameters")
    assert (row.date, row.folder) == ("2026-01-02", "one/two")
    assert (row.card, row.report) == ("one/two/card.json", "one/two/report.html")


def test_what_is_unknown_is_a_dash():
    facts = {"regime": None, "seed": None, "parameters": 10**400}
    (row,) = rows(
        only(evaluation("card.json", {"a": {"sign": NAN, "top_k": NAN}}, checkpoints={"a": facts})), "."
    )
    assert (row.rank.text, row.rank.value) == ("\N{EN DASH}", None)
    assert (row.strongest.text, row.strongest.value) == ("\N{EN DASH}", None)
    assert row.regime == ("\N{EN DASH}", None, "")
    assert row.model.value is None
    assert row.strip is None
    assert row.report is None
    assert row.folder == "card.json"


def test_a_strip_places_the_numbers_on_the_scale_of_the_board():
    means = {"a": {"sign": 1.0, "top_k": (0.5, 0.4, 0.6)}, "b": {"sign": 0.5, "top_k": (0.2, 0.0, math.nan)}}
    first, second = rows(only(evaluation("card.json", means)), ".")
    extent = WIDTH - 2 * MARGIN
    assert first.strip[:4] == (
        MARGIN + extent / 2, round(MARGIN + 0.4 * extent, 1), round(MARGIN + 0.6 * extent, 1), WIDTH - MARGIN,
    )  # fmt: skip
    assert second.strip[:4] == (round(MARGIN + 0.2 * extent, 1), MARGIN, None, MARGIN + extent / 2)
    assert first.strip.text == "0.50 [0.40, 0.60], control 1.00"
    assert second.strip.text == "0.20, control 0.50"


def test_a_board_of_one_value_has_a_strip():
    (row,) = rows(only(evaluation("card.json", {"a": {"sign": (0.5,) * 3, "top_k": (0.5,) * 3}})), ".")
    assert row.strip[:4] == (WIDTH / 2,) * 4


@pytest.mark.parametrize(
    ("root", "path", "expected"),
    [
        (".", "a/card.json", "a/card.json"),
        ("../runs", "a/card.json", "../runs/a/card.json"),
        (".", "javascript:alert(1)/card.json", "javascript%3Aalert%281%29/card.json"),
        (".", "a b?c#d&e\"f'<g>%41/card.json", "a%20b%3Fc%23d%26e%22f%27%3Cg%3E%2541/card.json"),
        (".", "模/card.json", "%E6%A8%A1/card.json"),
        (".", os.fsdecode(b"\xff/card.json"), "%FF/card.json"),
        (".", "a\\b/card.json", "a%5Cb/card.json"),
    ],
)
def test_links_are_relative_and_quoted(root, path, expected):
    assert link(root, path) == expected


def test_the_claims_of_a_checkpoint_are_judged():
    claims = [
        claim("a", "top_k", 0.41),
        claim("a", "top_k", 0.9),
        claim("a", "accuracy", 0.4, "none"),
        claim("a", "top_k", 0.1, "another"),
        claim("b", "top_k", 0.1),
        "nonsense",
        claim("a", ["odd"], 0.1),
    ]
    board = only(
        evaluation("card.json", {name: {"sign": 0.8, "top_k": 0.4} for name in "abc"}, claims=claims)
    )
    assert [[words for _, words in judged(place)] for place in board.places] == [
        ["consistent", "worse than claimed", "consistent", "higher than claimed"],
        ["better than claimed"],
        [],
    ]
    assert [row.claims.text for row in rows(board, ".")] == [
        "1 worse than claimed, 1 higher than claimed, 2 consistent",
        "1 better than claimed",
        "\N{EN DASH}",
    ]
    table = claims_table(board)
    assert [cell.text for cell in table.rows[1]] == [
        "a", "saliency/top_k/top_k", "0.9", "0.4", "0.39", "0.41", "40", "worse than claimed",
    ]  # fmt: skip
    assert len(table.rows) == 5


def test_a_claim_outlives_its_evaluation():
    values = {"a": {"sign": 0.8, "top_k": 0.4}}
    older = evaluation(
        "a/card.json", values, claims=[claim("a", "top_k", 0.9)], created="2025-01-01T00:00:00+00:00"
    )
    (place,) = only(older, evaluation("b/card.json", values)).places
    assert place.entry.evaluation.path == "b/card.json"
    assert [words for _, words in judged(place)] == ["worse than claimed"]


@pytest.mark.parametrize("claims", [[], None, {"a": 1}])
def test_without_claims_there_is_no_table(claims):
    assert claims_table(only(evaluation("card.json", {"a": {"sign": 0.8}}, claims=claims))) is None
