import math

import pytest

from lit_xai.reporting.boards import boards
from tests.reporting.made_up_boards import attack, evaluation

NAN = (math.nan, math.nan, math.nan)


def standing(board):
    return [(place.rank, place.entry.checkpoint, place.close) for place in board.places]


def only(*evaluations):
    (board,) = boards(evaluations)
    return board


def test_the_worst_mean_over_the_attacks_decides():
    board = only(
        evaluation("a/card.json", {"even": {"sign": 0.6, "top_k": 0.6}, "odd": {"sign": 0.9, "top_k": 0.3}}),
        evaluation("b/card.json", {"weak": {"sign": 0.2, "top_k": 0.8}, "best": {"sign": 0.9, "top_k": 0.7}}),
    )
    assert [place.entry.checkpoint for place in board.places] == ["best", "even", "odd", "weak"]
    assert [place.strongest.attack for place in board.places] == ["top_k", "sign", "top_k", "sign"]
    assert [place.strongest.value for place in board.places] == [0.7, 0.6, 0.3, 0.2]
    assert [place.rank for place in board.places] == [1, 2, 3, 4]


def test_lower_is_better_for_some_metrics():
    metric = {"change": {"class_path": "my.Change", "init_args": {}, "higher_is_better": False}}
    found = evaluation(
        "card.json", {"a": {"sign": 10, "top_k": 90}, "b": {"sign": 80, "top_k": 70}}, metrics=metric
    )
    found.table["metric"] = "change"
    board = only(found)
    assert board.direction == -1
    assert [(place.entry.checkpoint, place.strongest.value) for place in board.places] == [
        ("b", 80),
        ("a", 90),
    ]


def test_the_clean_value_does_not_count_as_an_attack():
    (place,) = only(evaluation("card.json", {"a": {"unattacked": 0.1, "sign": 0.5, "top_k": 0.4}})).places
    assert place.strongest.value == 0.4
    assert place.entry.clean.value == 0.1


def test_equal_values_share_a_rank():
    values = {"a": 0.5, "b": 0.7, "c": 0.5, "d": 0.7, "e": 0.1}
    board = only(evaluation("card.json", {name: {"sign": v, "top_k": v} for name, v in values.items()}))
    assert [(place.rank, place.entry.checkpoint) for place in board.places] == [
        (1, "b"), (1, "d"), (3, "a"), (3, "c"), (5, "e"),
    ]  # fmt: skip


def test_an_interval_that_overlaps_the_leader_s_is_not_clearly_behind():
    means = {
        "lead": (0.8, 0.75, 0.85),
        "touch": (0.7, 0.6, 0.75),
        "below": (0.69, 0.6, 0.7499),
        "wide": (0.5, 0.1, 0.9),
        "unsure": (0.4, math.nan, math.nan),
    }
    board = only(
        evaluation("card.json", {name: {"sign": 0.95, "top_k": mean} for name, mean in means.items()})
    )
    assert standing(board) == [
        (1, "lead", False), (2, "touch", True), (3, "below", False), (4, "wide", True), (5, "unsure", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("interval", "close"),
    [
        ((math.nan, 0.69), False),
        ((math.nan, 0.7), True),
        ((0.1, math.nan), True),
        ((math.nan, math.nan), True),
        ((0.6, 0.69), False),
    ],
)
def test_what_is_not_known_of_an_interval_is_not_held_against_it(interval, close):
    means = {"lead": (0.8, 0.7, 0.9), "other": (0.65, *interval)}
    board = only(
        evaluation("card.json", {name: {"sign": 0.95, "top_k": mean} for name, mean in means.items()})
    )
    assert [place.close for place in board.places] == [False, close]


def test_nobody_is_clearly_behind_a_leader_without_an_interval():
    means = {"lead": (0.8, math.nan, math.nan), "other": (0.2, 0.1, 0.3)}
    board = only(
        evaluation("card.json", {name: {"sign": 0.95, "top_k": mean} for name, mean in means.items()})
    )
    assert [place.close for place in board.places] == [False, True]


def test_any_leader_s_interval_counts():
    means = {"a": (0.8, 0.79, 0.81), "b": (0.8, 0.6, 0.9), "c": (0.65, 0.64, 0.66)}
    board = only(
        evaluation("card.json", {name: {"sign": 0.95, "top_k": mean} for name, mean in means.items()})
    )
    assert standing(board) == [(1, "a", False), (1, "b", False), (3, "c", True)]


def test_what_is_undefined_comes_last_without_a_rank():
    board = only(
        evaluation(
            "card.json",
            {
                "half": {"sign": 0.9, "top_k": NAN},
                "fine": {"sign": 0.5, "top_k": 0.4},
                "absent": {"sign": 0.9},
                "empty": {"sign": NAN, "top_k": NAN},
            },
        )
    )
    assert [(place.rank, place.entry.checkpoint, place.reason) for place in board.places] == [
        (1, "fine", ""),
        (None, "absent", "undefined under top_k"),
        (None, "empty", "undefined under sign"),
        (None, "half", "undefined under top_k"),
    ]
    assert [place.strongest.count for place in board.places] == [40, 0, 40, 40]


def test_an_attack_that_is_undefined_for_all_decides_nothing():
    board = only(
        evaluation("card.json", {"a": {"sign": 0.5, "top_k": NAN}, "b": {"sign": 0.6, "top_k": NAN}})
    )
    assert standing(board) == [(1, "b", False), (2, "a", False)]


def test_a_metric_without_direction_ranks_nothing():
    metric = {"top_k": {"class_path": "my.TopK", "init_args": {}, "higher_is_better": None}}
    (place,) = only(evaluation("card.json", {"a": {"sign": 0.5, "top_k": 0.4}}, metrics=metric)).places
    assert (place.rank, place.reason) == (None, "the metric has no direction")


def test_no_attack_ranks_nothing():
    unattacked = {"unattacked": attack("Unattacked", 0.0)}
    (place,) = only(evaluation("card.json", {"a": {"unattacked": 1.0}}, attacks=unattacked)).places
    assert (place.rank, place.reason) == (None, "nothing attacked it")


ATTACKS = {"sign": attack("RandomSign", 0.1), "top_k": attack("TopK", 0.1)}


def test_the_name_of_an_attack_makes_no_difference():
    renamed = {"noise": ATTACKS["sign"], "hard": ATTACKS["top_k"]}
    board = only(
        evaluation("a/card.json", {"a": {"sign": 0.5, "top_k": 0.4}}),
        evaluation("b/card.json", {"b": {"noise": 0.6, "hard": 0.5}}, attacks=renamed),
    )
    assert [place.strongest.attack for place in board.places] == ["hard", "top_k"]


def test_the_control_has_the_radius_of_the_strongest_attack():
    swept = {
        "sign_small": attack("RandomSign", 0.05),
        "sign_large": attack("RandomSign", 0.2),
        "top_k_small": attack("TopK", 0.05),
        "exiaa": attack("EXIAA", None, alpha=0.1),
    }
    board = only(
        evaluation(
            "card.json",
            {
                "a": {"sign_small": 0.9, "sign_large": 0.6, "top_k_small": 0.5, "exiaa": 0.7},
                "b": {"sign_small": 0.9, "sign_large": 0.6, "top_k_small": 0.5, "exiaa": 0.4},
                "c": {"sign_small": 0.9, "sign_large": 0.3, "top_k_small": 0.5, "exiaa": 0.4},
            },
            attacks=swept,
        )
    )
    assert [(place.strongest.attack, place.control.attack) for place in board.places] == [
        ("top_k_small", "sign_small"), ("exiaa", "sign_large"), ("sign_large", "sign_large"),
    ]  # fmt: skip


def test_the_same_checkpoint_is_listed_once_by_its_newest_measurement():
    values = {"a": {"sign": 0.5, "top_k": 0.4}}
    board = only(
        evaluation("a/card.json", values, created="2026-01-01T23:00:00+00:00"),
        # One hour later, though its clock shows an earlier day.
        evaluation("b/card.json", values, created="2026-01-01T19:00:00-05:00"),
        evaluation("c/card.json", values, created="2025-01-01T00:00:00+00:00"),
    )
    (place,) = board.places
    assert place.entry.evaluation.path == "b/card.json"
    assert place.repeats == ("a/card.json (a)", "c/card.json (a)")
    assert place.conflicts == ()


def test_what_does_not_repeat_is_flagged():
    board = only(
        evaluation("a/card.json", {"a": {"sign": 0.5, "top_k": 0.4}}, created="2026-01-01T00:00:00+00:00"),
        evaluation("b/card.json", {"a": {"sign": 0.51, "top_k": 0.38}}, created="2026-01-02T00:00:00+00:00"),
    )
    (place,) = board.places
    assert place.conflicts == ("0.38 here, 0.4 in a/card.json (a), under top_k (n = 40 and 40)",)
    assert place.repeats == ()
    assert place.strongest.value == 0.38


def test_the_last_digits_do_not_flag_but_a_count_does():
    first = evaluation("a/card.json", {"a": {"sign": 0.5, "top_k": NAN}, "b": {"sign": 0.5, "top_k": 0.4}})
    again = evaluation(
        "b/card.json", {"a": {"sign": 0.5 + 1e-8, "top_k": NAN}, "b": {"sign": 0.5, "top_k": 0.4}}
    )
    assert [place.conflicts for place in only(first, again).places] == [(), ()]
    again.table.loc[again.table.checkpoint == "b", "failed"] = 1
    assert [bool(place.conflicts) for place in only(first, again).places] == [True, False]
    again = evaluation(
        "b/card.json", {"a": {"sign": 0.5, "top_k": 0.1}, "b": {"sign": 0.5 + 1e-4, "top_k": 0.4}}
    )
    found = {place.entry.checkpoint: place.conflicts for place in only(first, again).places}
    assert found["a"] == ("0.1 here, undefined in a/card.json (a), under top_k (n = 40 and 40)",)
    assert found["b"] == ("0.5001 here, 0.5 in a/card.json (b), under sign (n = 40 and 40)",)


def test_equal_dates_leave_the_last_path():
    values = {"a": {"sign": 0.5, "top_k": 0.4}}
    for order in (("a", "b"), ("b", "a")):
        (place,) = only(*(evaluation(f"{name}/card.json", values) for name in order)).places
        assert place.entry.evaluation.path == "b/card.json"


def test_one_file_under_two_names_is_one_checkpoint_and_unknown_files_are_not():
    values = {"a": {"sign": 0.5, "top_k": 0.4}, "b": {"sign": 0.5, "top_k": 0.4}}
    same = {"a": {"sha256": "x"}, "b": {"sha256": "x"}}
    assert len(only(evaluation("card.json", values, checkpoints=same)).places) == 1
    unknown = {"a": {"sha256": None}, "b": {}}
    assert len(only(evaluation("card.json", values, checkpoints=unknown)).places) == 2


def test_the_order_of_the_evaluations_plays_no_role():
    found = [
        evaluation("b/card.json", {"x": {"sign": 0.5, "top_k": 0.4}}),
        evaluation("a/card.json", {"y": {"sign": 0.5, "top_k": 0.4}, "z": {"sign": 0.5, "top_k": NAN}}),
        evaluation("c/card.json", {"w": {"sign": 0.5, "top_k": 0.4}}, seeds={"grid": 5}),
    ]
    names = [[(board.anchor, *standing(board)) for board in boards(order)] for order in (found, found[::-1])]
    assert names[0] == names[1]
    assert len({board.anchor for board in boards(found)}) == 2


def test_intervals_overlap_in_either_direction():
    metric = {"top_k": {"class_path": "my.TopK", "init_args": {}, "higher_is_better": False}}
    means = {"lead": (0.2, 0.1, 0.3), "touch": (0.4, 0.3, 0.5), "above": (0.41, 0.3001, 0.5)}
    values = {name: {"sign": 0.05, "top_k": mean} for name, mean in means.items()}
    board = only(evaluation("card.json", values, metrics=metric))
    assert standing(board) == [(1, "lead", False), (2, "touch", True), (3, "above", False)]
